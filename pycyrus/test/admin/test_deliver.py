"""The deliver command: what it says to the server, and how it ends."""

from __future__ import annotations

import io
import os
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.admin.deliver import dotted, recipients_of
from pycyrus.test.whole.case import WholeServerCase, fetch_all


class FormTests(SynchronousTestCase):
    def test_recipients(self) -> None:
        self.assertEqual(recipients_of(["a", "b@c"], None, ""), ["a", "b@c"])
        self.assertEqual(recipients_of(["a", "b@c"], "x/y", ""), ["a+x/y", "b+x/y@c"])
        self.assertEqual(recipients_of([], "shared", "post"), ["post+shared"])

    def test_wire_form_does_not_depend_on_pieces(self) -> None:
        message = b"From fred Thu Nov 20\nSubject: x\n\n.\n..dots\r\nlong " + b"x" * 50 + b"\nno end"
        expected = b"Subject: x\r\n\r\n..\r\n...dots\r\nlong " + b"x" * 50 + b"\r\nno end\r\n.\r\n"
        for size in (30, 31, 64, 4096):
            self.assertEqual(b"".join(dotted(io.BytesIO(message).read, size)), expected, size)
        self.assertEqual(b"".join(dotted(io.BytesIO(b"").read, 10)), b".\r\n")


class DeliverTests(WholeServerCase):
    def deliver(self, *words: str, given: bytes = b"Subject: piped\n\ntext\n") -> tuple[int, bytes]:
        command = [sys.executable, "-m", "pycyrus.admin.main", "deliver", "--home", str(self.server.home), *words]
        done = subprocess.run(command, input=given, capture_output=True, timeout=60, check=False)
        return done.returncode, done.stdout + done.stderr

    def test_as_a_mail_transfer_agent_runs_it(self) -> None:
        user = self.server.account("user")
        client = self.imap(user)
        client.create("Work")
        self.assertEqual(self.deliver("-r", "a@example.org", "--", f"{user.user}@test.example"), (os.EX_OK, b""))
        code, text = self.deliver("-r", "a@example.org", "nobody", user.user)
        self.assertEqual(code, os.EX_NOUSER)
        self.assertIn(b"User unknown", text)
        # Posting to a folder is by right; without it the INBOX gets the message.
        self.assertEqual(self.deliver("-a", user.user, "-m", "Work", user.user), (os.EX_OK, b""))
        self.assertEqual(self.deliver("-m", "Work", user.user)[0], os.EX_OK)
        inbox = [message for message in fetch_all(client).values() if b"Subject: piped" in message]
        self.assertEqual(len(inbox) + len(fetch_all(client, "Work")), 4)
        self.assertTrue(inbox[0].startswith(b"Return-Path: <a@example.org>\r\n"))
        self.assertRegex(inbox[0], rb"(?s)\r\nSubject: piped\r\n.+\r\n\r\ntext\r\n\Z")
        code, text = self.deliver("-l", given=b"LHLO me\r\nQUIT\r\n")
        self.assertEqual(code, os.EX_OK)
        self.assertIn(b"250-PIPELINING\r\n", text)
        self.server.stop()
        self.assertEqual(self.deliver(user.user)[0], os.EX_TEMPFAIL)
