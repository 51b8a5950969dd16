"""MUPDATE's client side: what slaves and backends say to a master (RFC 3656)."""

from __future__ import annotations

from binascii import Error, a2b_base64, b2a_base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from typing import Protocol as TypingProtocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from pycyrus.errors import (
    AuthenticationFailed,
    MailboxExists,
    MailboxNotFound,
    MalformedExchange,
    OperationNotSupported,
    StoreUnavailable,
)
from pycyrus.interfaces import Location, LocationState
from pycyrus.mupdate.wire import decode, encode, split_where
from pycyrus.net.compression import Deflate
from pycyrus.wire.words import BadLine, LineReader, LineTooLong, Word

LINES_AT_ONCE = 40
"""Lines taken before others have their turn."""
ANSWER_WITHIN = 60.0
"""Seconds for an answer; then the connection is cut."""
ALL_WITHIN = 3600.0
"""Seconds in which a server has to tell everything, however busily it tells."""
_MAX_ROUNDS = 20

Told = Location | str
"""Where a mailbox is, or the name of one that is gone."""


class SaslClient(TypingProtocol):
    """The client's side of an exchange, as L{pycyrus.auth.client} has it."""

    mechanism: str

    def initial(self) -> bytes | None:
        """The first message, if the client begins."""

    def step(self, challenge: bytes) -> bytes:
        """Answer a challenge."""

    def finished(self, data: bytes | None) -> None:
        """The server says that it succeeded."""


@dataclass(slots=True)
class Banner:
    """
    What a server said at the start.

    @ivar product: Name, product, version and role, as far as they were told.
    """

    mechanisms: list[str] = field(default_factory=list)
    can_start_tls: bool = False
    can_compress: bool = False
    can_update_some: bool = False
    product: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Waiting:
    """A command without an answer yet."""

    done: Deferred[list[Told]]
    found: list[Told] = field(default_factory=list)
    streamed: int = 0


