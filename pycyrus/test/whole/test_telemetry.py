"""Telemetry of a whole server: an administrator makes a directory, and reads what a user's clients say."""

from __future__ import annotations

import poplib
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pycyrus.test.whole.case import TIMEOUT, WholeServerCase, fetch_all
from pycyrus.testing.server import Login

MESSAGE = b"Subject: plans\r\n\r\n" + b"sesame\r\n" * 10_000


class TelemetryTests(WholeServerCase):
    def test_all_protocols(self) -> None:
        login = self.server.account("user")
        directory = self.server.home / "log" / login.user
        directory.mkdir(parents=True)
        (directory.parent / "postman").mkdir()
        self.lmtp().deliver("", [login.user], MESSAGE)

        client = self.imap(login)
        fetch_all(client)
        client.send(b"x NOOP\r\ny UNAUTHENTICATE\r\nz LOGIN %b %b\r\n" % (login.user.encode(), login.password.encode()))
        while not client.readline().startswith(b"z "):
            pass
        client.send(b"z2 NOOP\r\n")
        while not client.readline().startswith(b"z2 "):
            pass
        pop = poplib.POP3("127.0.0.1", self.server.port("pop3"), TIMEOUT)
        pop.user(login.user)
        pop.pass_(login.password)
        pop.retr(2)
        pop.quit()
        self._check_last_pop(login)

        pid = self.server.ready["pid"]
        imap, pop3 = (path.read_bytes() for path in sorted(directory.iterdir()))
        self.assertEqual(
            [path.name for path in sorted(directory.iterdir())], [f"imap-{pid}", f"pop3-{pid}"], "one for each process"
        )
        self.assertRegex(imap, rb"---------- user .*\n\n>\d+>\S+ OK \[CAPABILITY")
        self.assertRegex(imap, rb"<\d+<\S+ UID FETCH 1:\* \(BODY.PEEK\[\]\)\r\n>\d+>\* ")
        self.assertRegex(imap, rb"<\d+<z2 NOOP\r\n>\d+>z2 OK")
        self.assertRegex(pop3, rb"<\d+<RETR 2\r\n>\d+>\+OK")
        for text in (imap, pop3, self._only(directory.parent / "postman")):
            self.assertIn(b"sesame\r\n" * 1000, text)
            self.assertNotIn(login.password.encode(), text)

    def _check_last_pop(self, login: Login) -> None:
        """Administrators look whether anybody still reads by POP3."""
        admin = self.imap(self.server.account("admin"))
        before = datetime.now(UTC)
        name, entry = f"user/{login.user}", "/shared/vendor/cmu/cyrus-imapd/lastpop"
        admin.send(b"m GETMETADATA %b %b\r\n" % (name.encode(), entry.encode()))
        line = admin.readline().decode()
        found = re.search(r'lastpop " ?([^"]+)"', line)
        assert found is not None, line
        self.assertLess(abs(before - datetime.strptime(found[1], "%d-%b-%Y %H:%M:%S %z")), timedelta(minutes=5))
        admin.readline()

    @staticmethod
    def _only(directory: Path) -> bytes:
        (path,) = directory.iterdir()
        return path.read_bytes()
