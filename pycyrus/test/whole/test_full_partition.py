"""A disk that fills while mail comes: all are told the truth, nothing is lost, and it goes on when there is room."""

from __future__ import annotations

import re
import subprocess
import threading

from twisted.trial.unittest import SkipTest

from pycyrus.test.whole.case import WholeServerCase, fetch_all, in_threads
from pycyrus.testing.server import Login

SIZE = "5m"
BALLAST = 2 << 20
"""Octets of a file whose removal makes room."""
REFUSALS = 5
"""Of each client, until it gives up."""


class FullPartitionTests(WholeServerCase):
    """The partition is a small file system in memory."""

    arguments = ("--workers", "2")

    def prepare(self) -> None:
        self.disk = self.server.home / "spool"
        self.disk.mkdir(parents=True)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "tmpfs", str(self.disk)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            raise SkipTest("file systems cannot be mounted here")
        self.addCleanup(subprocess.run, ["umount", "-l", str(self.disk)], check=True)
        self.sent: dict[bytes, bytes] = {}
        self.kept: set[bytes] = set()
        self.told: set[bytes] = set()
        self.lock = threading.Lock()

    def test_deliveries_and_sessions(self) -> None:
        login = self.server.account("user")
        ballast = self.disk / "ballast"
        ballast.write_bytes(bytes(BALLAST))
        self.fill(login, 0)
        for each in self.told:
            self.assertRegex(each, rb"\A(452|451|4\d\d) 4\.[23]\.\d|NO \[UNAVAILABLE\]|NO \[LIMIT\]|NO \[OVERQUOTA\]")
        # What is there can be read, and sessions go on.
        self.assertEqual(self.missing(login), set())
        ballast.unlink()
        before = len(self.kept)
        (reply, *_) = self.lmtp().deliver("a@b", [login.user], self.message(b"after"))
        self.assertTrue(reply.startswith(b"250"), reply)
        client = self.imap(login)
        client.select()
        self.assertEqual(client.append("INBOX", "", "", self.message(b"appended"))[0], "OK")
        self.assertEqual(client.store("1:*", "+FLAGS", r"\Seen")[0], "OK")
        self.kept |= {b"after", b"appended"}
        # Again, and a start with the disk full.
        self.fill(login, 1)
        self.assertGreater(len(self.kept), before + 10)
        self.server.stop()
        self.server.start()
        self.assertEqual(self.missing(login), set())
        client = self.imap(login)
        client.select()
        client.store("1:20", "+FLAGS", r"\Deleted")
        client.expunge()
        self.server.run("expire", "-X", "0")
        (reply, *_) = self.lmtp().deliver("a@b", [login.user], self.message(b"last"))
        self.assertTrue(reply.startswith(b"250"), reply)
        self.server.stop()
        self.server.run("verify", "--all")

    def fill(self, login: Login, turn: int) -> None:
        """Deliver and append until nothing more is taken, in some sessions at once."""

        def work(number: int) -> None:
            refused = serial = 0
            lmtp = self.lmtp() if number % 2 else None
            client = self.imap(login)
            client.select()
            while refused < REFUSALS:
                serial += 1
                identifier = b"%d.%d.%d" % (turn, number, serial)
                text = self.message(identifier)
                if lmtp is not None:
                    (answer,) = lmtp.deliver("a@b", [login.user], text)
                    taken = answer.startswith(b"250")
                else:
                    status, data = client.append("INBOX", "", "", text)
                    taken, answer = status == "OK", status.encode() + b" " + data[0]
                    client.noop()
                with self.lock:
                    if taken:
                        self.kept.add(identifier)
                    else:
                        self.told.add(answer)
                        refused += 1

        self.assertEqual(in_threads(4, work), [])
        self.assertTrue(self.told)

    def message(self, identifier: bytes) -> bytes:
        size = 1000 if identifier[-1:] in b"37" else 90_000
        text = b"Subject: %b\r\nMessage-ID: <%b@full.test>\r\nDate: Mon, 2 Nov 2026 10:00:00 +0000\r\n\r\n" % (
            identifier,
            identifier,
        )
        text += (b"line of %b\r\n" % identifier) * (size // 14)
        with self.lock:
            self.sent[identifier] = text
        return text

    def missing(self, login: Login) -> set[bytes]:
        """What was taken and is not there, octet for octet and once."""
        found: list[bytes] = []
        for text in fetch_all(self.imap(login)).values():
            match = re.search(rb"(?m)^Subject: (\S+)\r$", text)
            if match is not None and match[1] in self.sent:
                self.assertTrue(text.endswith(self.sent[match[1]]))
                found.append(match[1])
        self.assertEqual(len(found), len(set(found)))
        return self.kept - set(found)
