"""Rights given and taken while sessions of another process are in the mailbox."""

from __future__ import annotations

import contextlib
import imaplib
import re

from pycyrus.test.whole.case import TIMEOUT, WholeServerCase
from pycyrus.testing.server import Login

MESSAGE = b"Subject: plans\r\n\r\nsesame\r\n"
MOST_TRIES = 40


class RightsTests(WholeServerCase):
    """Two workers: what one does to an access control list holds in the other at once."""

    arguments = ("--workers", "2")

    def logged_in(self, login: Login) -> tuple[imaplib.IMAP4, str]:
        """A client, and the process that serves it."""
        client = imaplib.IMAP4("127.0.0.1", self.server.port("imap"), TIMEOUT)
        self.addCleanup(self._drop, client)
        _, (text,) = client.login(login.user, login.password)
        found = re.search(rb"SESSIONID=<\S*?-(\d+)-\d+-\d+>", text)
        assert found is not None, text
        return client, found[1].decode()

    @staticmethod
    def _drop(client: imaplib.IMAP4) -> None:
        with contextlib.suppress(OSError):
            client.shutdown()

    def elsewhere(self, login: Login, process: str) -> imaplib.IMAP4:
        """A client that another process serves."""
        for _ in range(MOST_TRIES):
            client, served_by = self.logged_in(login)
            if served_by != process:
                return client
            self._drop(client)
        raise self.failureException("all connections went to the same worker")

    def setUp(self) -> None:
        super().setUp()
        self.owner, process = self.logged_in(self.server.add_user("jane", "secret"))
        bob = self.server.add_user("bob", "secret")
        self.owner.create("Team")
        self.owner.setacl("Team", "bob", "lrswite")
        self.owner.append("Team", None, None, MESSAGE)
        self.bob = self.elsewhere(bob, process)
        status, _ = self.bob.select('"Other Users/jane/Team"')
        self.assertEqual(status, "OK")

    def say(self, line: bytes) -> None:
        self.bob.send(line + b"\r\n")

    def lines_until(self, end: bytes) -> list[bytes]:
        found = []
        while True:
            found.append(self.bob.readline().rstrip(b"\r\n"))
            if found[-1].startswith(end):
                return found

    def test_idling(self) -> None:
        """Who idles is told at once that nothing is left to be seen, without saying anything."""
        self.say(b"x IDLE")
        self.lines_until(b"+")
        self.owner.deleteacl("Team", "bob")
        self.assertEqual(self.lines_until(b"* 1 EXPUNGE"), [b"* 1 EXPUNGE"])
        # What comes from now on is nobody's but the owner's.
        self.owner.append("Team", None, None, MESSAGE)
        self.say(b"DONE")
        self.assertNotIn(b"EXISTS", b"".join(self.lines_until(b"x ")[1:]))
        self.say(b'y LIST (SUBSCRIBED) "" *')
        self.assertNotIn(b"Team", b"".join(self.lines_until(b"y ")))

    def test_selected(self) -> None:
        """A right that goes is gone for the next command; one that comes is there."""
        self.assertEqual(self.bob.store("1", "+FLAGS", r"(\Flagged)")[0], "OK")
        self.owner.setacl("Team", "bob", "lr")
        self.assertEqual(self.bob.store("1", "-FLAGS", r"(\Flagged)")[0], "NO")
        self.assertEqual(self.bob.fetch("1", "(BODY.PEEK[])")[0], "OK")
        self.owner.setacl("Team", "bob", "+w")
        self.assertEqual(self.bob.store("1", "-FLAGS", r"(\Flagged)")[0], "OK")
        # Negative rights win over what a name, or anyone, was given.
        self.owner.setacl("Team", "anyone", "lrsw")
        self.owner.setacl("Team", "-bob", "w")
        self.assertEqual(self.bob.store("1", "+FLAGS", r"(\Flagged)")[0], "NO")
        self.owner.setacl("Team", "-bob", "lr")
        _, data = self.bob.fetch("1", "(BODY.PEEK[])")
        self.assertNotIn(b"sesame", repr(data).encode())
