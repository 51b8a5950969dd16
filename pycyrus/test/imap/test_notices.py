"""What NOTIFY leaves behind, what it refuses, and what it tells of what is hidden."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from pycyrus.imap import notices
from pycyrus.imap.wire.grammar import BadSyntax, Cursor
from pycyrus.imap.wire.notify import parse_notify
from pycyrus.store.watch import WatchReactor
from pycyrus.testing.imap import Client, MailServer, open_mail_server

_ALL = b"NOTIFY SET (personal (MessageNew MessageExpunge MailboxName))"
_TURNS = 400
"""Milliseconds at least in which anything would have been told."""


class NoticesTests(TestCase):
    """Against the real store."""

    server: MailServer

    async def start(self) -> None:
        from twisted.internet import reactor

        directory = Path(self.mktemp())
        directory.mkdir()
        self.server = await open_mail_server(directory, reactor=cast(WatchReactor, reactor))

    async def connect(self, user: str = "alice") -> Client:
        client = self.server.connect()
        await client.receive_line()
        await self.server.log_in(client, user)
        return client

    def run_async(self, coroutine_function: object) -> Deferred[None]:
        async def run() -> None:
            await self.start()
            try:
                await coroutine_function()  # type: ignore[operator] # a coroutine function
            finally:
                await self.server.shut_down()

        return Deferred.fromCoroutine(run())

    async def do(self, client: Client, line: bytes) -> list[bytes]:
        client.send(b"t " + line + b"\r\n")
        lines: list[bytes] = []
        while not lines or not lines[-1].startswith(b"t "):
            received = await client.receive_line()
            assert received is not None, lines
            lines.append(received)
        return lines

    async def silence(self, client: Client) -> None:
        """Wait for what must not come."""
        from twisted.internet import reactor

        for _ in range(_TURNS // 20):
            client.settle()
            await task.deferLater(cast(Any, reactor), 0.02)
        client.settle()
        self.assertEqual(client.pending(), b"")

    def test_too_many(self) -> Deferred[None]:
        async def body() -> None:
            client, other = await self.connect(), await self.connect()
            await self.do(client, b"CREATE a")
            with patch.object(notices, "MAX_WATCHED", 1):
                answer = await self.do(client, _ALL)
                self.assertEqual(answer, [b"t NO [NOTIFICATIONOVERFLOW] Too many mailboxes to watch"])
            with patch.object(notices, "MAX_WATCHED", 2):
                await self.do(client, _ALL)
                await self.do(other, b"CREATE b")
                self.assertEqual(await client.receive_line(), b'* LIST () "/" b')
                overflow = b"* OK [NOTIFICATIONOVERFLOW] Too many mailboxes to watch"
                self.assertEqual(await client.receive_line(), overflow)
            # After that nothing is told any more (RFC 5465 section 5.8).
            await self.do(other, b"CREATE c")
            await self.silence(client)
            self.assertIsNone(client.protocol.session.telling.notices)

        return self.run_async(body)

    def test_during_idle(self) -> Deferred[None]:
        async def body() -> None:
            client, other = await self.connect(), await self.connect()
            await self.do(client, _ALL)
            client.send(b"i IDLE\r\n")
            self.assertEqual(await client.receive_line(), b"+ idling")
            begun = client.protocol.session.telling.notices
            assert begun is not None
            watched = begun.watched
            await self.do(other, b"CREATE b")
            self.assertEqual(await client.receive_line(), b'* LIST () "/" b')
            # Nothing that comes after this line is missed.
            self.assertEqual(begun.watched, watched + 1)
            await self.do(other, b"APPEND b {4+}\r\na: b")
            self.assertEqual(await client.receive_line(), b"* STATUS b (MESSAGES 1 UIDNEXT 2)")
            client.send(b"DONE\r\n")
            self.assertEqual(await client.receive_line(), b"i OK Completed")

        return self.run_async(body)

    def test_what_is_hidden_is_not_told(self) -> Deferred[None]:
        async def body() -> None:
            alice, bob = await self.connect(), await self.connect("bob")
            await self.do(alice, b"CREATE a")
            where = b'mailboxes ("Other Users/alice/a" "Other Users/alice") subtree "Other Users/alice"'
            first, _, second = where.partition(b" subtree")
            events = b"(MessageNew MessageExpunge MailboxName)"
            answer = await self.do(bob, b"NOTIFY SET STATUS (%b %b) (subtree%b %b)" % (first, events, second, events))
            self.assertEqual(answer, [b"t OK Completed"])
            await self.do(alice, b"APPEND a {4+}\r\na: b")
            await self.do(alice, b"CREATE a/b")
            await self.silence(bob)
            # What he gets rights in appears to him.
            await self.do(alice, b"SETACL a bob lr")
            self.assertEqual(await bob.receive_line(), b'* LIST () "/" "Other Users/alice/a"')
            await self.do(alice, b"APPEND a {4+}\r\na: b")
            self.assertEqual(await bob.receive_line(), b'* STATUS "Other Users/alice/a" (MESSAGES 2 UIDNEXT 3)')
            await self.do(alice, b"DELETEACL a bob")
            self.assertEqual(await bob.receive_line(), b'* LIST (\\NonExistent) "/" "Other Users/alice/a"')

        return self.run_async(body)

    def test_nothing_is_left(self) -> Deferred[None]:
        """Neither by a lost connection, nor by NONE, another NOTIFY, or a logout."""

        async def body() -> None:
            for end in (b"NOTIFY NONE", _ALL, b"UNAUTHENTICATE", b""):
                client = await self.connect()
                await self.do(client, _ALL)
                before = client.protocol.session.telling.notices
                assert before is not None
                if end:
                    await self.do(client, end)
                else:
                    client.drop()
                self.assertIsNot(client.protocol.session.telling.notices, before)
                self.assertEqual(before.watched, 0)
                client.drop()

        return self.run_async(body)


class ParserTests(TestCase):
    """Limits of the parser."""

    def test_too_many_groups(self) -> None:
        group = b" (personal NONE)"
        self.assertEqual(len(parse_notify(Cursor([b" SET" + group * 100])).groups), 100)
        with self.assertRaises(BadSyntax):
            parse_notify(Cursor([b" SET" + group * 101]))
        with self.assertRaises(BadSyntax):
            parse_notify(Cursor([b" SET (mailboxes (" + b"a " * 1000 + b"a) NONE)"]))
