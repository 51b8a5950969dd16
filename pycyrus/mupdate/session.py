"""
The state of one MUPDATE connection at the server's side, without its socket (RFC 3656).

Commands run strictly one after another; while one waits, what arrives is kept,
within limits.  Who has said UPDATE is told of each change at once; what it has not
read yet stays where it is, in the directory, so a slow one costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from pycyrus.errors import MailStoreError, StoreUnavailable
from pycyrus.interfaces import Authenticated, Channel, LocationChange
from pycyrus.model.identity import Identity
from pycyrus.mupdate.parts import Link, Parts
from pycyrus.mupdate.replies import Goodbye, Refused, text_of
from pycyrus.mupdate.wire import BadLine, LineReader, LineTooLong, Word, gone_line, location_line, quoted
from pycyrus.tasks import Tasks

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall

MAX_WAITING = 65_536
"""Octets kept while a command waits; then the transport is paused."""
LINES_AT_ONCE = 100
"""Commands run before other connections have their turn."""
CORK_SIZE = 65_536
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


class MupdateSession:
    """
    One connection.

    @ivar stream: None before UPDATE.
    """

    log = Logger()

    def __init__(self, link: Link, parts: Parts, run: Run, *, peer: str, local_address: str, session_id: str) -> None:
        """@param run: Finds and runs the command of a line."""
        self.settings = parts.settings
        self.locations = parts.locations
        self.authenticator = parts.authenticator
        self.clock = parts.clock
        self.catch_up = parts.catch_up
        self.peer = peer
        self.local_address = local_address
        self.session_id = session_id
        self.is_secure = False
        self.is_compressed = False
        self.identity: Identity | None = None
        self.stream: Stream | None = None
        self._parts = parts
        self._link = link
        self._run = run
        self._tasks = Tasks(self.flush)
        self._reader = LineReader()
        self._held: list[bytes] = []
        self._held_size = 0
        self._is_working = self._is_paused = self._is_closing = self._is_pushing = self._has_ended = False
        self._is_writable = True
        self._stalled_at = 0.0
        self._drained: list[Deferred[None]] = []
        self._line: Deferred[None] | None = None
        self._errors = 0
        self._stop_listening: Callable[[], None] | None = None
        self._opened = self._heard = parts.clock.seconds()
        self._turn: IDelayedCall | None = None
        self._timer: IDelayedCall | None = parts.clock.callLater(parts.settings.login_timeout, self._look_at_time)

    # --- for commands: output -------------------------------------------

    def write(self, data: bytes) -> None:
        """Send octets; they leave together with what follows."""
        self._held.append(data)
        self._held_size += len(data)
        if self._held_size >= CORK_SIZE:
            self.flush()

    def reply(self, tag: bytes, status: bytes, text: bytes) -> None:
        """End a command (RFC 3656 section 3.5)."""
        self.write(b"%b %b %b\r\n" % (tag, status, quoted(text)))

    def flush(self) -> None:
        """Send what is held back."""
        held, self._held = self._held, []
        self._held_size = 0
        if held and not self._is_closing:
            self._link.write(b"".join(held))

    async def drain(self) -> None:
        """Wait until the client has read most of what was sent, and others had their turn."""
        self.flush()
        waiting: Deferred[None] = Deferred()
        if self._is_writable:
            self.clock.callLater(0, waiting.callback, None)
        else:
            self._drained.append(waiting)
        await waiting

    # --- for commands: the session itself -------------------------------

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
            self.flush()
            self._line = Deferred()
            self._resume()
            await self._line

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
        self.log.info(
            "login: {peer} {user} {mechanism} User logged in SESSIONID=<{session}>",
            peer=self.peer,
            user=result.identity.user_id,
            mechanism=mechanism.decode("ascii", "replace") + ("+TLS" if self.is_secure else ""),
            session=self.session_id,
        )

    def count_error(self) -> None:
        """Note something that makes no sense, or a login that failed."""
        self._errors += 1

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
                await self.drain()
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
            if location is None or (stream.hosts and location.server not in stream.hosts):
                lines.append(gone_line(stream.tag, change.mailbox))
            else:
                lines.append(location_line(stream.tag, location))
        return lines

    # --- for the protocol -----------------------------------------------

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

    def receive(self, data: bytes) -> None:
        """Take octets from the client."""
        if self._is_closing:
            return
        self._heard = self.clock.seconds()
        self._reader.feed(data)
        waiter, self._line = self._line, None
        if waiter is not None:
            waiter.callback(None)
        elif not self._is_working and self._turn is None:
            self._tasks.spawn(self._work(), self._crashed)
        if len(self._reader) > MAX_WAITING and (self._is_working or self._turn is not None):
            self._is_paused = True
            self._link.pause()

    def hold_back(self) -> None:
        """The client reads more slowly than we write."""
        self._is_writable = False
        self._stalled_at = self.clock.seconds()

    def go_on(self) -> None:
        """The client has read most of what was sent."""
        self._heard = self.clock.seconds()
        self._is_writable = True
        drained, self._drained = self._drained, []
        for waiting in drained:
            waiting.callback(None)
        if self.stream is not None:
            self._changed()

    def refuse(self) -> None:
        """There are too many connections."""
        self.end(b"Server Unable")

    def shut_down(self) -> None:
        """The server goes; a command that runs is answered first."""
        if not self._is_working or self._line is not None or self.stream is not None:
            self.end(b"Server shutting down")
        else:
            self._has_ended = True

    def end(self, reason: bytes | None = None) -> None:
        """Say a last word, and close (RFC 3656 section 3.6.1)."""
        if self._is_closing:
            return
        if reason is not None:
            self.write(b"* BYE %b\r\n" % quoted(reason))
        self.flush()
        self._is_closing = True
        self._stop()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.clock.callLater(self.settings.close_timeout, self._link.abort)
        self._link.close()

    def lost(self) -> None:
        """The connection is gone."""
        self._is_closing = True
        self._stop()
        for call in (self._timer, self._turn):
            if call is not None and call.active():
                call.cancel()
        self._timer = self._turn = None
        self._tasks.cancel_all()

    def _stop(self) -> None:
        stop, self._stop_listening = self._stop_listening, None
        if stop is not None:
            stop()

    # --- the work -------------------------------------------------------

    async def _work(self) -> None:
        """Run what has arrived."""
        self._is_working = True
        left = LINES_AT_ONCE
        try:
            while not self._is_closing:
                words = self._next_line()
                if words is None:
                    break
                if words:
                    await self._command(words)
                else:
                    self._bad(b'* BAD "Need command"\r\n')
                if self._has_ended:
                    raise Goodbye(b"Server shutting down")
                left -= 1
                if not left:
                    self._turn = self.clock.callLater(0, self._next_turn)
                    break
                if not self._is_writable:
                    await self.drain()
        except Goodbye as goodbye:
            self.end(goodbye.reason)
        finally:
            self._is_working = False
            self._heard = self.clock.seconds()
        self.flush()
        if self._turn is None:
            self._resume()

    def _next_line(self) -> list[Word] | None:
        while True:
            try:
                words = self._reader.next_line()
            except LineTooLong as error:
                raise Goodbye(str(error).encode("ascii")) from error
            except BadLine:
                self._bad(b"* BAD %b\r\n" % quoted(b"Badly formed arguments"))
                continue
            if self._reader.wants_literal is not None:
                self._reader.wants_literal = None
                self.write(b"+ go ahead\r\n")
            return words

    def _bad(self, line: bytes) -> None:
        self.write(line)
        self.count_error()
        if self._errors > self.settings.max_errors:
            raise Goodbye(b"Too many errors")

    def _next_turn(self) -> None:
        self._turn = None
        self._tasks.spawn(self._work(), self._crashed)

    def _resume(self) -> None:
        if self._is_paused and not self._is_closing:
            self._is_paused = False
            self._link.resume()

    async def _command(self, words: list[Word]) -> None:
        tag = words[0].value
        try:
            await self._run(self, words)
        except Refused as refused:
            if refused.status == b"BAD":
                self.count_error()
            self.reply(tag, refused.status, refused.text)
        except CancelledError:
            self.end(b"Server shutting down")
            raise
        except MailStoreError as error:
            if isinstance(error, StoreUnavailable):
                self.log.warn("a command of {session} failed: {error}", session=self.session_id, error=error)
            self.reply(tag, b"NO", text_of(error))
        if self._errors > self.settings.max_errors:
            raise Goodbye(b"Too many errors")

    def _crashed(self, failure: Failure) -> None:
        self.log.failure("a command of {session} failed", failure, session=self.session_id)
        self.end(b"Internal error")

    def _look_at_time(self) -> None:
        """End a session that is silent, reads nothing, or was not logged in, for too long."""
        self._timer = None
        now = self.clock.seconds()
        if self.identity is None:
            due = self._opened + self.settings.login_timeout
        elif not self._is_writable:
            due = self._stalled_at + self.settings.stall_timeout
        else:
            due = min(self._heard + self.settings.timeout, now + self.settings.stall_timeout)
        if due > now:
            self._timer = self.clock.callLater(due - now, self._look_at_time)
        elif not self._is_writable:
            self._link.abort()
        else:
            self.end(b"Idle for too long")
