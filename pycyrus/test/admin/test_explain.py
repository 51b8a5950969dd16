"""C{pycyrus explain login}, as an administrator calls it, and what C{pycyrus check} says of checkers."""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.admin.main import main
from pycyrus.test.auth.test_ldap import AD
from pycyrus.testing.commands import call
from pycyrus.testing.slapd import Slapd

CONFIGURATION = """\
configdirectory: {directory}/state
partition-default: {directory}/spool
defaultpartition: default
virtdomains: userid
sasl_pwcheck_method: ldap passwd
ldap_config_dir: {directory}/domains
admins: group:postmasters@ad.example
"""


class ExplainTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)
        # The user that the server becomes reads what is here.
        self.directory.chmod(0o755)
        (self.directory / "slapd").mkdir()
        self.slapd = Slapd(self.directory / "slapd")
        self.slapd.start()
        self.addCleanup(self.slapd.stop)
        self.slapd.load("ad")
        said = {"ldap_uri": self.slapd.uri, **AD, "ldap_group_nesting": "2", "ldap_timeout": "60"}
        self.file = self.directory / "domains" / "ad.example.conf"
        self.file.parent.mkdir()
        self.file.parent.chmod(0o755)
        self.file.write_text("".join(f"{name}: {value}\n" for name, value in said.items()))
        self.file.chmod(0o644)
        (self.directory / "imapd.conf").write_text(CONFIGURATION.format(directory=self.directory))
        (self.directory / "cyrus.conf").write_text("START {\n}\nSERVICES {\n}\nEVENTS {\n}\n")

    def explain(self, *arguments: str, code: int = 0) -> str:
        """In a process of its own, which runs a reactor."""
        files = ("-C", str(self.directory / "imapd.conf"), "-M", str(self.directory / "cyrus.conf"))
        done = call("explain", "login", *arguments, *files)
        self.assertEqual((done.returncode, done.stderr), (code, ""))
        # The name of an attribute may be there, a password may not.
        self.assertNotIn("secret", done.stdout)
        return done.stdout

    def test_administrator(self) -> None:
        """Entry, filter, groups of groups, and the scope that they give."""
        told = self.explain("Alice@ad.example")
        for part in (
            "user id: alice@ad.example\n",
            "checkers, in this order: ldap, passwd\n",
            "(sAMAccountName=alice)",
            "entry: cn=Alice Liddell,cn=Users,dc=ad\n",
            "user database: no account\n",
            "groups: group:mail users@ad.example, group:postmasters@ad.example\n",
            "rights beyond ACLs: administrator of ad.example\n",
            "result: the password decides\n",
        ):
            self.assertIn(part, told)

    def test_others(self) -> None:
        """Nobody's name, no directory, an account that is denied, a directory that is away."""
        self.assertIn("refused: no user can be called so", self.explain("a/b", code=1))
        self.assertIn("LDAP: no directory for that domain", self.explain("eve@b.example"))
        deny = self.directory / "state" / "user_deny.db"
        deny.write_text("eve@ad.example\t2\xff\x89imap\xff\x89Bye\n", "latin-1")
        deny.chmod(0o644)
        self.assertIn("result: refused: user_deny.db denies imap", self.explain("eve@ad.example", code=1))
        self.slapd.stop()
        self.assertIn("result: cannot be told now: ", self.explain("eve@ad.example", code=1))

    def test_check(self) -> None:
        """A checker that cannot use its options is a problem with its place."""
        out = io.StringIO()
        self.file.write_text("ldap_scope: far\n")
        with contextlib.redirect_stdout(out):
            files = ["-C", str(self.directory / "imapd.conf"), "-M", str(self.directory / "cyrus.conf")]
            self.assertEqual(main(["check", *files]), 1)
        self.assertIn(str(self.file), out.getvalue())
        self.assertIn("sasl_pwcheck_method", out.getvalue())
        configuration = self.directory / "imapd.conf"
        absent = f"sasl_pwcheck_method: sasldb\nsasl_sasldb_path: {self.directory}/absent\n"
        lines = [line for line in configuration.read_text().splitlines() if "pwcheck" not in line]
        configuration.write_text("\n".join(lines) + "\n" + absent)
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            self.assertEqual(main(["check", *files]), 1)
        self.assertIn("saslpasswd2 makes it", out.getvalue())
