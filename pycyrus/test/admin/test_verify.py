"""C{pycyrus verify} and C{pycyrus reconstruct}, as an administrator calls them."""

from __future__ import annotations

import argparse
import errno
import json
import os
import shutil
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from pycyrus.admin.command import reported
from pycyrus.test.admin.tools import BesideStoreTestCase
from pycyrus.test.store.mailboxes import text
from pycyrus.testing.commands import call


class ReportedTests(SynchronousTestCase):
    def test_files_of_another_user(self) -> None:
        """What may not be read is named, in one line."""

        def refuse(arguments: argparse.Namespace) -> int:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/var/imap/mailboxes.db")

        said = StringIO()
        with redirect_stderr(said):
            self.assertEqual(reported(refuse)(argparse.Namespace()), 1)
        self.assertEqual(said.getvalue(), "pycyrus: /var/imap/mailboxes.db: Permission denied\n")


class CommandTests(BesideStoreTestCase):
    mailboxes = ("user.fred", "user.fred.Sent", "user.bob")

    @override
    def setUp(self) -> None:
        super().setUp()
        self.world.append("user.fred", text(1), text(2))
        self.fred = self.home / "spool" / "user" / "fred"

    def call(self, verb: str, *words: str) -> tuple[int, str, str]:
        done = call(verb, "-C", str(self.configuration), *words)
        return done.returncode, done.stdout, done.stderr

    def test_verify(self) -> None:
        """The exit code says whether anything was found; each finding names its file and what to do."""
        self.assertEqual(self.call("verify", "--all"), (0, "3 mailboxes, 2 messages: nothing is wrong\n", ""))
        (self.fred / "2.").write_bytes(b"other octets")
        code, output, _ = self.call("verify")
        self.assertEqual(code, 1)
        self.assertIn(f"user.fred: {self.fred}/2.: its octets are not those that were stored\n    mend: ", output)
        self.assertTrue(output.endswith("3 mailboxes, 2 messages: 1 finding\n"))
        code, output, _ = self.call("verify", "--json", "user/fred")
        self.assertEqual(code, 1)
        (finding,) = json.loads(output)["findings"]
        self.assertEqual(finding["file"], f"{self.fred}/2.")
        self.assertEqual(self.call("verify", "user/bob")[0], 0)
        code, output, errors = self.call("verify", "user/nobody")
        self.assertEqual((code, output), (1, ""))
        self.assertIn("there is no mailbox", errors)

    def test_reconstruct(self) -> None:
        """It prints the names of mailboxes, and what it did for them beside."""
        (self.fred / "2.").write_bytes(b"other octets")
        code, output, errors = self.call("reconstruct", "-r", "-M", "-V", "max", "user/fred")
        self.assertEqual((code, output), (0, "user/fred\nuser/fred/Sent\n"))
        self.assertIn("-M does nothing", errors)
        self.assertIn("2: its octets are not those that were stored: give -R", errors)
        self.assertEqual(self.call("reconstruct", "-U", "-q", "-u", "fred")[:2], (0, ""))
        self.assertEqual(self.world.view("user.fred"), [1])
        self.assertEqual(self.call("verify")[0], 0)
        self.assertEqual(self.call("reconstruct")[1], "user/bob\nuser/fred\nuser/fred/Sent\n")

    def test_lists_again(self) -> None:
        """C{-f} finds what is on disk only."""
        copy = self.fred / "Copy"
        shutil.copytree(self.fred / "Sent", copy)
        code, _, errors = self.call("reconstruct", "-f", "user/fred")
        self.assertEqual(code, 1)
        self.assertIn("a mailbox of the same unique id", errors)
        shutil.rmtree(copy)
        self.assertEqual(self.call("reconstruct", "-f", "user/fred")[0], 0)

    def test_by_its_own_name(self) -> None:
        """C{bin/reconstruct} is Cyrus's command."""
        script = Path(__file__).parents[3] / "bin" / "reconstruct"
        self.assertTrue(os.access(script, os.X_OK))
