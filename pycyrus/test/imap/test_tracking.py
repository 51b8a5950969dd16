"""
Several sessions on one mailbox: each client's picture stays right, whatever the others do.

A L{Picture} is what a client makes of the responses; nothing else is known to it.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from pycyrus.model.identity import Identity
from pycyrus.model.names import inbox_of
from pycyrus.store.watch import WatchReactor
from pycyrus.testing.imap import Client, ImapServer, open_mail_server
from pycyrus.testing.store import MemoryStore

MESSAGE = b"From: a@example.com\r\nSubject: s\r\n\r\nbody\r\n"
LEARN = b"FETCH 1:* (UID)"
KINDS = (b"", b"", b"CONDSTORE", b"QRESYNC", b"IMAP4rev2", b"QRESYNC IMAP4rev2")
SEEDS = 6
REAL_STEPS = 250
STEPS = 200
FLAGS = (rb"\Seen", rb"\Deleted", rb"\Flagged", rb"\Answered", b"$Junk", b"work")

_FETCH = re.compile(rb"\* (\d+) FETCH \((.*)\)\Z", re.DOTALL)
_FLAGS = re.compile(rb"FLAGS \(([^)]*)\)")
_UID = re.compile(rb"UID (\d+)")
_MODSEQ = re.compile(rb"MODSEQ \((\d+)\)")


@dataclass
class Known:
    """What a client knows of one message; None for what it does not."""

    uid: int | None = None
    flags: frozenset[bytes] | None = None
    modseq: int | None = None


@dataclass
class Picture:
    """What a client knows of its mailbox."""

    messages: list[Known] = field(default_factory=list)
    found: list[int] = field(default_factory=list)
    may_expunge: bool = True

    def apply(self, line: bytes) -> None:
        """
        Take an untagged response.

        @raise AssertionError: It must not come now, or is of no message.
        """
        words = line.split(b" ")
        match = _FETCH.match(line)
        if match is not None:
            self._fetched(int(match[1]), match[2])
        elif words[-1] == b"EXISTS":
            count = int(words[1])
            assert count >= len(self.messages), line
            self.messages += [Known() for _ in range(count - len(self.messages))]
        elif words[-1] == b"EXPUNGE":
            assert self.may_expunge, line
            del self.messages[self._index(int(words[1]))]
        elif words[1] == b"VANISHED" and words[2] != b"(EARLIER)":
            assert self.may_expunge, line
            gone = set(numbers(words[2]))
            assert gone <= {message.uid for message in self.messages}, line
            self.messages = [message for message in self.messages if message.uid not in gone]
        elif words[1] == b"SEARCH":
            self.found = [int(word) for word in words[2:]]

    def _index(self, number: int) -> int:
        assert 1 <= number <= len(self.messages), number
        return number - 1

    def _fetched(self, number: int, items: bytes) -> None:
        message = self.messages[self._index(number)]
        for pattern, name in ((_UID, "uid"), (_MODSEQ, "modseq")):
            match = pattern.search(items)
            if match is not None:
                old, new = getattr(message, name), int(match[1])
                assert name == "modseq" or old in (None, new), items
                setattr(message, name, new)
        match = _FLAGS.search(items)
        if match is not None:
            message.flags = frozenset(match[1].split()) - {rb"\Recent"}


def numbers(text: bytes) -> list[int]:
    """The numbers of a set."""
    found: list[int] = []
    for piece in text.split(b","):
        low, _, high = piece.partition(b":")
        found += range(int(low), int(high or low) + 1)
    return found


class Session:
    """A client that keeps a picture."""

    def __init__(self, server: ImapServer, enable: bytes) -> None:
        self.client: Client = server.connect()
        self.client.receive()
        self.enable = enable
        self.is_qresync = b"QRESYNC" in enable
        self.is_condstore = self.is_qresync or b"CONDSTORE" in enable
        self.picture = Picture()
        self._reactor = server.reactor
        self._count = 0

    async def begin(self) -> Session:
        """Log in, and select the INBOX."""
        await self.do(b"LOGIN alice secret")
        if self.enable:
            await self.do(b"ENABLE " + self.enable)
        await self.select()
        return self

    async def select(self) -> None:
        """Begin afresh."""
        self.picture = Picture()
        await self.do(b"SELECT INBOX")
        await self.learn()

    async def learn(self) -> None:
        """Ask for all that is not known."""
        if self.picture.messages:
            await self.do(b"FETCH 1:* (UID FLAGS MODSEQ)" if self.is_condstore else b"FETCH 1:* (UID FLAGS)")

    async def do(self, command: bytes) -> bytes:
        """Run a command; the tagged reply without its tag."""
        self._count += 1
        tag = b"t%d" % self._count
        name = command.split(b" ")[0]
        self.picture.may_expunge = name not in (b"FETCH", b"STORE", b"SEARCH")
        self.client.send(tag + b" " + command + b"\r\n")
        *lines, last = responses(await self._answer(tag))
        for line in lines:
            assert line.startswith(b"* "), (command, line)
            self.picture.apply(line)
        assert last.startswith(tag + b" "), (command, last)
        reply = last[len(tag) + 1 :]
        assert not reply.startswith(b"BAD"), (command, reply)
        if self.is_qresync and command != LEARN and any(message.uid is None for message in self.picture.messages):
            # VANISHED can be understood only by who knows all UIDs.
            await self.do(LEARN)
        return reply

    async def _answer(self, tag: bytes) -> bytes:
        """Wait for the tagged reply: the real store works in threads."""
        end = re.compile(rb"(?:\A|\r\n)%b [^\r\n]*\r\n\Z" % tag)
        while end.search(self.client.pending()[-1000:]) is None:
            assert self._reactor is not None and not self.client.is_closed, self.client.pending()
            turn: Deferred[None] = Deferred()
            self._reactor.callLater(0.0005, turn.callback, None)
            await turn
            self.client.settle()
        return self.client.receive()


def responses(data: bytes) -> list[bytes]:
    """Cut what a server sent into responses, literals included."""
    found: list[bytes] = []
    begin = at = 0
    while at < len(data):
        end = data.index(b"\r\n", at)
        size = re.search(rb"\{(\d+)\}\Z", data[at:end])
        if size is not None:
            at = end + 2 + int(size[1])
            continue
        found.append(data[begin:end])
        begin = at = end + 2
    return found


class RandomTests(TestCase):
    """Random commands of sessions of each kind, also of those that lag behind while others expunge."""

    async def play(self, server: ImapServer, seed: int, steps: int) -> None:
        chance = random.Random(seed)
        self.postman = Session(server, b"")
        await self.postman.do(b"LOGIN alice secret")
        await self.postman.do(b"CREATE Other")
        await self.deliver(8)
        self.fresh = await Session(server, b"CONDSTORE").begin()
        sessions = [await Session(server, enable).begin() for enable in KINDS]
        for _ in range(steps):
            session = chance.choice(sessions)
            await self.random_step(chance, session)
            if chance.random() < 0.2:
                await self.check(session)
        for session in sessions:
            await self.check(session)

    async def deliver(self, count: int) -> None:
        """Messages come, not by any of the sessions."""
        literal = b" {%d+}\r\n%b" % (len(MESSAGE), MESSAGE)
        await self.postman.do(b"APPEND INBOX" + literal * count)

    async def check(self, session: Session) -> None:
        """After NOOP, what is known is true, and nothing is missing but what was never asked for."""
        await session.do(b"NOOP")
        await self.fresh.select()
        truth = self.fresh.picture.messages
        known = session.picture.messages
        self.assertEqual(len(known), len(truth))
        for message, true in zip(known, truth, strict=True):
            self.assertIn(message.uid, (None, true.uid))
            self.assertIn(message.flags, (None, true.flags))
            if session.is_condstore:
                self.assertIn(message.modseq, (None, true.modseq))
        await session.learn()
        self.assertEqual(
            [(message.uid, message.flags) for message in known], [(message.uid, message.flags) for message in truth]
        )

    def random_set(self, chance: random.Random, count: int) -> bytes:
        pieces = []
        for _ in range(chance.randint(1, 3)):
            low, high = chance.randint(1, count), chance.randint(1, count)
            pieces.append(chance.choice((b"%d" % low, b"%d:%d" % (low, high), b"%d:*" % low)))
        return b",".join(pieces)

    async def random_step(self, chance: random.Random, session: Session) -> None:
        """One thing that happens."""
        count = len(session.picture.messages)
        what = chance.random()
        if count > 60:
            await session.do(b"UID STORE 1:* +FLAGS.SILENT (\\Deleted)")
            await session.do(b"EXPUNGE")
        elif what < 0.1 or not count:
            await self.deliver(chance.randint(1, 3))
        elif what < 0.45:
            await self.random_store(chance, session)
        elif what < 0.6:
            items = chance.choice(
                (b"FLAGS", b"(UID FLAGS)", b"BODY[]", b"(UID BODY.PEEK[])", b"BODY[HEADER.FIELDS (TO)]")
            )
            await session.do(b"FETCH %b %b" % (self.random_set(chance, count), items))
        elif what < 0.7:
            await session.do(chance.choice((b"EXPUNGE", b"UID EXPUNGE 1:*")))
        elif what < 0.8:
            await session.do(b"SEARCH " + chance.choice((b"SEEN", b"1:* UNDELETED", b"NOT KEYWORD work")))
            self.assertTrue(all(1 <= number <= count for number in session.picture.found))
        elif what < 0.86:
            await session.do(b"COPY %b INBOX" % self.random_set(chance, count))
        elif what < 0.9:
            await session.do(b"MOVE %d Other" % chance.randint(1, count))
        elif what < 0.93:
            await session.select()
        else:
            await session.do(b"NOOP")

    async def random_store(self, chance: random.Random, session: Session) -> None:
        """
        STORE in every form.

        A client that asks for silence computes the new flags itself, unless it
        is told them.
        """
        known = session.picture.messages
        picked = sorted(chance.sample(range(len(known)), chance.randint(1, min(4, len(known)))))
        by_uid = chance.random() < 0.4 and all(known[index].uid is not None for index in picked)
        flags = frozenset(chance.sample(FLAGS, chance.randint(1, 2)))
        sign = chance.choice((b"", b"+", b"-"))
        silent = chance.random() < 0.5
        if silent:
            for index in picked:
                old = known[index].flags
                if old is not None:
                    known[index].flags = {b"": flags, b"+": old | flags, b"-": old - flags}[sign]
        targets = [b"%d" % ((known[index].uid or 0) if by_uid else index + 1) for index in picked]
        reply = await session.do(
            b"%bSTORE %b %bFLAGS%b (%b)"
            % (b"UID " * by_uid, b",".join(targets), sign, b".SILENT" * silent, b" ".join(sorted(flags)))
        )
        self.assertTrue(reply.startswith((b"OK", b"NO [EXPUNGEISSUED]")), reply)

    def test_on_a_store_in_memory(self) -> None:
        """Quick, so it goes far."""
        for seed in range(SEEDS):
            store = MemoryStore()
            store.add(inbox_of(Identity("alice")))
            server = ImapServer(store=store)
            self.successResultOf(Deferred.fromCoroutine(self.play(server, seed, STEPS)))
            server.close()

    async def test_on_the_real_store(self) -> None:
        """Where commands wait, and views are shared differently."""
        from twisted.internet import reactor

        directory = Path(self.mktemp())
        directory.mkdir()
        server = await open_mail_server(directory, reactor=cast(WatchReactor, reactor))
        try:
            await self.play(server, 1, REAL_STEPS)
        finally:
            await server.shut_down()
