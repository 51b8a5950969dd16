"""C{pycyrus user}, as an administrator calls it."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.admin.main import main
from pycyrus.auth.users import UserDatabase
from pycyrus.test.admin.tools import configure
from pycyrus.testing.commands import call
from pycyrus.testing.programs import find_program, run


class UserCommandTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.home = Path(self.mktemp()).absolute()

    def call(self, *arguments: str, code: int = 0, given: str = "") -> tuple[str, str]:
        """Call C{pycyrus user}; @return: what it printed and what it complained of."""
        out, err = io.StringIO(), io.StringIO()
        self.patch(sys, "stdin", io.StringIO(given))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            done = main(["user", *arguments, "--home", str(self.home)])
        self.assertEqual(done, code, err.getvalue())
        return out.getvalue(), err.getvalue()

    def spawn(self, *arguments: str) -> str:
        """The same in a process of its own, for what runs a reactor."""
        done = call("user", *arguments)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def users(self) -> UserDatabase:
        database = UserDatabase(self.home / "users.db")
        self.addCleanup(database.close)
        return database

    def test_life_of_an_account(self) -> None:
        """Added with its INBOX, listed, changed, disabled, deleted."""
        printed = self.spawn("add", "Fred", "--password", "secret", "--home", str(self.home))
        self.assertEqual(printed, "added fred and their INBOX\n")
        self.assertTrue(self.users().check("fred", b"secret"))
        inboxes = [path for path in self.home.rglob("user/fred") if path.is_dir()]
        self.assertEqual(len(inboxes), 1)

        _, complaint = self.call("add", "fred", "--password", "other", code=1)
        self.assertEqual(complaint, "pycyrus: there is a user fred already\n")

        self.call("passwd", "fred", given="swordfish\n")
        self.assertTrue(self.users().check("fred", b"swordfish"))

        self.call("disable", "fred")
        printed, _ = self.call("list", "--json")
        (row,) = json.loads(printed)
        self.assertEqual((row["user"], row["disabled"]), ("fred", True))
        self.assertIn("T", row["password_changed"])

        self.call("delete", "fred")
        self.assertEqual(self.call("list"), ("", ""))
        self.assertTrue(inboxes[0].is_dir(), "mail stays")

        printed = self.spawn("add", "fred", "--password", "secret", "--home", str(self.home))
        self.assertEqual(printed, "added fred; their INBOX is there already\n")

    def test_password_file(self) -> None:
        """Its first line, without the line's end."""
        self.home.parent.mkdir(parents=True, exist_ok=True)
        path = self.home.with_name("password")
        path.write_text("two words \nnot this\n")
        printed, _ = self.call("add", "fred", "--password-file", str(path), "--no-inbox")
        self.assertEqual(printed, "added fred\n")
        self.assertTrue(self.users().check("fred", b"two words "))
        self.assertEqual(list(self.home.rglob("user/fred")), [])

    def test_mistakes(self) -> None:
        """One line each, and nothing done."""
        for arguments, given, complaint in (
            (("add", "../fred", "--password", "x"), "", "cannot be a user"),
            (("add", "fred"), "\n", "the password is empty"),
            (("add", "fred", "--password-file", "/nonexistent"), "", "cannot read the password from /nonexistent"),
            (("list",), "", f"there is no server in {self.home}"),
        ):
            _, error = self.call(*arguments, code=1, given=given)
            self.assertIn(complaint, error)
            self.assertEqual(error.count("\n"), 1, error)
        self.assertFalse(self.home.exists())
        self.home.mkdir(parents=True)
        for arguments, given, complaint in (
            (("passwd", "nobody", "--password", "x"), "", "there is no user nobody"),
            (("delete", "nobody"), "", "there is no user nobody"),
        ):
            _, error = self.call(*arguments, code=1, given=given)
            self.assertIn(complaint, error)
            self.assertEqual(error.count("\n"), 1, error)
        self.assertEqual(self.users().users(), [])

    def test_with_a_configuration(self) -> None:
        """C{-C} says where accounts and mail are, and what a domain is."""
        configuration = configure(self.home, "virtdomains: userid\n")
        printed = self.spawn("add", "fred@Example.com", "--password", "x", "-C", str(configuration))
        self.assertEqual(printed, "added fred@example.com and their INBOX\n")
        self.assertTrue((self.home / "config" / "users.db").exists())
        self.assertEqual(len(list((self.home / "spool").rglob("example.com/**/user/fred"))), 1)

    def test_import(self) -> None:
        """Accounts of saslpasswd2 can log in; who has an account keeps it; and it can be done again."""
        self.home.mkdir(parents=True)
        path = self.home / "sasldb2"
        for user, realm in (("fred", "here"), ("mary", "here"), ("../x", "here"), ("jane", "elsewhere.example")):
            words: list[str | Path] = [find_program("saslpasswd2"), "-p", "-c", "-f", path, "-u", realm, user]
            run(words, given=f"of {user}".encode())
        self.call("add", "mary", "--password", "mine", "--no-inbox")
        options = ("--option", "servername=here", "--option", "virtdomains=userid")
        printed, _ = self.call("import", str(path), *options)
        self.assertEqual(
            printed,
            "../x: cannot be a user here\nmary: has an account, which stays as it is\n"
            "added 2 of 4 accounts, without INBOXes\n",
        )
        users = self.users()
        self.assertTrue(users.check("fred", b"of fred"))
        self.assertTrue(users.check("mary", b"mine"))
        self.assertTrue(users.check("jane@elsewhere.example", b"of jane"))
        printed, _ = self.call("import", str(path), *options)
        self.assertIn("added 0 of 4", printed)
        _, error = self.call("import", str(self.home / "none"), code=1)
        self.assertIn("saslpasswd2 makes it", error)
