"""A connection to another IMAP server, on behalf of one user."""

from __future__ import annotations

import secrets
from binascii import b2a_base64
from collections.abc import Callable
from typing import Any
from typing import Protocol as TypingProtocol

from twisted.internet.defer import Deferred
from typing_extensions import override

from pycyrus.auth.client import ClientExchange
from pycyrus.errors import AuthenticationFailed, MalformedExchange, StoreUnavailable
from pycyrus.murder.servers.connection import ServerConnection
from pycyrus.murder.servers.responses import BadResponse, ResponseScanner
from pycyrus.net.splicing import PIPES, SPLICED, Pipe

LOGIN_WITHIN = 30.0
"""Seconds for each answer of a login."""
ANSWER_WITHIN = 60.0
"""Seconds of silence for a command of our own."""
_READ_AHEAD = 262_144
"""Octets that wait to be passed on before the server is made to wait."""
_LONGEST_ANSWER = 64 << 20
"""Octets of an answer that is kept, such as the list of what somebody subscribed to."""
_MAX_ROUNDS = 10
_END = 8192
"""Octets at the end of what waits that are read: more than any tagged line has."""
_LEAST_SPLICED = _END + SPLICED
"""Octets that wait, from which on it pays not to read them."""


class Outlet(TypingProtocol):
    """Where answers are passed on to: a session of IMAP."""

    @property
    def can_splice(self) -> bool:
        """Whether L{send_pipe} works."""

    def send_pipe(self, pipe: Pipe, length: int) -> None:
        """Send what is in a pipe to the client; L{drain} waits until it is empty."""

    def write(self, data: bytes) -> None:
        """Send octets to the client."""

    async def drain(self) -> None:
        """Wait until the client has read most of them."""


class Source(TypingProtocol):
    """Octets to send that need not be in memory."""

    size: int

    def read(self, offset: int, length: int) -> bytes:
        """Read a range."""


