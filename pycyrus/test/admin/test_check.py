"""pycyrus check: tells everything that is wrong, and by its exit code whether anything is."""

from __future__ import annotations

import io
import json
import shutil
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pycyrus import __version__
from pycyrus.admin.main import main
from pycyrus.testing.ports import free_port
from pycyrus.testing.slapd import Slapd


class CheckCase(SynchronousTestCase):
    """Runs the verb on files of its own."""

    def run_verb(self, *arguments: str) -> tuple[int, str]:
        out = io.StringIO()
        self.patch(sys, "stdout", out)
        try:
            code = main(arguments)
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        return code, out.getvalue()

    def files(self, imapd_conf: str, cyrus_conf: str) -> list[str]:
        root = Path(self.mktemp()).absolute()
        root.mkdir(parents=True)
        (root / "imapd.conf").write_text(imapd_conf.replace("ROOT", str(root)))
        (root / "cyrus.conf").write_text(cyrus_conf)
        return ["check", "-C", str(root / "imapd.conf"), "-M", str(root / "cyrus.conf"), "--option", "cyrus_user=root"]


class CheckTests(CheckCase):
    def test_nothing_is_wrong(self) -> None:
        # Short, for the path of a Unix socket has little room.
        root = Path(tempfile.mkdtemp(prefix="pc-"))
        self.addCleanup(shutil.rmtree, root)
        home = root / "home"
        self.assertEqual(self.run_verb("check", "--home", str(home), "--port-base", "0"), (0, "nothing is wrong\n"))
        self.assertFalse(home.exists())

    def test_problems(self) -> None:
        arguments = self.files(
            "configdirectory: ROOT/lib\npartition-default: ROOT/spool\n"
            "sieve_utf8fileinto: yes\nsyslog_facility: post\n",
            'SERVICES {\n imap cmd="imapd" listen="203.0.113.7:1"\n news cmd="nntpd" listen="nntp"\n}\n',
        )
        code, output = self.run_verb(*arguments)
        self.assertEqual(code, 1)
        for expected in (
            "imapd.conf:3: sieve_utf8fileinto has no effect yet",
            "cyrus.conf:3: service news is left out: nntpd is not part of pycyrus",
            "imapd.conf:4: syslog_facility: 'post' is none",
            "cyrus.conf:2: imap: cannot listen at 203.0.113.7:1",
            "2 problems\n",
        ):
            self.assertIn(expected, output)

    def test_json(self) -> None:
        arguments = self.files("configdirectory: ROOT/lib\ntimeuot: 3\n", "SERVICES {\n}\n")
        code, output = self.run_verb(*arguments, "--json")
        self.assertEqual(code, 1)
        problem = json.loads(output)["problems"][0]
        self.assertEqual((problem["line"], problem["problem"]), (2, "timeuot is no option"))
        self.assertTrue(problem["file"].endswith("imapd.conf"))
        self.assertEqual(problem["mend"], "did you mean 'timeout'?")

    def test_version(self) -> None:
        self.assertEqual(self.run_verb("--version"), (0, f"pycyrus {__version__}\n"))


class DirectoryTests(CheckCase):
    def check(self, options: str) -> list[str]:
        """What is said of a configuration that nothing is wrong with."""
        home = "configdirectory: ROOT/lib\npartition-default: ROOT/spool\n"
        code, output = self.run_verb(
            *self.files(home + options, 'SERVICES {\n imap cmd="imapd" listen="127.0.0.1:0"\n}\n')
        )
        *remarks, verdict = output.splitlines()
        self.assertEqual((code, verdict), (0, "nothing is wrong"))
        return [remark for remark in remarks if "ldap" in remark]

    def test_servers_that_are_away(self) -> None:
        """Each is named with its option, and those that answer are not."""
        directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, directory)
        slapd = Slapd(directory)
        slapd.start()
        self.addCleanup(slapd.stop)
        nobody = f"ldap://127.0.0.1:{free_port()}"
        base = "sasl_pwcheck_method: ldap\nldap_base: dc=rfc\nldap_timeout: 60\n"
        [remark] = self.check(f"{base}ldap_uri: {slapd.uri} {nobody}\n")
        self.assertIn(f"imapd.conf:6: ldap_uri: {nobody}: ", remark)
        [remark] = self.check(f"{base}ldap_uri: {slapd.uri}\nldap_bind_dn: cn=nobody,dc=rfc\nldap_password: no\n")
        self.assertIn(f"ldap_uri: {slapd.uri}: cannot bind for searches: invalidCredentials", remark)
        self.assertEqual(self.check(f"{base}ldap_uri: {slapd.uri}\n"), [])

    def test_groups_and_domains(self) -> None:
        """A directory for groups is asked as well, and each domain's own; one that nobody asks is not."""
        files = Path(self.mktemp())
        files.mkdir()
        (files / "example.org.conf").write_text("ldap_servers: ldap://127.0.0.1:1\nldap_search_base: dc=rfc\n")
        options = f"ldap_config_dir: {files.absolute()}\n"
        self.assertEqual(self.check(options), [])
        [remark] = self.check(f"{options}auth_mech: pts\npts_module: ldap\n")
        self.assertIn("imapd.conf:3: ldap_config_dir: LDAP of example.org: ldap://127.0.0.1:1: ", remark)