class MupdateClient(Protocol):
    """
    A connection to a MUPDATE server.

    Commands may be sent before those before them are answered.

    @ivar banner: After L{greeted}.
    @ivar lost_reason: None while the connection is there.
    @ivar answer_within: Seconds for which the server may say nothing while something is asked of it.
    @ivar is_endless: It was cut because the server did not come to an end of what there is.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        told: Callable[[Sequence[Told]], None] = lambda changes: None,
        gone: Callable[[str], None] = lambda reason: None,
        *,
        most: int = 1 << 22,
        answer_within: float = ANSWER_WITHIN,
    ) -> None:
        """
        @param told: Given what a stream tells, in order.
        @param gone: Told why the connection went.
        @param most: Entries that an answer may have, that to UPDATE too.
        @param answer_within: Seconds for which the server may say nothing while something is
            asked of it; then the connection is cut.
        """
        self.banner = Banner()
        self.lost_reason: str | None = None
        self.is_endless = False
        self._clock = clock
        self._told = told
        self._gone = gone
        self._most = most
        self.answer_within = answer_within
        self._reader = LineReader()
        self._waiting: dict[bytes, _Waiting] = {}
        self._number = 0
        self._has_greeted = False
        self._for_greeting: list[Deferred[None]] = []
        self._dialogue: Deferred[bytes] | None = None
        self._stream = b""
        self._fresh: list[Told] = []
        self._deflate: Deflate | None = None
        self._timer: IDelayedCall | None = None
        self._turn: IDelayedCall | None = None
        self._is_held = False

    # --- for the owner ----------------------------------------------------------

    async def greeted(self) -> None:
        """
        Wait for the banner.

        @raise StoreUnavailable: It did not come.
        """
        self._check()
        if not self._has_greeted:
            self._expect()
            waiting: Deferred[None] = Deferred()
            self._for_greeting.append(waiting)
            await waiting

    async def start_tls(self, context: object) -> None:
        """
        Go over to TLS (RFC 3656 section 4.11).

        @param context: What the transport's C{startTLS} takes.
        @raise StoreUnavailable: The server will not, or the connection went.
        """
        await self._command(b"S01", b"STARTTLS")
        self.banner = Banner()
        self._has_greeted = False
        self._reader = LineReader()
        transport: Any = self.transport
        transport.startTLS(context)
        await self.greeted()

    async def compress(self) -> None:
        """Compress what follows."""
        await self._command(b"Z01", b'COMPRESS "DEFLATE"')
        self._deflate = Deflate()

    async def authenticate(self, exchange: SaslClient) -> None:
        """
        Log in (RFC 3656 section 4.2).

        @raise AuthenticationFailed: One side did not accept the other.
        @raise MalformedExchange: This is no such exchange.
        @raise StoreUnavailable: The connection went.
        """
        line = b'A01 AUTHENTICATE "%b"' % exchange.mechanism.encode("ascii")
        first = exchange.initial()
        if first is not None:
            octets = b2a_base64(first, newline=False) or b"="
            line += b" {%d+}\r\n%b" % (len(octets), octets)
        for _ in range(_MAX_ROUNDS):
            self._dialogue = Deferred()
            self._send(line + b"\r\n")
            answer = await self._dialogue
            tag, _, rest = answer.partition(b" ")
            if tag == b"A01":
                if rest[:2].upper() != b"OK":
                    raise AuthenticationFailed(rest.decode("latin-1"))
                exchange.finished(None)
                return
            try:
                line = b2a_base64(exchange.step(a2b_base64(answer, strict_mode=True)), newline=False)
            except Error:
                raise MalformedExchange("challenge is no base64") from None
        raise MalformedExchange("no end of challenges")

    async def find(self, mailbox: str) -> Location | None:
        """Look a mailbox up (RFC 3656 section 4.5)."""
        found = await self._call("FIND", mailbox)
        return next((each for each in found if isinstance(each, Location)), None)

    async def list_begun(self, begin: str) -> Sequence[Location]:
        """All whose locations begin so, as with C{server!} (RFC 3656 section 4.7)."""
        return [each for each in await self._call("LIST", begin) if isinstance(each, Location)]

    async def reserve(self, location: Location) -> None:
        """
        RFC 3656 section 4.9.

        @raise MailboxExists: It is somewhere else.
        """
        await self._call("RESERVE", location.mailbox, location.where)

    async def activate(self, location: Location) -> None:
        """RFC 3656 section 4.1."""
        await self._call("ACTIVATE", location.mailbox, location.where, location.acl)

    async def deactivate(self, location: Location) -> None:
        """
        RFC 3656 section 4.3.

        Cyrus 3.6 dies of it where the mailbox is not active: L{find} it first.
        """
        await self._call("DEACTIVATE", location.mailbox, location.where)

    async def delete(self, mailbox: str) -> None:
        """
        RFC 3656 section 4.4.

        Cyrus 3.6 dies of it where there is no such mailbox: L{find} it first.

        @raise MailboxNotFound: There is none.
        """
        await self._call("DELETE", mailbox)

    async def update(self, servers: Sequence[str] = ()) -> None:
        """
        Ask to be told everything, and what changes from then on (RFC 3656 section 4.12).

        When it returns, everything was told.

        @param servers: Only what is there, comes there or leaves; an extension of Cyrus.
        @raise OperationNotSupported: The server cannot tell a part.
        @raise StoreUnavailable: The connection went, or it does not end (C{is_endless}).
        """
        if servers and not self.banner.can_update_some:
            raise OperationNotSupported("the MUPDATE server has no PARTIAL-UPDATE")
        self._stream = b"U01"
        words = b"".join(b" {%d+}\r\n%b" % (len(name), name) for name in map(encode, servers))
        timer = self._clock.callLater(ALL_WITHIN, self._cut_endless, "UPDATE takes too long")
        try:
            await self._command(b"U01", b"UPDATE" + words)
        finally:
            if timer.active():
                timer.cancel()

    def pause(self) -> None:
        """Take no more for now: what was told is not dealt with yet."""
        transport: Any = self.transport
        self._is_held = True
        if self.lost_reason is None:
            transport.pauseProducing()

    def resume(self) -> None:
        """Go on."""
        transport: Any = self.transport
        self._is_held = False
        if self.lost_reason is None and self._turn is None:
            transport.resumeProducing()

    async def noop(self) -> None:
        """Wait until all that was done before has been told (RFC 3656 section 4.10)."""
        self._number += 1
        await self._command(b"N%d" % self._number, b"NOOP")

    def log_out(self) -> None:
        """End the connection (RFC 3656 section 4.8)."""
        if self.lost_reason is None and self.transport is not None:
            self._send(b"Q01 LOGOUT\r\n")
            transport: Any = self.transport
            transport.loseConnection()

    # --- sending ----------------------------------------------------------------

    async def _call(self, name: str, *arguments: str) -> list[Told]:
        self._number += 1
        words = b"".join(b" {%d+}\r\n%b" % (len(value), value) for value in map(encode, arguments))
        return await self._command(b"X%d" % self._number, name.encode("ascii") + words)

    async def _command(self, tag: bytes, line: bytes) -> list[Told]:
        self._check()
        waiting = self._waiting[tag] = _Waiting(Deferred())
        self._send(b"%b %b\r\n" % (tag, line))
        self._expect()
        return await waiting.done

    def _send(self, data: bytes) -> None:
        self._check()
        assert self.transport is not None
        self.transport.write(data if self._deflate is None else self._deflate.compress(data))

    def _check(self) -> None:
        if self.lost_reason is not None:
            raise StoreUnavailable(f"the MUPDATE server: {self.lost_reason}")

    def _expect(self) -> None:
        if self._timer is None:
            self._timer = self._clock.callLater(self.answer_within, self._too_late)

    def _too_late(self) -> None:
        self._timer = None
        if self._is_held:
            # It may have answered, and we do not look.
            self._expect()
        else:
            self._cut("no answer")

    def _cut(self, reason: str) -> None:
        if self.lost_reason is None:
            self.lost_reason = reason
        transport: Any = self.transport
        transport.abortConnection()

    def _cut_endless(self, reason: str) -> None:
        self.is_endless = self.lost_reason is None
        self._cut(reason)

    # --- receiving --------------------------------------------------------------

    @override
    def dataReceived(self, data: bytes) -> None:
        if self._timer is not None:
            # Whoever sends is alive; a long list takes its time.
            self._timer.reset(self.answer_within)
        if self._deflate is None:
            self._reader.feed(data)
        else:
            self._deflate.feed(data)
        if self._turn is None:
            self._take_some()

    def _take_some(self) -> None:
        """Take lines, and leave the rest of many for the reactor's next turn."""
        is_waiting, self._turn = self._turn is not None, None
        try:
            has_more = self._take_lines()
        except (ValueError, LineTooLong) as error:
            self._cut(str(error))
            return
        transport: Any = self.transport
        if has_more:
            self._turn = self._clock.callLater(0, self._take_some)
            if not is_waiting:
                transport.pauseProducing()
        elif is_waiting and not self._is_held and self.lost_reason is None:
            transport.resumeProducing()

    def _take_lines(self) -> bool:
        """
        Take some lines.

        @return: There may be more.
        @raise ValueError: They are none.
        @raise LineTooLong: Likewise.
        """
        left = LINES_AT_ONCE
        while self.lost_reason is None and left:
            left -= 1
            if self._dialogue is not None:
                raw = self._reader.next_raw_line()
                if raw is not None:
                    dialogue, self._dialogue = self._dialogue, None
                    dialogue.callback(raw)
                    continue
            else:
                try:
                    words = self._reader.next_line()
                except BadLine as error:
                    raise error if isinstance(error, LineTooLong) else ValueError(str(error)) from None
                if words is not None:
                    if words:
                        self._take(words)
                    continue
            piece = b"" if self._deflate is None else self._deflate.next_piece()
            if not piece:
                break
            self._reader.feed(piece)
        else:
            self._tell()
            return self.lost_reason is None
        self._tell()
        return False

    def _tell(self) -> None:
        fresh, self._fresh = self._fresh, []
        if fresh:
            self._told(fresh)
        if not self._waiting and self._has_greeted and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _take(self, words: list[Word]) -> None:
        tag, rest = words[0].value, [word.value for word in words[1:]]
        name = rest[0].upper() if rest else b""
        if tag == b"*":
            self._take_untagged(name, rest[1:])
        elif name in (b"MAILBOX", b"RESERVE", b"DELETE"):
            self._take_entry(tag, name, rest[1:])
        elif name in (b"OK", b"NO", b"BAD"):
            self._take_end(tag, name, b" ".join(rest[1:]).decode("utf-8", "replace"))

    def _take_untagged(self, name: bytes, rest: list[bytes]) -> None:
        banner = self.banner
        if name == b"AUTH":
            banner.mechanisms = [word.decode("ascii", "replace").upper() for word in rest]
        elif name == b"STARTTLS":
            banner.can_start_tls = True
        elif name == b"COMPRESS":
            banner.can_compress = b"DEFLATE" in rest
        elif name == b"PARTIAL-UPDATE":
            banner.can_update_some = True
        elif name == b"BYE":
            self.lost_reason = " ".join(word.decode("utf-8", "replace") for word in rest) or "bye"
            self._cut(self.lost_reason)
        elif name == b"OK" and not self._has_greeted:
            banner.product = [word.decode("utf-8", "replace") for word in rest]
            self._has_greeted = True
            waiters, self._for_greeting = self._for_greeting, []
            for waiting in waiters:
                waiting.callback(None)

    def _take_entry(self, tag: bytes, name: bytes, rest: list[bytes]) -> None:
        entry: Told
        if name == b"DELETE" and len(rest) == 1:
            entry = decode(rest[0])
        elif len(rest) == (3 if name == b"MAILBOX" else 2):
            server, partition = split_where(decode(rest[1]))
            is_active = name == b"MAILBOX"
            state = LocationState.ACTIVE if is_active else LocationState.RESERVED
            entry = Location(decode(rest[0]), server, partition, decode(rest[2]) if is_active else "", state)
        else:
            raise ValueError("a data line with other words than it should have")
        waiting = self._waiting.get(tag)
        if tag == self._stream:
            self._fresh.append(entry)
            if waiting is not None:
                waiting.streamed += 1
                if waiting.streamed > self._most:
                    self._cut_endless("more entries than allowed")
        elif waiting is not None:
            waiting.found.append(entry)
            if len(waiting.found) > self._most:
                raise ValueError("more entries than allowed")

    def _take_end(self, tag: bytes, status: bytes, text: str) -> None:
        waiting = self._waiting.pop(tag, None)
        if waiting is None or waiting.done.called:
            return
        # What was told before is known before whoever waits goes on.
        fresh, self._fresh = self._fresh, []
        if fresh:
            self._told(fresh)
        if status == b"OK":
            waiting.done.callback(waiting.found)
        else:
            waiting.done.errback(_refusal(status, text))

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        for call in (self._timer, self._turn):
            if call is not None and call.active():
                call.cancel()
        self._timer = self._turn = None
        if self.lost_reason is None:
            self.lost_reason = reason.getErrorMessage()
        error = StoreUnavailable(f"the MUPDATE server: {self.lost_reason}")
        waiters: list[Deferred[Any]] = [waiting.done for waiting in self._waiting.values()]
        waiters += self._for_greeting
        if self._dialogue is not None:
            waiters.append(self._dialogue)
        self._waiting.clear()
        self._for_greeting.clear()
        for waiter in waiters:
            if not waiter.called:
                waiter.errback(error)
        self._gone(self.lost_reason)


def _refusal(status: bytes, text: str) -> Exception:
    if status == b"BAD":
        return OperationNotSupported(text)
    if "exists" in text and "doesn't" not in text:
        return MailboxExists(text)
    if "doesn't exist" in text or "not currently active" in text:
        return MailboxNotFound(text)
    return StoreUnavailable(text)