class ImapLink(ServerConnection):
    """
    One connection; it has one command at a time.

    @ivar capabilities: In upper case.
    @ivar enabled: What was switched on there; such a link is no other session's.
    @ivar is_clean: Nobody would notice that somebody else used it before.
    @ivar tells_unasked: It was asked to tell of changes whenever there are some (RFC 5465).
    @ivar listener: Called when something came.
    """

    service = "imap"

    def __init__(self, server: str, reactor: Any) -> None:
        super().__init__(server, reactor)
        self.capabilities: frozenset[bytes] = frozenset()
        self.enabled: set[bytes] = set()
        self.is_clean = True
        self.tells_unasked = False
        self.listener: Callable[[], None] | None = None
        self.greeting = b""
        self._scanner = ResponseScanner()
        self._has_news = False
        self._unread = 0
        self._is_paused = False
        self._number = 0
        self._secret = secrets.token_hex(8).encode("ascii")

    # --- the connection -----------------------------------------------------------

    @override
    def dataReceived(self, data: bytes) -> None:
        self._scanner.feed(data)
        self._unread += len(data)
        if self._unread > _READ_AHEAD and not self._is_paused:
            self._is_paused = True
            transport: Any = self.transport
            transport.pauseProducing()
        self._wake()

    def log_out(self) -> None:
        """End it politely."""
        self.end(b"Q01 LOGOUT\r\n", "logged out")

    async def send_source(self, source: Source, piece: int = 65_536) -> None:
        """
        Send what may be much, as fast as the server takes it.

        @raise StoreUnavailable: The connection went, or the server does not read.
        """
        offset = 0
        while offset < source.size:
            data = source.read(offset, piece)
            if not data:
                self.abort("a message became shorter")
            self.send(data)
            offset += len(data)
            await self.drain(ANSWER_WITHIN)

    # --- waiting --------------------------------------------------------------------

    @override
    def _wake(self) -> None:
        self._has_news = True
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.callback(None)
        elif self.listener is not None:
            self.listener()

    async def _more(self, within: float | None) -> None:
        """
        Wait until something came.

        @param within: Seconds; None for ever.
        @raise StoreUnavailable: The connection went, or was cut because nothing came.
        """
        while not self._has_news:
            self.check()
            self._waiter = Deferred()
            if within is None:
                await self._waiter
            else:
                await self._within(within, self._waiter)

    def _take(self, tag: bytes) -> tuple[bytes, bytes | None]:
        self._has_news = False
        try:
            data, line = self._scanner.take(tag)
        except BadResponse as error:
            self.abort(str(error))
            self.check()
            raise
        self._unread = 0
        if self._is_paused:
            self._is_paused = False
            transport: Any = self.transport
            transport.resumeProducing()
        if line is None and not data:
            self.check()
        return data, line

    # --- commands -------------------------------------------------------------------

    def next_tag(self) -> bytes:
        """A tag of our own."""
        self._number += 1
        return b"PROXY%d" % self._number

    def secret_tag(self) -> bytes:
        """A tag that nobody knows, so that no message has a line that begins with it."""
        self._number += 1
        return b"%b%d" % (self._secret, self._number)

    async def relay(
        self, tag: bytes, outlet: Outlet, within: float | None = ANSWER_WITHIN, *, may_splice: bool = False
    ) -> bytes:
        """
        Pass on what comes until the tagged line.

        @param within: Seconds of silence after which the server is given up.
        @param may_splice: What is long may be passed on without a look at it, from this socket to the client's; but
            for its end, where the tagged line may be.  The tag is one of L{secret_tag}.
        @return: That line, with its end.
        @raise StoreUnavailable: The connection went.  L{is_whole} tells whether the
            client can be told so.
        """
        transport: Any = self.transport
        # Behind the tagged line there must be nothing that the server says of its own accord.
        may_splice = may_splice and not self.tells_unasked and outlet.can_splice
        may_splice = may_splice and getattr(transport, "can_splice", False)
        while True:
            data, line = self._take(tag)
            if data:
                outlet.write(data)
            if line is not None:
                self.used = self._reactor.seconds()
                return line
            if may_splice and transport.waiting() >= _LEAST_SPLICED:
                may_splice = await self._splice(outlet, within)
                if may_splice and transport.waiting():
                    # Its end, without another turn.
                    transport.doRead()
            elif data:
                await outlet.drain()
            await self._more(within)

    async def _splice(self, outlet: Outlet, within: float | None) -> bool:
        """
        Pass on what waits, without copying it, for as long as much does.

        @return: Whether this works.
        @raise StoreUnavailable: The connection went.
        """
        transport: Any = self.transport
        with PIPES.borrowed() as pipe:
            if pipe is None:
                return False
            transport.told = self._wake
            try:
                while (waiting := transport.waiting()) >= _LEAST_SPLICED:
                    self._has_news = False
                    count = transport.fill(pipe, waiting - _END)
                    if not count:
                        return False
                    outlet.write(self._scanner.look_away())
                    outlet.send_pipe(pipe, count)
                    if pipe.held and not await self._emptied(pipe, outlet):
                        return False
                    await self._more(within)
                return True
            finally:
                transport.told = None

    async def _emptied(self, pipe: Pipe, outlet: Outlet) -> bool:
        """
        Read nothing until a client has taken what is in a pipe.

        @return: False if it will not.
        """
        transport: Any = self.transport
        transport.pauseProducing()
        try:
            await outlet.drain()
        finally:
            if self.lost_reason is None:
                transport.resumeProducing()
        return not pipe.held

    async def go_ahead(self, tag: bytes, outlet: Outlet) -> bytes | None:
        """
        Wait to be told to send a literal.

        @return: The tagged line, if it is not wanted.
        @raise StoreUnavailable: The connection went.
        """
        while True:
            data, line = self._take(tag)
            begin = data.rfind(b"\n", 0, -1) + 1
            if data[begin : begin + 1] == b"+" and line is None:
                outlet.write(data[:begin])
                return None
            outlet.write(data)
            if line is not None:
                return line
            await self._more(ANSWER_WITHIN)

    def take_news(self, tag: bytes) -> tuple[bytes, bytes | None]:
        """
        What has come, without waiting; for IDLE.

        @raise StoreUnavailable: The connection went.
        """
        return self._take(tag)

    @property
    def said_goodbye(self) -> bool:
        """Whether the server ended the connection, and nobody cut it."""
        return self._scanner.said_goodbye

    @property
    def is_whole(self) -> bool:
        """Whether what was passed on ends where a response does."""
        return self._scanner.is_whole

    async def ask(self, command: bytes, within: float = ANSWER_WITHIN) -> tuple[bytes, bytes, bytes]:
        """
        Have a command done for ourselves.

        @param command: Without tag and line end.
        @return: Untagged responses; C{OK}, C{NO} or C{BAD}; the text behind it.
        @raise StoreUnavailable: The connection went.
        """
        tag = self.next_tag()
        self.send(b"%b %b\r\n" % (tag, command))
        return await self.answer(tag, within)

    async def answer(self, tag: bytes, within: float = ANSWER_WITHIN) -> tuple[bytes, bytes, bytes]:
        """The answer to a command that was sent; as L{ask}."""
        kept = Kept()
        try:
            line = await self.relay(tag, kept, within)
        except OverflowError as error:
            self.abort(str(error))
            raise StoreUnavailable(f"{self.server}: {error}") from None
        status, _, text = line[len(tag) + 1 :].rstrip(b"\r\n").partition(b" ")
        return b"".join(kept.pieces), status.upper(), text

    # --- the login ------------------------------------------------------------------

    async def _line(self) -> bytes:
        while True:
            self._has_news = False
            try:
                line = self._scanner.take_line()
            except BadResponse as error:
                self.abort(str(error))
                line = None
            if line is not None:
                self._has_news = True
                self._unread = 0
                return line
            await self._more(LOGIN_WITHIN)
            self.check()

    async def greeted(self) -> None:
        """
        Wait for the greeting, and learn what the server can.

        @raise StoreUnavailable: It will not have us.
        """
        self.greeting = await self._line()
        if not self.greeting.upper().startswith(b"* OK"):
            self.abort("refused: " + self.greeting.decode("utf-8", "replace")[:200])
            self.check()
        if not self._note_capabilities(self.greeting):
            await self.ask_capabilities()

    async def ask_capabilities(self) -> None:
        """Ask what the server can."""
        untagged, _, _ = await self.ask(b"CAPABILITY", LOGIN_WITHIN)
        for line in untagged.split(b"\r\n"):
            if line.upper().startswith(b"* CAPABILITY "):
                self.capabilities = frozenset(line.upper().split()[2:])

    def _note_capabilities(self, line: bytes) -> bool:
        begin = line.upper().find(b"[CAPABILITY ")
        if begin < 0:
            return False
        self.capabilities = frozenset(line[begin + 12 :].partition(b"]")[0].upper().split())
        return True

    @property
    def mechanisms(self) -> list[str]:
        """SASL mechanisms that are offered."""
        return [each[5:].decode("ascii", "replace") for each in self.capabilities if each.startswith(b"AUTH=")]

    @property
    def can_start_tls(self) -> bool:
        """Whether the server offers TLS."""
        return b"STARTTLS" in self.capabilities

    async def start_tls(self, context: object) -> None:
        """
        Go over to TLS (RFC 9051 section 6.2.1).

        @param context: What the transport's C{startTLS} takes.
        @raise StoreUnavailable: The server will not.
        """
        _, status, _ = await self.ask(b"STARTTLS", LOGIN_WITHIN)
        if status != b"OK":
            self.abort("STARTTLS was refused")
            self.check()
        # What somebody else sent before is not to be believed.
        self._scanner = ResponseScanner()
        transport: Any = self.transport
        transport.startTLS(context)
        await self.ask_capabilities()

    async def authenticate(self, exchange: ClientExchange) -> None:
        """
        Log in (RFC 9051 section 6.2.2).

        @raise AuthenticationFailed: One side did not accept the other.
        @raise MalformedExchange: This is no such exchange.
        @raise StoreUnavailable: The connection went.
        """
        tag = self.next_tag()
        command = b"%b AUTHENTICATE %b" % (tag, exchange.mechanism.encode("ascii"))
        if b"SASL-IR" in self.capabilities:
            first = await self.first_message(exchange)
            if first is not None:
                command += b" " + (b2a_base64(first, newline=False) or b"=")
        self.send(command + b"\r\n")
        for _ in range(_MAX_ROUNDS):
            line = await self._line()
            if line.startswith(tag + b" "):
                self._end_login(line[len(tag) + 1 :], exchange)
                return
            if line.startswith(b"+"):
                self.send(b2a_base64(await self.next_message(exchange, line[1:].strip()), newline=False) + b"\r\n")
            elif not line.startswith(b"* "):
                break
        raise MalformedExchange("no end of challenges")

    def _end_login(self, line: bytes, exchange: ClientExchange) -> None:
        if line[:2].upper() != b"OK":
            raise AuthenticationFailed(line.decode("utf-8", "replace")[:200])
        exchange.finished(None)
        self.capabilities = frozenset() if not self._note_capabilities(line) else self.capabilities
        self.used = self._reactor.seconds()


class Kept:
    """Keeps an answer."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        """Keep octets."""
        self._size += len(data)
        if self._size > _LONGEST_ANSWER:
            raise OverflowError("the answer is too long")
        self.pieces.append(data)

    can_splice = False

    def send_pipe(self, pipe: Pipe, length: int) -> None:
        """It keeps octets only."""

    async def drain(self) -> None:
        """Nobody reads slowly."""
