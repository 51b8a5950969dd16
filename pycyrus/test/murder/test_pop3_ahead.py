"""Messages that a frontend has before its POP3 client asks for them."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.errors import MessageGone, StoreUnavailable
from pycyrus.murder.servers.lines import LineClient
from pycyrus.murder.servers.pop3_ahead import ReadAhead
from pycyrus.pop3.ahead import MESSAGES, gather
from pycyrus.pop3.commands import run
from pycyrus.pop3.maildrop import Maildrop
from pycyrus.pop3.replies import Err
from pycyrus.test.murder.test_imap import MESSAGE
from pycyrus.test.murder.test_pop3 import LARGE, Pop3Case


class _Drop:
    """A maildrop as far as C{gather} goes by it."""

    def __init__(self, *bodies: bytes, clock: Clock | None = None, gone: int = 0) -> None:
        self.bodies = bodies
        self._clock = clock
        self._gone = gone

    def size(self, number: int) -> int:
        if not 1 <= number <= len(self.bodies):
            raise Err(b"no such message")
        return len(self.bodies[number - 1])

    def open(self, number: int) -> Any:
        if number == self._gone:
            raise MessageGone("expunged")
        if self._clock is not None:
            self._clock.advance(0.0006)
        return _File(self.bodies[number - 1])


class _File:
    def __init__(self, body: bytes) -> None:
        self.size = len(body)
        self._body = body

    def read(self, offset: int, length: int) -> bytes:
        return self._body[offset : offset + length]

    def close(self) -> None:
        """Nothing is open."""


def _gathered(drop: _Drop, number: int, clock: Clock | None = None) -> list[bytes]:
    return gather(cast(Maildrop, drop), number, (clock or Clock()).seconds)


class GatherTests(SynchronousTestCase):
    """What a backend sends at once."""

    def test_some(self) -> None:
        """The message that was asked for, and as many as the client is sure to get soon."""
        self.assertEqual(_gathered(_Drop(b"a\r\n", b".b\r\n"), 2), [b"+OK Message follows\r\n..b\r\n.\r\n"])
        self.assertEqual(len(_gathered(_Drop(*[b"a\r\n"] * 100), 3)), MESSAGES)
        self.assertEqual(len(_gathered(_Drop(*[b"a" * 20_000 + b"\r\n"] * 5), 1)), 2)
        self.assertEqual(_gathered(_Drop(b"a" * 50_000), 1), [])

    def test_a_slow_disk(self) -> None:
        """Others do not wait for messages that nobody asked for."""
        clock = Clock()
        self.assertEqual(len(_gathered(_Drop(*[b"a\r\n"] * 9, clock=clock), 1, clock)), 2)

    def test_what_is_gone(self) -> None:
        """It matters to who asks for that one."""
        drop = _Drop(b"a", b"b", b"c", gone=2)
        self.assertEqual(len(_gathered(drop, 1)), 1)
        self.assertRaises(MessageGone, _gathered, drop, 2)
        self.assertRaises(Err, _gathered, drop, 4)


class _Backend:
    """Answers as a backend does."""

    def __init__(self, bodies: list[bytes], most: int) -> None:
        self._drop = _Drop(*bodies)
        self._most = most
        self.retrieved: list[int] = []

    def answer(self, line: bytes) -> bytes:
        verb, *arguments = line.split()
        numbers = [int(each) for each in arguments]
        if verb == b"XGOT":
            self.retrieved += numbers
            return b""
        if verb in (b"RETR", b"XAHEAD"):
            try:
                found = _gathered(self._drop, numbers[0])
            except Err as error:
                return b"-ERR " + error.text + b"\r\n"
            self.retrieved.append(numbers[0])
            if verb == b"RETR" or not self._most:
                return found[0]
            found = found[: self._most]
            return b"+OK AHEAD " + b" ".join(b"%d" % len(each) for each in found) + b"\r\n" + b"".join(found)
        if verb == b"UIDL":
            return b"+OK\r\n1 a\r\n.\r\n"
        return b"+OK " + b" ".join(b"%d" % each for each in self.retrieved) + b"\r\n"


_COMMANDS = st.sampled_from(
    [b"RETR 1", b"RETR 2", b"RETR 3", b"retr 4", b"RETR 9", b"DELE 2", b"UIDL", b"UIDL 1", b"STAT", b"RSET", b"LAST"]
)
_BODIES = st.lists(st.sampled_from([b"", b".\r\n.\r\n", b"a\r\n" * 9, b"x", b"\r\n.\r\n"]), max_size=5)


class ReadAheadTests(SynchronousTestCase):
    """What a frontend makes of it."""

    @settings(max_examples=150, deadline=None, database=None)
    @given(
        _BODIES,
        st.integers(0, 4),
        st.lists(st.lists(_COMMANDS, min_size=1, max_size=2), max_size=12),
        st.lists(st.integers(1, 90), min_size=1, max_size=8),
    )
    def test_as_without(self, bodies: list[bytes], most: int, turns: list[list[bytes]], sizes: list[int]) -> None:
        """Whatever the client says, waits for or not, and however it arrives, the answers are the same."""
        backend, direct = _Backend(bodies, most), _Backend(bodies, 0)
        ahead = ReadAhead()
        turn = 0
        for commands in turns:
            data = b"".join(each + b"\r\n" for each in commands)
            upward, said = ahead.asked(data)
            answers = b"".join(map(backend.answer, upward.upper().splitlines()))
            while answers:
                size = sizes[turn % len(sizes)]
                turn += 1
                said += ahead.answered(answers[:size])
                answers = answers[size:]
            self.assertEqual(said, b"".join(map(direct.answer, data.upper().splitlines())))
        backend.answer(ahead.given() or b"NOOP")
        self.assertEqual(backend.retrieved, direct.retrieved)

    @settings(max_examples=100, deadline=None, database=None)
    @given(st.lists(st.one_of(st.binary(max_size=40), _COMMANDS.map(lambda line: line + b"\r\n")), max_size=20))
    def test_anything(self, pieces: list[bytes]) -> None:
        """What makes no sense does no harm: whatever comes is passed on, or is an error of the server's."""
        ahead = ReadAhead()
        for piece in filter(None, pieces):
            ahead.asked(piece)
            try:
                ahead.answered(piece)
                ahead.answered(b"+OK AHEAD " + piece)
            except StoreUnavailable:
                return

    def test_in_a_row_only(self) -> None:
        """Who fetches single messages is given those, and who goes on from one the next ones."""
        ahead = ReadAhead()
        self.assertEqual(ahead.asked(b"RETR 7\r\n"), (b"RETR 7\r\n", b""))
        ahead.answered(b"+OK\r\n.\r\n")
        self.assertEqual(ahead.asked(b"RETR 8\r\n"), (b"XAHEAD 8\r\n", b""))
        self.assertEqual(ahead.answered(b"+OK AHEAD 1 2\r\nabc"), b"a")
        self.assertEqual(ahead.asked(b"RETR 9\r\n"), (b"", b"bc"))
        self.assertEqual(ahead.asked(b"RETR 10\r\n"), (b"XGOT 9\r\nXAHEAD 10\r\n", b""))

    def test_stat(self) -> None:
        """It is known until something is deleted, or the client does not wait."""
        for command in (b"DELE 1\r\n", b"NOOP\r\nNOOP\r\n"):
            ahead = ReadAhead(b"+OK 3 90\r\n")
            for line in (b"STAT\r\n", b"UIDL 1\r\n", b"stat\r\n"):
                upward, said = ahead.asked(line)
                self.assertEqual(said, b"" if upward else b"+OK 3 90\r\n")
                ahead.answered(upward)
            self.assertEqual(ahead.asked(b"STAT 1\r\n"), (b"STAT 1\r\n", b""))
            ahead.answered(b"-ERR\r\n")
            ahead.asked(command)
            ahead.answered(b"+OK\r\n")
            self.assertEqual(ahead.asked(b"STAT\r\n"), (b"STAT\r\n", b""))

    def test_sizes(self) -> None:
        """A server cannot have a frontend keep more than it may."""
        for sizes in (b"", b"x", b"-1", b"9" * 20, b"262145", b"1 " * 101):
            ahead = ReadAhead()
            ahead.asked(b"RETR 1\r\n")
            self.assertRaises(StoreUnavailable, ahead.answered, b"+OK AHEAD " + sizes + b"\r\n")


