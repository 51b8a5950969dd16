"""kill -9 in the middle of deliveries: what was acknowledged is there, once, and nothing by half."""

from __future__ import annotations

import re
import threading
from collections import Counter

from pycyrus.test.whole.case import TIMEOUT, WholeServerCase, fetch_all, in_threads

CLIENTS = 4
ROUNDS = 2
BEFORE_KILL = 150
"""Acknowledged deliveries after which the server is killed."""


class KillTests(WholeServerCase):
    def test_acknowledged_mail_is_there_exactly_once(self) -> None:
        """Abuse case 35, as far as one process can tell."""
        users = [self.server.account("user"), self.server.add_user("jane", "secret")]
        recipients = [user.user for user in users]
        sent: dict[bytes, bytes] = {}
        acknowledged: dict[str, set[bytes]] = {name: set() for name in recipients}
        uids: dict[str, dict[bytes, int]] = {name: {} for name in recipients}
        for round_ in range(ROUNDS):
            self._deliver_until_killed(round_, recipients, sent, acknowledged)
            self.server.start()
            for user in users:
                found = fetch_all(self.imap(user))
                by_id = {self._id(message): uid for uid, message in found.items() if self._id(message)}
                self.assertEqual(Counter(map(self._id, found.values())).most_common(1)[0][1], 1)
                self.assertEqual(acknowledged[user.user] - set(by_id), set())
                for message in found.values():
                    if identifier := self._id(message):
                        self.assertTrue(message.endswith(sent[identifier]))
                # Nobody's UID changed, and none was given twice.
                for identifier, uid in uids[user.user].items():
                    self.assertEqual(by_id[identifier], uid)
                uids[user.user] = by_id
                files = {int(path.name[:-1]) for path in self.message_directory(user.user).glob("[0-9]*.")}
                self.assertEqual(files, set(found))
        (reply, _) = self.lmtp().deliver("a@b", recipients, b"Subject: after all\r\n\r\ntext\r\n")
        self.assertTrue(reply.startswith(b"250"))
        self.server.stop()

    def _deliver_until_killed(
        self, round_: int, recipients: list[str], sent: dict[bytes, bytes], acknowledged: dict[str, set[bytes]]
    ) -> None:
        enough = threading.Event()
        count = [0]

        def deliver(number: int) -> None:
            client = self.lmtp()
            for serial in range(100_000):
                identifier = f"<{round_}.{number}.{serial}@crash.test>".encode()
                body = b"Message-ID: %b\r\nDate: Thu, 20 Nov 2025 12:00:00 +0000\r\n\r\n" % identifier
                body += b"line of the body\r\n" * (1 + serial % 400)
                sent[identifier] = body
                try:
                    replies = client.deliver("a@b", recipients, body)
                except OSError:
                    return
                for name, reply in zip(recipients, replies, strict=True):
                    if reply.startswith(b"250"):
                        acknowledged[name].add(identifier)
                count[0] += 1
                if count[0] >= BEFORE_KILL:
                    enough.set()

        def kill() -> None:
            enough.wait(4 * TIMEOUT)
            self.server.kill()

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        failures = in_threads(CLIENTS, deliver)
        killer.join()
        self.assertEqual(failures, [])
        self.assertGreaterEqual(count[0], BEFORE_KILL)

    @staticmethod
    def _id(message: bytes) -> bytes:
        found = re.search(rb"\nMessage-ID: (<[^>]*@crash\.test>)\r\n", message)
        return found[1] if found is not None else b""


class KillWorkersTests(KillTests):
    """The same with several processes on the same mailboxes."""

    arguments = ("--workers", "2")
