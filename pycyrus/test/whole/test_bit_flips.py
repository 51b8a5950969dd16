"""Bits that flip in the files of a running and of a stopped server: what clients see then."""

from __future__ import annotations

import contextlib
import imaplib
import random
import re
from pathlib import Path
from typing import Any

from pycyrus.test.whole.case import WholeServerCase
from pycyrus.testing.server import ServerError

KINDS = ("pycyrus.journal", "pycyrus.columns", "pycyrus.cache", "pycyrus.header")
"""Files of a mailbox that can be made again."""
OF_EACH = 2
MESSAGES = 4
FLAGS = (r"\Seen", r"\Flagged", "$Label")
Seen = dict[int, tuple[bytes, ...]]
"""Size, date, envelope, octets and flags by UID."""


class BitFlipTests(WholeServerCase):
    arguments = ("--workers", "2")
    seed = 5

    def setUp(self) -> None:
        super().setUp()
        self.draw = random.Random(self.seed)
        self.login = self.server.account("user")
        self.names = [f"m{number}" for number in range(OF_EACH * len(KINDS))]
        client = self.imap(self.login)
        for name in (*self.names, "other"):
            client.create(name)
            for number in range(MESSAGES):
                text = f"Subject: {name} {number}\r\nFrom: a@b\r\n\r\n" + f"line {number}\r\n" * 40
                client.append(name, FLAGS[number % 3], '"02-Nov-2026 10:00:00 +0000"', text.encode("ascii"))
        client.logout()
        self.before = {name: self.see(name) for name in (*self.names, "other")}

    def see(self, name: str) -> Seen:
        """
        All of a mailbox, by a client of its own.

        @raise imaplib.IMAP4.error: The server refused something.
        """
        client = self.imap(self.login)
        try:
            status, told = client.select(name, readonly=True)
            if status != "OK":
                raise imaplib.IMAP4.error(repr(told))
            status, found = client.uid("FETCH", "1:*", "(RFC822.SIZE INTERNALDATE ENVELOPE BODY.PEEK[] FLAGS)")
            if status != "OK":
                raise imaplib.IMAP4.error(repr(found))
            return dict(_message(found, at) for at, each in enumerate(found) if isinstance(each, tuple))
        finally:
            with contextlib.suppress(imaplib.IMAP4.error, OSError):
                client.logout()

    def flip(self, path: Path) -> None:
        """One bit of a file."""
        octets = bytearray(path.read_bytes())
        octets[self.draw.randrange(len(octets))] ^= 1 << self.draw.randrange(8)
        with path.open("r+b") as file:
            file.write(octets)

    def flip_each(self) -> None:
        for number, name in enumerate(self.names):
            path = self.message_directory(f"{self.login.user}/{name}") / KINDS[number % len(KINDS)]
            if path.exists():
                self.flip(path)

    def check(self, name: str) -> None:
        """All messages are there, and are what they were; flags may be lost, and none may come."""
        found, before = self.see(name), self.before[name]
        self.assertEqual(found.keys(), before.keys(), name)
        for uid, (*facts, flags) in found.items():
            self.assertEqual(facts, list(before[uid][:-1]), (name, uid))
            self.assertLessEqual(set(flags.split()), set(before[uid][-1].split()), (name, uid))

    def test_running(self) -> None:
        """What is open is not harmed; after a restart it is as if it had been stopped."""
        self.flip_each()
        for name in (*self.names, "other"):
            self.check(name)
        self.server.kill()
        self.server.start()
        self.check_all()

    def test_stopped(self) -> None:
        """Each mailbox is mended when it is opened, and the others are as they were."""
        self.server.stop()
        self.flip_each()
        self.server.start()
        self.check_all()

    def check_all(self) -> None:
        self.assertEqual(self.see("other"), self.before["other"])
        for name in self.names:
            self.check(name)
        client = self.imap(self.login)
        for name in self.names:
            self.assertEqual(client.append(name, "", "", b"Subject: new\r\n\r\nnew\r\n")[0], "OK")
        self.server.run("reconstruct", "-r", f"user/{self.login.user}")
        self.server.stop()
        self.server.run("verify", "--all")

    def test_databases(self) -> None:
        """Of a running server: what is answered is right, or refused; after a restart all is there."""
        databases = sorted(self.server.home.glob("**/*.db"))
        self.assertGreater(len(databases), 4)
        for path in databases:
            if path.name != "users.db":
                self.flip(path)
        for name in (*self.names, "other"):
            with contextlib.suppress(imaplib.IMAP4.error):
                self.assertEqual(self.see(name), self.before[name])
        self.server.kill()
        self.server.start()
        for name in (*self.names, "other"):
            self.assertEqual(self.see(name), self.before[name], name)
        # A message whose octets changed is named by verify; the server goes on.
        path = self.message_directory(f"{self.login.user}/m0") / "2."
        self.flip(path)
        with contextlib.suppress(imaplib.IMAP4.error, UnicodeError):
            self.see("m0")
        self.assertEqual(self.see("other"), self.before["other"])
        error = self.assertRaises(ServerError, self.server.run, "verify", "--all")
        self.assertIn(str(path), str(error))


def _message(found: list[Any], at: int) -> tuple[int, tuple[bytes, ...]]:
    """One answer, whose literal and whose rest L{imaplib} tells apart."""
    head, octets = found[at]
    tail = found[at + 1]
    whole = head + b"..." + (tail if isinstance(tail, bytes) else b"")
    uid = re.search(rb"UID (\d+)", whole)
    size = re.search(rb"RFC822\.SIZE (\d+)", whole)
    date = re.search(rb'INTERNALDATE ("[^"]*")', whole)
    flags = re.search(rb"FLAGS \(([^)]*)\)", whole)
    envelope = re.search(rb"ENVELOPE (\(.*\)) BODY", re.sub(rb"FLAGS \([^)]*\) ?", b"", whole))
    assert uid and size and date and envelope and flags, whole
    kept = b" ".join(sorted(set(flags[1].split()) - {rb"\Recent"}))
    return int(uid[1]), (size[1], date[1], envelope[1], octets, kept)