class ThroughTests(Pop3Case):
    """Through a frontend."""

    async def _fetch(self, client: LineClient, number: int) -> bytes:
        """A message; empty if it is refused."""
        client.send(b"RETR %d\r\n" % number)
        if not (await client.line()).startswith(b"+OK"):
            return b""
        lines = []
        while (line := await client.line()) != b".":
            lines.append(line)
        return b"\r\n".join(lines) + b"\r\n"

    async def test_all(self) -> None:
        """All messages come as they are; what was deleted is gone, and nothing else."""
        user = await self.client()
        bodies = [b"Subject: %d\r\n\r\n" % number + MESSAGE for number in range(20)]
        bodies[5] = LARGE
        await self.append(user, b"INBOX", *bodies)
        lines: list[bytes] = []
        self.patch(self.pop3_factories[self.servers[0]], "make_session", self._noting(lines))
        client = await self._connect()
        await self._say(client, b"USER alice")
        await self._say(client, b"PASS secret")
        for number, body in enumerate(bodies, 1):
            self.assertEqual(await self._fetch(client, number), body)
            if number % 3 == 0:
                self.assertEqual(await self._say(client, b"DELE %d" % number), b"+OK message deleted")
                self.assertEqual(await self._fetch(client, number), b"")
        self.assertEqual(await self._say(client, b"LAST"), b"+OK 20")
        self.assertEqual(await self._say(client, b"QUIT"), b"+OK")
        self.assertIn(b"MESSAGES 14", await self.do(user, b"STATUS INBOX (MESSAGES)"))
        del lines[:]
        answers = await self._session(b"alice", b"STAT", b"DELE 1", b"STAT", b"QUIT")
        self.assertEqual(answers[1].split()[1], b"14")
        self.assertEqual(answers[3].split()[1], b"13")
        self.assertEqual(lines.count(b"STAT"), 1)

    async def test_fewer_questions(self) -> None:
        """What came unasked is not asked for."""
        user = await self.client()
        await self.append(user, b"INBOX", *[MESSAGE] * 3)
        lines: list[bytes] = []
        self.patch(self.pop3_factories[self.servers[0]], "make_session", self._noting(lines))
        client = await self._connect()
        await self._say(client, b"USER alice")
        await self._say(client, b"PASS secret")
        for number in (1, 2, 3):
            self.assertEqual(await self._fetch(client, number), MESSAGE)
        await self._say(client, b"QUIT")
        self.assertIn(b"XAHEAD 1", lines)
        self.assertNotIn(b"RETR 2", lines)

    def _noting(self, lines: list[bytes]) -> Any:
        make = self.pop3_factories[self.servers[0]].make_session

        async def note(session: Any, line: bytes) -> bytes:
            lines.append(line)
            return await run(session, line)

        def noted(*arguments: Any) -> Any:
            session = make(*arguments)
            session._run = note
            return session

        return noted

    async def test_a_server_that_lies(self) -> None:
        """Its client's connection ends; nothing is kept of what it said."""
        client = await self._connect()
        await self._say(client, b"USER alice")
        await self._say(client, b"PASS secret")
        (served,) = self._served()

        async def lie(session: Any, line: bytes) -> bytes:
            return b"+OK AHEAD 999999999\r\n"

        served._run = lie
        client.send(b"RETR 1\r\n")
        with self.assertRaises(StoreUnavailable):
            await client.line()
        while self._served():
            await self.turn()
