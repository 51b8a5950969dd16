"""Duplicates, as a sender and a reader see them."""

from __future__ import annotations

import os
from collections import Counter

from pycyrus.test.whole.case import WholeServerCase, fetch_all, in_threads

MESSAGE = b"Message-ID: <%d@dup.test>\r\nDate: Thu, 20 Nov 2025 12:00:00 +0000\r\nSubject: %b\r\n\r\ntext\r\n"


class DuplicateTests(WholeServerCase):
    arguments = ("--workers", "2")

    def test_a_message_arrives_once(self) -> None:
        """Again, at the same time on other connections, and after kill -9; each sender hears that all is well."""
        user = self.server.account("user")
        other = self.server.add_user("jane", "secret")

        def deliver(number: int) -> None:
            client = self.lmtp()
            for serial in range(20):
                body = MESSAGE % (serial, b"number %d" % number)
                replies = client.deliver("a@b", [user.user, other.user], body)
                assert all(reply.startswith(b"250") for reply in replies), replies

        self.assertEqual(in_threads(4, deliver), [])
        self.server.kill()
        self.server.start()
        self.assertEqual(in_threads(2, deliver), [])
        for login in (user, other):
            ids = Counter(
                line
                for message in fetch_all(self.imap(login)).values()
                for line in message.split(b"\r\n")
                if line.endswith(b"@dup.test>")
            )
            self.assertEqual((len(ids), set(ids.values())), (20, {1}))
        # Without a Message-ID nobody knows.
        for _ in range(2):
            self.lmtp().deliver("a@b", [other.user], b"Subject: no id\r\n\r\ntext\r\n")
        found = [message for message in fetch_all(self.imap(other)).values() if b"Subject: no id" in message]
        self.assertEqual(len(found), 2)
        self.assertEqual(self.server.run("deliveries").count("@dup.test>"), 40)
        self.server.run("expire", "-E", "0")
        self.assertEqual(self.server.run("deliveries"), "")
        self.server.stop()
        # The log tells who connected; it is whole when the server has ended.
        credentials = f"login: [unix socket] postman of uid {os.getuid()}, pid {os.getpid()} SESSIONID="
        self.assertIn(credentials, self.server.log.read_text("utf-8"))
