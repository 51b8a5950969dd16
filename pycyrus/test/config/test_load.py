"""A whole configuration: the files together, the command line, the embedded default."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.config.load import Configuration, Source, load
from pycyrus.config.problems import ConfigError

GOOD = "configdirectory: /c\npartition-default: /m\n"
SERVICES = 'SERVICES {\n inner cmd="imapd" listen="imap"\n}\n'


class LoadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        self.root.mkdir(parents=True)

    def load(self, imapd_conf: str = GOOD, cyrus_conf: str = SERVICES, *overrides: str) -> Configuration:
        (self.root / "imapd.conf").write_text(imapd_conf)
        (self.root / "cyrus.conf").write_text(cyrus_conf)
        return load(Source(self.root / "imapd.conf", overrides=overrides))

    def refused(self, imapd_conf: str, *overrides: str) -> list[str]:
        error = self.assertRaises(ConfigError, self.load, imapd_conf, SERVICES, *overrides)
        return [str(problem).replace(f"{self.root}/", "") for problem in error.problems]

    def test_good(self) -> None:
        """The other file is the one beside; its services may prefix options; --option goes first."""
        configuration = self.load(GOOD + "inner_timeout: 50\ntimeout: 40\n", SERVICES, "timeout=45")
        self.assertEqual(configuration.settings.duration("timeout"), 2700)
        self.assertEqual(configuration.settings.for_service("inner").duration("timeout"), 3000)
        self.assertEqual(configuration.cyrus.services[0].name, "inner")
        self.assertEqual(configuration.state, Path("/c"))
        self.assertIsNone(configuration.home)

    def test_what_only_the_whole_tells(self) -> None:
        for text, expected in [
            ("partition-default: /m\n", "imapd.conf: configdirectory is not set; add"),
            ("configdirectory: /c\n", "imapd.conf: there is no partition; add `partition-default:"),
            (GOOD + "defaultpartition: other\n", "imapd.conf:3: there is no partition other; add"),
            (GOOD + "metapartition-x: /x\n", "imapd.conf:3: there is no partition x; add"),
            (GOOD + "partition-a_b: /x\n", "imapd.conf:3: 'a_b' is no name for a partition"),
            (GOOD + "partition-x: x\n", "imapd.conf:3: partition-x: 'x' is no absolute path; begin it with /"),
            (GOOD + "userprefix: a/b\n", "imapd.conf:3: userprefix must be printable"),
            (GOOD + "sharedprefix: Other Users\n", "imapd.conf:3: sharedprefix is the same as another"),
            (GOOD + "workers: many\n", "imapd.conf:3: workers: 'many' cannot be; it takes auto or a number"),
        ]:
            found = self.refused(text)
            self.assertTrue(any(line.startswith(expected) for line in found), (expected, found))

    def test_a_frontend_needs_no_partition(self) -> None:
        self.load("configdirectory: /c\nmupdate_server: m.example.com\n")
        self.refused("configdirectory: /c\nmupdate_server: m.example.com\nproxyservers: p\n")

    def test_both_files_and_the_command_line_are_told_of_at_once(self) -> None:
        error = self.assertRaises(ConfigError, self.load, "nonsense\n", "nonsense\n", "timeout")
        self.assertEqual(len(error.problems), 3)

    def test_embedded(self) -> None:
        home = self.root / "home"
        configuration = load(Source(home=home, port_base=2000, overrides=("lmtpsocket=/s/lmtp",)))
        self.assertEqual(configuration.state, home)
        self.assertEqual(configuration.settings.text("configdirectory"), str(home))
        self.assertEqual(
            {entry.name: entry.listen for entry in configuration.cyrus.services},
            {
                "imap": "127.0.0.1:2143",
                "imaps": "127.0.0.1:2993",
                "lmtp": "127.0.0.1:2024",
                "lmtpunix": "/s/lmtp",
                "pop3": "127.0.0.1:2110",
                "pop3s": "127.0.0.1:2995",
                "smmap": f"{home}/socket/smmap",
            },
        )
        self.assertFalse(home.exists())

    def test_options_that_do_not_go_together(self) -> None:
        for source, expected in [
            (Source(self.root / "imapd.conf", home=self.root), "--home is for a server without a configuration"),
            (Source(self.root / "imapd.conf", port_base=1), "--port-base is for a server without a configuration"),
            (Source(port_base=65000), "--port-base 65000 cannot be"),
        ]:
            self.assertIn(expected, str(self.assertRaises(ConfigError, load, source)))
