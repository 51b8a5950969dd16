"""
The state of one MUPDATE connection at the server's side, without its socket (RFC 3656).

Who has said UPDATE is told of each change at once; what it has not
read yet stays where it is, in the directory, so a slow one costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from twisted.logger import Logger
from typing_extensions import override

from pycyrus.errors import MailStoreError, StoreUnavailable
from pycyrus.interfaces import Authenticated, Channel, LocationChange
from pycyrus.logins import log_login
from pycyrus.model.identity import Identity
from pycyrus.mupdate.parts import Link, Parts
from pycyrus.mupdate.replies import FAREWELLS, Refused, text_of
from pycyrus.mupdate.wire import gone_line, location_line
from pycyrus.net.line_session import Goodbye, LineSession
from pycyrus.wire.words import BadLine, LineReader, LineTooLong, Word, quoted

CHANGES_AT_ONCE = 200
"""Changes looked up before other connections have their turn."""

Run = Callable[["MupdateSession", list[Word]], Coroutine[Any, Any, None]]


@dataclass(slots=True)
class Stream:
    """
    Changes that a client is told of.

    @ivar tag: Of its UPDATE.
    @ivar hosts: Only what is, or was, at these; empty for all.
    @ivar position: The number of the last change it was told of.
    """

    tag: bytes
    hosts: frozenset[str]
    position: int


class MupdateSession(LineSession):
    """
    One connection.

    @ivar stream: None before UPDATE.
    """

    log = Logger()
    farewells = FAREWELLS
    _link: Link

    def __init__(self, link: Link, parts: Parts, run: Run, *, peer: str, local_address: str, session_id: str) -> None:
        """@param run: Finds and runs the command of a line."""
        super().__init__(link, parts.clock, parts.settings, session_id)
        self.settings = parts.settings
        self.locations = parts.locations
        self.authenticator = parts.authenticator
        self.catch_up = parts.catch_up
        self.peer = peer
        self.local_address = local_address
        self.is_compressed = False
        self.identity: Identity | None = None
        self.stream: Stream | None = None
        self._parts = parts
        self._run = run
        self._reader = LineReader()
        self._is_pushing = False
        self._stalled_at = 0.0
        self._stop_listening: Callable[[], None] | None = None

    # --- for commands ---------------------------------------------------

    def reply(self, tag: bytes, status: bytes, text: bytes) -> None:
        """End a command (RFC 3656 section 3.5)."""
        self.write(b"%b %b %b\r\n" % (tag, status, quoted(text)))

    @property
    def can_start_tls(self) -> bool:
        """Whether STARTTLS is configured and has not happened."""
        return self._parts.has_tls and not self.is_secure and not self.is_compressed

    def channel(self) -> Channel:
        """How the client is connected, for authentication."""
        return Channel(
            self.settings.service,
            self.peer,
            self.is_secure,
            self.local_address,
            self.session_id,
            self._link.tls_exporter(),
            self._link.client_certificate,
        )

    async def ask(self, challenge: bytes) -> bytes:
        """
        Send a challenge, and take the line that answers it.

        @raise Goodbye: It is too long.
        """
        self.write(challenge + b"\r\n")
        while True:
            try:
                line = self._reader.next_raw_line()
            except LineTooLong as error:
                raise Goodbye(b"line too long") from error
            if line is not None:
                return line
            await self.more()

    @override
    def count_error(self) -> None:
        # Who has logged in is an administrator.
        if self.identity is None:
            super().count_error()

    def start_tls(self) -> None:
        """Begin TLS, forgetting what came before, and greet again (RFC 3656 section 4.11)."""
        self.flush()
        self._reader = LineReader()
        self.is_secure = True
        self._link.start_tls()
        self.greet()

    def start_compression(self) -> None:
        """Compress what follows."""
        self.flush()
        self.is_compressed = True
        self._link.start_compression()

    def logged_in(self, result: Authenticated, mechanism: bytes) -> None:
        """
        The client has proved who it is.

        @raise LimitExceeded: That user has too many connections.
        """
        self._link.logged_in(result.identity.user_id)
        self.identity = result.identity
        log_login(
            self.log,
            result,
            mechanism.decode("ascii", "replace"),
            peer=self.peer,
            is_secure=self.is_secure,
            session_id=self.session_id,
        )

    @override
    async def others(self) -> None:
        self.flush()
        await self._parts.turns.wait()
        await self.drain()

    # --- the stream -----------------------------------------------------

    def start_stream(self, tag: bytes, hosts: frozenset[str], position: int) -> None:
        """Tell of changes from now on (RFC 3656 section 4.12)."""
        self.stream = Stream(tag, hosts, position)
        self._stop_listening = self.locations.listen(self._changed)
        self._changed()

    def _changed(self) -> None:
        if not self._is_pushing and self._is_writable and not self._is_closing:
            self._tasks.spawn(self.push(), self._crashed)

    async def push(self) -> None:
        """Tell all changes there are by now."""
        stream = self.stream
        if stream is None or self._is_pushing:
            return
        self._is_pushing = True
        try:
            while changes := self.locations.changes(stream.position, CHANGES_AT_ONCE):
                self.write(b"".join(self._lines(stream, changes)))
                stream.position = changes[-1].number
                if len(changes) < CHANGES_AT_ONCE and self._is_writable:
                    break
                await self.others()
        finally:
            self._is_pushing = False
        self.flush()

    def _lines(self, stream: Stream, changes: list[LocationChange] | Any) -> list[bytes]:
        lines = []
        for change in changes:
            location = change.location
            servers = {change.was_at} if location is None else {change.was_at, location.server}
            if stream.hosts and not servers & stream.hosts:
                continue
            # One that has left for a server that was not asked for is told as what it is now, as Cyrus does.
            if location is None:
                lines.append(gone_line(stream.tag, change.mailbox))
            else:
                lines.append(location_line(stream.tag, location))
        return lines

    # --- for the protocol -----------------------------------------------

    @override
    def greet(self) -> None:
        """Send the banner (RFC 3656 section 3.1)."""
        lines = [b"* AUTH" + b"".join(b" " + quoted(name.encode("ascii")) for name in self._mechanisms())]
        if self.can_start_tls:
            lines.append(b"* STARTTLS")
        if not self.is_compressed:
            lines.append(b'* COMPRESS "DEFLATE"')
        lines.append(b"* PARTIAL-UPDATE")
        settings = self.settings
        words = [settings.server_name, settings.product, settings.version, settings.master or "(master)"]
        lines.append(b"* OK MUPDATE " + b" ".join(quoted(word.encode("utf-8")) for word in words))
        self.write(b"\r\n".join(lines) + b"\r\n")
        self.flush()

    def _mechanisms(self) -> list[str]:
        return list(self.authenticator.mechanisms(self.channel()))

    @override
    def hold_back(self) -> None:
        super().hold_back()
        self._stalled_at = self.clock.seconds()

    @override
    def go_on(self) -> None:
        super().go_on()
        if self.stream is not None:
            self._changed()

    @override
    def shut_down(self) -> None:
        """The server goes; a command that runs is answered first, but a stream never ends."""
        if self.stream is not None:
            self.end(self.farewells.shutting_down)
        else:
            super().shut_down()

    @override
    def last_line(self, text: bytes) -> bytes:
        """RFC 3656 section 3.6.1."""
        return b"* BYE %b\r\n" % quoted(text)

    @override
    def let_go(self) -> None:
        stop, self._stop_listening = self._stop_listening, None
        if stop is not None:
            stop()

    @override
    def due(self, now: float) -> float:
        if self.identity is None:
            return self._opened + self.settings.login_timeout
        if not self._is_writable:
            return self._stalled_at + self.settings.stall_timeout
        return min(self._heard + self.settings.timeout, now + self.settings.stall_timeout)

    @override
    def expire(self) -> None:
        if self._is_writable:
            super().expire()
        else:
            self.abort()

    # --- the work -------------------------------------------------------

    @override
    def keep(self, data: bytes) -> None:
        self._reader.feed(data)

    @override
    def kept(self) -> int:
        return len(self._reader)

    @override
    async def step(self) -> bool:
        words = self._next_line()
        if words is None:
            return False
        if len(words) < 2 or words[0].is_string:
            self._bad(b'* BAD "Need command"\r\n')
            return True
        tag = words[0].value
        try:
            await self._run(self, words)
        except Refused as refused:
            if refused.status == b"BAD":
                self.count_error()
            self.reply(tag, refused.status, refused.text)
        except MailStoreError as error:
            if isinstance(error, StoreUnavailable):
                self.log.warn("a command of {session} failed: {error}", session=self.session_id, error=error)
            self.reply(tag, b"NO", text_of(error))
        return True

    def _next_line(self) -> list[Word] | None:
        while True:
            try:
                words = self._reader.next_line()
            except LineTooLong as error:
                raise Goodbye(str(error).encode("ascii")) from error
            except BadLine as error:
                # Whoever sent it waits for its tag.
                self._bad(b"%b BAD %b\r\n" % (error.tag or b"*", quoted(b"Badly formed arguments")))
                continue
            if self._reader.wants_literal is not None:
                self._reader.wants_literal = None
                self.write(b"+ go ahead\r\n")
            return words

    def _bad(self, line: bytes) -> None:
        self.write(line)
        self.count_error()
        if self._errors > self.settings.max_errors:
            raise Goodbye(FAREWELLS.too_many_errors)
