"""What is looked at before a server starts."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.app.directories import make_directories, wanted_directories
from pycyrus.app.prepare import find_problems
from pycyrus.app.privileges import UnixUser, user_to_become
from pycyrus.app.reload import changes, is_reloadable
from pycyrus.config.load import Configuration, Source, load
from pycyrus.config.problems import ConfigError
from pycyrus.net.selfsigned import generate

SERVICES = 'SERVICES {\n imap cmd="imapd" listen="127.0.0.1:0"\n imaps cmd="imapd -s" listen="127.0.0.1:0"\n}\n'
NOBODY = UnixUser("nobody", 65534, 65534, "/")


class ConfiguredCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="pc-"))
        self.addCleanup(shutil.rmtree, self.root)
        # Another user's eyes are tried as well.
        self.root.chmod(0o755)
        generate(self.root / "c.pem", self.root / "k.pem")

    def configuration(self, more: str = "", services: str = SERVICES) -> Configuration:
        """A configuration with which nothing is wrong, and more lines."""
        (self.root / "imapd.conf").write_text(
            f"configdirectory: {self.root}/lib\npartition-default: {self.root}/spool\n"
            f"tls_server_cert: {self.root}/c.pem\ntls_server_key: {self.root}/k.pem\n{more}"
        )
        (self.root / "cyrus.conf").write_text(services)
        return load(Source(self.root / "imapd.conf", self.root / "cyrus.conf"))

    def problems(self, more: str = "", services: str = SERVICES, user: UnixUser | None = None) -> list[str]:
        found = find_problems(self.configuration(more, services), user)[1]
        return [str(problem).replace(f"{self.root}/", "") for problem in found]


class PrepareTests(ConfiguredCase):
    def test_nothing_is_wrong(self) -> None:
        self.assertEqual(self.problems(), [])
        self.assertEqual(sorted(os.listdir(self.root)), ["c.pem", "cyrus.conf", "imapd.conf", "k.pem"])

    def test_values(self) -> None:
        for more, expected in [
            ("admins: cyrus b/c\n", "imapd.conf:5: admins: 'b/c' is no user name: "),
            ("imap_admins: a:b\n", "imapd.conf:5: admins: 'a:b' is no user name"),
            ("defaultacl: anyone\n", "imapd.conf:5: defaultacl: anyone is followed by no rights such as lrs;"),
            ("defaultacl: anyone lrsz\n", "imapd.conf:5: defaultacl: anyone is followed by no rights"),
            ("syslog_facility: post\n", "imapd.conf:5: syslog_facility: 'post' is none; name one such as"),
            ("tls_ciphers: NONSENSE\n", "imapd.conf:5: tls_ciphers: 'NONSENSE' names no cipher"),
            ("tls_versions: tls9\n", "imapd.conf:5: tls_versions: 'tls9' is none of"),
        ]:
            found = self.problems(more)
            self.assertTrue(found and found[0].startswith(expected), (expected, found))

    def test_good_values(self) -> None:
        self.assertEqual(
            self.problems("admins: cyrus a@example.com group:staff\nvirtdomains: userid\ndefaultacl: anyone lrscd\n"),
            [],
        )

    def test_tls_from_the_beginning_needs_a_certificate(self) -> None:
        found = self.problems("imaps_tls_server_cert: disabled\n")
        self.assertEqual(
            found, ["cyrus.conf:3: imaps: there is no certificate for TLS; set tls_server_cert and tls_server_key."]
        )

    def test_no_service(self) -> None:
        self.assertIn("there is no service to start", self.problems(services="SERVICES {\n}\n")[0])

    def test_directories_are_made_on_the_first_start(self) -> None:
        """With their parents; later, a missing parent is an unmounted disk."""
        configuration = self.configuration("partition-far: {configdirectory}/../a/b/c\n")
        make_directories(configuration, None)
        for wanted in wanted_directories(configuration):
            mode = 0o750 if wanted.option == "configdirectory" else 0o700
            self.assertEqual(wanted.path.stat().st_mode & 0o777, mode)
        found = self.problems(f"partition-far: {self.root}/disk/mail\n")
        self.assertEqual(
            found,
            [
                "imapd.conf:5: partition-far: disk/mail is not there, and neither is disk;"
                " mount its disk, or mkdir -p disk."
            ],
        )

    def test_directories_that_are_none(self) -> None:
        (self.root / "spool").write_text("a file")
        self.assertIn("spool is no directory", self.problems()[0])

    def test_directories_that_cannot_be_written(self) -> None:
        """Whoever finds that a file system is mounted read-only is not told to change the owner."""
        (self.root / "spool").mkdir()
        statvfs = os.statvfs

        def read_only(path: Path) -> object:
            found = statvfs(path)
            return SimpleNamespace(f_flag=found.f_flag | os.ST_RDONLY) if path.name == "spool" else found

        self.patch(os, "statvfs", read_only)
        [problem] = self.problems()
        self.assertIn("spool is on a file system that is mounted read-only; see why", problem)

    def test_directories_of_somebody_else(self) -> None:
        """Root sees whether the user that it will become may write, and read the key."""
        if os.geteuid() != 0:
            self.skipTest("only as root")
        (self.root / "c.pem").chmod(0o644)
        (self.root / "k.pem").chmod(0o600)
        (self.root / "lib").mkdir(0o755)
        (self.root / "spool").mkdir(0o777)
        (self.root / "spool").chmod(0o777)
        self.assertEqual(
            self.problems(user=NOBODY),
            [
                "imapd.conf:1: configdirectory: lib cannot be written by nobody;"
                " chown nobody lib, or name another directory.",
                "imapd.conf:4: tls_server_key: k.pem cannot be read by nobody;"
                " let nobody read it, and pass through its directories.",
            ],
        )


class UserTests(ConfiguredCase):
    def test_whom_root_becomes(self) -> None:
        if os.geteuid() != 0:
            self.assertIsNone(user_to_become(self.configuration()))
            return
        user = user_to_become(self.configuration("cyrus_user: nobody\n"))
        self.assertEqual(user and user.name, "nobody")
        user = user_to_become(self.configuration(), {"CYRUS_USER": "nobody"})
        self.assertEqual(user and user.name, "nobody")
        self.assertIsNone(user_to_become(self.configuration("cyrus_user: root\n")))
        for more, expected in [
            ("cyrus_user: no-such\n", "imapd.conf:5: there is no user no-such; create it"),
            ("cyrus_user: nobody\ncyrus_group: no-such\n", "imapd.conf:6: there is no group no-such; create it"),
        ]:
            error = self.assertRaises(ConfigError, user_to_become, self.configuration(more))
            self.assertIn(expected, str(error))

    def test_embedded_stays_who_it_is(self) -> None:
        self.assertIsNone(user_to_become(load(Source(home=self.root / "home"))))


class ReloadTests(ConfiguredCase):
    def test_changes(self) -> None:
        """Options of services change; those of the store and the master wait for a restart."""
        former = self.configuration("timeout: 40\nimap_maxliteral: 1000\npartition-b: /b\n")
        found = changes(former, self.configuration("timeout: 50\npartition-b: /c\nworkers: 3\n"))
        self.assertEqual(found.used, ("imap_maxliteral", "timeout"))
        self.assertEqual(found.restart, ("partition-b", "workers"))
        self.assertEqual(found.settings.duration("timeout"), 3000)
        self.assertEqual(found.settings.family("partition-")["b"], "/b")
        self.assertEqual(changes(former, former).used, ())

    def test_cyrus_conf(self) -> None:
        found = changes(self.configuration(), self.configuration(services=SERVICES.replace("imaps", "other")))
        self.assertEqual(found.restart, ("cyrus.conf",))

    def test_what_is_reloadable(self) -> None:
        for key in ("timeout", "imap_timeout", "lmtp_recipients", "tls_server_cert", "debug", "ldap_uri"):
            self.assertTrue(is_reloadable(key), key)
        for key in ("configdirectory", "partition-a", "workers", "virtdomains", "maxmessagesize", "be1_password", "x"):
            self.assertFalse(is_reloadable(key), key)
