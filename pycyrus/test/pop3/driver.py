"""POP3 connections without a network, over a store in memory."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from pycyrus.interfaces import IMailStore, LoginTooSoon, NewMessage
from pycyrus.model.identity import Identity
from pycyrus.model.names import inbox_of
from pycyrus.pop3.protocol import Pop3Factory, Pop3Protocol
from pycyrus.pop3.settings import Pop3Settings
from pycyrus.testing.imap import FixedAuthenticator
from pycyrus.testing.store import MemoryStore

MESSAGES = (
    b"Subject: one\r\n\r\nfirst line\r\n.\r\n..second\r\nthird\r\n",
    b"Subject: two\r\n\r\nno line end",
    b"Subject: three\r\nX: y\r\n\r\n",
)


class Transport(StringTransport):
    """Keeps what is asked of it."""

    tls: object = None

    def startTLS(self, context: object) -> None:
        self.tls = context


class Claims:
    """Claims within one process, and no time but the clock's."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._claimed: set[str] = set()
        self._last: dict[str, float] = {}

    def claim(self, unique_id: str, delay: float, burst: int) -> Callable[[], None] | None:
        if unique_id in self._claimed:
            return None
        if self._clock.seconds() < self._last.get(unique_id, -delay) + delay:
            raise LoginTooSoon
        self._last[unique_id] = self._clock.seconds()
        self._claimed.add(unique_id)
        return lambda: self._claimed.discard(unique_id)


class Server:
    """A server with the users alice, who has L{MESSAGES}, and bob."""

    def __init__(self, *, tls: object = None, plaintext: bool = True, **settings: Any) -> None:
        self.clock = Clock()
        self.store = MemoryStore()
        for user in ("alice", "bob"):
            self.store.add(inbox_of(Identity(user)))
        self.store.add(inbox_of(Identity("alice")).child("Work"))
        self.factory = Pop3Factory(
            cast(IMailStore, self.store),
            cast(Any, FixedAuthenticator(plaintext=plaintext)),
            Pop3Settings("mail.test", **settings),
            cast(Any, Claims(self.clock)),
            None,
            cast(Any, tls),
            self.clock,
        )

    async def fill(self) -> None:
        identity = Identity("alice")
        name = inbox_of(identity)
        mailbox = await self.store.open(identity, name, "i")
        for message in MESSAGES:
            staged = await self.store.stage(identity, name)
            staged.write(message)
            staged.finish()
            await mailbox.append([NewMessage(staged)])

    def connect(self) -> Line:
        return Line(self)

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    async def log_in(self, connection: Any, user: str) -> None:
        connection.send(b"USER %b\r\nPASS secret\r\n" % user.encode())
        connection.read()


class Line:
    """One connection, also as the player of conversations wants it."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._heard = b""
        address = IPv4Address("TCP", "127.0.0.1", 4242)
        self.transport = Transport(hostAddress=address, peerAddress=address)
        self.protocol = cast(Pop3Protocol, server.factory.buildProtocol(address))
        self.protocol.makeConnection(self.transport)

    @property
    def is_closed(self) -> bool:
        return bool(self.transport.disconnecting)

    def send(self, data: bytes) -> None:
        self.protocol.dataReceived(data)
        self._server.clock.advance(0)

    def read(self) -> bytes:
        heard, self._heard = self.pending(), b""
        return heard

    async def receive_line(self) -> bytes | None:
        line, end, rest = self.pending().partition(b"\r\n")
        if not end:
            return None
        self._heard = rest
        return line

    def pending(self) -> bytes:
        self._heard += re.sub(rb"SESSIONID=<[^>]*>", b"SESSIONID=<>", self.transport.value())
        self.transport.clear()
        return self._heard

    def drop(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionDone()))
