"""
The state of one POP3 connection, without its socket (RFC 1939).

Commands run strictly one after another; while one waits, what arrives is kept,
within limits.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from pycyrus.errors import InvalidMailboxName, MailStoreError, StoreUnavailable
from pycyrus.interfaces import Authenticated, Channel, IMailStore, ISessionWatch, LoginTooSoon
from pycyrus.model.acl import LOOKUP, READ
from pycyrus.model.identity import Identity
from pycyrus.model.names import inbox_of
from pycyrus.net.server_protocol import Link
from pycyrus.pop3 import replies
from pycyrus.pop3.maildrop import SHOW_AFTER, Maildrop, shown_after
from pycyrus.pop3.parts import Parts, Pipe
from pycyrus.pop3.replies import Err, Goodbye
from pycyrus.tasks import Tasks

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall

MAX_LINE = 512
"""Octets of a command with its line end: RFC 2449 section 4 says 255, and user names may be longer."""
MAX_SASL_LINE = 16_384
MAX_WAITING = 65_536
"""Octets kept while a command waits; then the transport is paused."""
LINES_AT_ONCE = 100
"""Commands run before other connections have their turn."""
CORK_SIZE = 65_536

Run = Callable[["Pop3Session", bytes], Coroutine[Any, Any, bytes]]


class Pop3Session:
    """
    One connection.

    @ivar maildrop: Open once somebody has logged in.
    @ivar name: Given by USER.
    @ivar is_utf8: C{UTF8} was said (RFC 6856).
    """

    log = Logger()

    def __init__(
        self,
        link: Link,
        parts: Parts,
        run: Run,
        *,
        peer: str,
        local_address: str,
        session_id: str,
        watch: ISessionWatch | None = None,
    ) -> None:
        """
        @param run: Finds and runs the command of a line, and gives the reply.
        @param watch: Who is told what the session does; None for nobody.
        """
        self.settings = parts.settings
        self.store: IMailStore = parts.store if watch is None else watch.store
        self._watch = watch
        self.authenticator = parts.authenticator
        self.clock = parts.clock
        self.peer = peer
        self.local_address = local_address
        self.session_id = session_id
        self.is_secure = False
        self.is_utf8 = False
        self.identity: Identity | None = None
        self.maildrop: Maildrop | None = None
        self.name: bytes | None = None
        self.folder = ""
        self.timestamp = b""
        self._parts = parts
        self._link = link
        self._run = run
        self._tasks = Tasks(self.flush)
        self._waiting = b""
        self._held: list[bytes] = []
        self._held_size = 0
        self._is_working = self._is_paused = self._is_closing = False
        self._is_writable = True
        self._drained: Deferred[None] | None = None
        self._line: Deferred[None] | None = None
        self._release: Callable[[], None] | None = None
        self._pipe: Pipe | None = None
        self._errors = 0
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

    def flush(self) -> None:
        """Send what is held back."""
        held, self._held = self._held, []
        self._held_size = 0
        if held and not self._is_closing:
            self._link.write(b"".join(held))

    async def drain(self) -> None:
        """Wait until the client has read most of what was sent."""
        if not self._is_writable:
            self.flush()
            self._drained = Deferred()
            await self._drained

    def abort(self) -> None:
        """Cut the connection: what the client was told is wrong."""
        self._is_closing = True
        self._link.abort()

    # --- for commands: the session itself -------------------------------

    @property
    def can_start_tls(self) -> bool:
        """Whether STLS is configured and has not happened."""
        return self._parts.has_tls and not self.is_secure

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

    async def read_line(self) -> bytes:
        """
        Take a line that is no command: a SASL response.

        @raise Goodbye: It is too long.
        """
        while True:
            line = self._take_line(MAX_SASL_LINE)
            if line is not None:
                return line
            self.flush()
            self._line = Deferred()
            self._resume()
            await self._line

    def start_tls(self, reply: bytes) -> None:
        """Answer, and begin TLS, forgetting what came before (RFC 2595 section 4)."""
        self.write(reply + b"\r\n")
        self.flush()
        self._waiting = b""
        self.name = None
        self.is_secure = True
        self._link.start_tls()

    async def log_in(self, authenticated: Authenticated, mechanism: str) -> bytes:
        """
        Open the maildrop of who has proved who it is.

        @return: The reply.
        @raise Err: Another session has it, or the last one was not long ago.
        @raise MailStoreError: It cannot be opened, or the user has too many sessions.
        """
        identity = authenticated.identity
        self._link.logged_in(identity.user_id)
        if self._parts.elsewhere is not None:
            self._pipe = await self._parts.elsewhere.open(identity, self.folder)
        if self._pipe is None:
            await self._open_maildrop(identity)
        self.identity = identity
        if self._watch is not None:
            self._watch.logged_in(identity)
        proxy = authenticated.authenticated_as
        self.log.info(
            "login: {peer} {user} {mechanism} User logged in SESSIONID=<{session}>",
            peer=self.peer,
            user=identity.user_id if proxy == identity.user_id else f"{identity.user_id} by {proxy}",
            mechanism=f"{mechanism}+TLS" if self.is_secure else mechanism,
            session=self.session_id,
        )
        return b"+OK Mailbox locked and ready SESSIONID=<%b>" % self.session_id.encode("ascii")

    async def _open_maildrop(self, identity: Identity) -> None:
        settings = self.settings
        name = inbox_of(identity)
        for component in self.folder.split(settings.folder_separator) if self.folder else ():
            if not component:
                raise InvalidMailboxName("empty component")
            name = name.child(component)
        mailbox = await self.store.open(identity, name, READ if settings.uses_acl else LOOKUP)
        try:
            self._release = self._claim(mailbox.unique_id)
            values = await self.store.annotations(identity, name)
            self.maildrop = Maildrop(
                mailbox, uses_imap_flags=settings.uses_imap_flags, shown_after=shown_after(values.get(SHOW_AFTER))
            )
        except BaseException:
            mailbox.close()
            raise

    def _claim(self, unique_id: str) -> Callable[[], None]:
        settings = self.settings
        try:
            release = self._parts.claims.claim(unique_id, settings.login_delay, settings.login_burst)
        except LoginTooSoon:
            minutes = max(1, round(settings.login_delay / 60))
            raise Err(replies.TOO_SOON % (minutes, b"" if minutes == 1 else b"s")) from None
        if release is None:
            raise Err(replies.IN_USE)
        return release

    def count_error(self) -> None:
        """Note something that makes no sense, or a login that failed."""
        self._errors += 1

    # --- for the protocol -----------------------------------------------

    def greet(self) -> None:
        """Say what this is."""
        words = [self.settings.server_name, self.settings.product, "server ready"]
        self.timestamp = self.authenticator.apop_timestamp(self.channel())
        words.append(self.timestamp.decode("ascii"))
        self.write(b"+OK %b\r\n" % " ".join(filter(None, words)).encode("utf-8"))
        self.flush()

    def receive(self, data: bytes) -> None:
        """Take octets from the client."""
        if self._is_closing:
            return
        self._heard = self.clock.seconds()
        if self._pipe is not None and not self._is_working:
            self._pipe.pass_on(data)
            return
        self._waiting += data
        waiter, self._line = self._line, None
        if waiter is not None:
            waiter.callback(None)
        elif not self._is_working and self._turn is None:
            self._tasks.spawn(self._work(), self._crashed)
        if len(self._waiting) > MAX_WAITING and (self._is_working or self._turn is not None):
            self._is_paused = True
            self._link.pause()

    def hold_back(self) -> None:
        """The client reads more slowly than we write."""
        self._is_writable = False
        if self._pipe is not None:
            self._pipe.pause()

    def go_on(self) -> None:
        """The client has read most of what was sent."""
        self._heard = self.clock.seconds()
        self._is_writable = True
        if self._pipe is not None:
            self._pipe.resume()
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.callback(None)

    def shut_down(self) -> None:
        """The server goes; a session that is updating its maildrop is answered first."""
        if self._pipe is not None:
            # In the middle of an answer nothing can be said.
            self.end()
        elif not self._is_working or self._line is not None:
            self.end(replies.SHUTDOWN)
        else:
            self._errors = self.settings.max_errors + 1

    def end(self, line: bytes | None = None) -> None:
        """Say a last word, let the maildrop go as it is, and close."""
        if self._is_closing:
            return
        if line is not None:
            self.write(line + b"\r\n")
        # Before the client knows, since it may come back at once, to another process.
        self._let_go()
        self.flush()
        self._is_closing = True
        self._waiting = b""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.clock.callLater(self.settings.close_timeout, self._link.abort)
        self._link.close()

    def refuse(self) -> None:
        """There are too many connections."""
        self.end(replies.TOO_MANY_CONNECTIONS)

    def lost(self) -> None:
        """The connection is gone: nothing is deleted (RFC 1939 section 6)."""
        self._is_closing = True
        for call in (self._timer, self._turn):
            if call is not None and call.active():
                call.cancel()
        self._timer = self._turn = None
        self._tasks.cancel_all()
        self._let_go()

    def _let_go(self) -> None:
        if self._watch is not None:
            self._watch.logged_out()
        maildrop, self.maildrop = self.maildrop, None
        if maildrop is not None:
            maildrop.close()
        release, self._release = self._release, None
        if release is not None:
            release()
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            pipe.close()

    # --- a maildrop elsewhere ---------------------------------------------

    def take_piped(self, data: bytes) -> None:
        """Send what came from the server that has the maildrop."""
        self._heard = self.clock.seconds()
        self.write(data)
        self.flush()

    def pipe_ended(self) -> None:
        """That server has closed the connection."""
        self.end()

    def hold_pipe(self) -> None:
        """That server reads too slowly."""
        self._is_paused = True
        self._link.pause()

    def go_on_piping(self) -> None:
        """It has caught up."""
        self._resume()

    # --- the work -------------------------------------------------------

    async def _work(self) -> None:
        """Run what has arrived."""
        self._is_working = True
        left = LINES_AT_ONCE
        try:
            while not self._is_closing:
                line = self._take_line(self._longest_command())
                if line is None:
                    break
                await self._command(line)
                if self._pipe is not None:
                    break
                left -= 1
                if not left:
                    self._turn = self.clock.callLater(0, self._next_turn)
                    break
                await self.drain()
        except Goodbye as goodbye:
            self.end(goodbye.text)
        finally:
            self._is_working = False
            self._heard = self.clock.seconds()
        self.flush()
        if self._pipe is not None:
            waiting, self._waiting = self._waiting, b""
            self._pipe.pass_on(waiting)
            self._pipe.join(self)
        if self._turn is None:
            self._resume()

    def _next_turn(self) -> None:
        self._turn = None
        self._tasks.spawn(self._work(), self._crashed)

    def _resume(self) -> None:
        if self._is_paused and not self._is_closing:
            self._is_paused = False
            self._link.resume()

    def _longest_command(self) -> int:
        """
        Octets of the next command.

        RFC 5034 section 4 has clients send a long initial response apart; those with
        access tokens do not always heed it.
        """
        is_sasl = self.identity is None and self._waiting[:5].upper() == b"AUTH "
        return MAX_SASL_LINE if is_sasl else MAX_LINE

    def _take_line(self, limit: int) -> bytes | None:
        end = self._waiting.find(b"\n", 0, limit)
        if end < 0:
            if len(self._waiting) >= limit:
                raise Goodbye(replies.LINE_TOO_LONG)
            return None
        line = self._waiting[:end]
        self._waiting = self._waiting[end + 1 :]
        return line.removesuffix(b"\r")

    async def _command(self, line: bytes) -> None:
        try:
            reply = await self._run(self, line)
        except Err as error:
            reply = b"-ERR " + error.text
        except CancelledError:
            self.end(replies.SHUTDOWN)
            raise
        except MailStoreError as error:
            if isinstance(error, StoreUnavailable):
                self.log.warn("a command of {session} failed: {error}", session=self.session_id, error=error)
            reply = b"-ERR " + replies.text_of(error)
        if reply:
            self.write(reply + b"\r\n")
        if self._errors > self.settings.max_errors:
            raise Goodbye(replies.TOO_MANY_ERRORS)

    def _crashed(self, failure: Failure) -> None:
        self.log.failure("a command of {session} failed", failure, session=self.session_id)
        self.end(replies.INTERNAL_ERROR)

    def _look_at_time(self) -> None:
        """End a session that is silent, or was not logged in, for too long."""
        self._timer = None
        if self.maildrop is None and self._pipe is None:
            due = self._opened + self.settings.login_timeout
        else:
            due = self._heard + self.settings.silence
            if self._is_working and self._line is None and self._is_writable:
                # It is not the client who is slow.
                due = self.clock.seconds() + self.settings.silence
        left = due - self.clock.seconds()
        if left > 0:
            self._timer = self.clock.callLater(left, self._look_at_time)
        else:
            self.end(replies.IDLE)
            self._tasks.cancel_all()
