"""
The state of one IMAP connection, without its socket.

Commands run strictly one after another, in the order in which they came.  A
command that waits for nothing is answered in the stack of C{data_received}, at
the cost of a few microseconds; while one waits, what follows stays unread in
the frame reader, and the transport is paused when that becomes much.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure

from pycyrus.errors import LimitExceeded, StoreUnavailable
from pycyrus.imap import replies
from pycyrus.imap.client import Client
from pycyrus.imap.commands import table
from pycyrus.imap.commands.command import Command, Seqs
from pycyrus.imap.dialogue import Dialogue
from pycyrus.imap.leaving import leave_at_once
from pycyrus.imap.literals import LiteralIntake
from pycyrus.imap.parts import Parts, Wire
from pycyrus.imap.patience import Patience
from pycyrus.imap.replies import Bad, Bye, CommandError
from pycyrus.imap.telling import Telling
from pycyrus.imap.wire.frames import Announced, Chunk, Event, Frame, FrameReader, Overflow, Refused
from pycyrus.interfaces import Authenticated, ISessionWatch
from pycyrus.net.threads import in_thread
from pycyrus.net.turns import Turn, turns_of
from pycyrus.tasks import Tasks

if TYPE_CHECKING:
    from pycyrus.imap.incoming import IncomingMessage
    from pycyrus.imap.selected import SelectedMailbox
    from pycyrus.model.names import MailboxName

T = TypeVar("T")

TURN = 128
"""Events handled until other connections get their turn."""
SHUTDOWN = b"Server shutting down"
INTERRUPTED = b"Fatal error: Command was interrupted"


class Session(Client):
    """
    One connection's state, and what commands may do with it.

    @ivar selected: The selected mailbox.
    @ivar tag: Of the command that runs; empty if none does.
    @ivar telling: What it tells of changes.
    """

    __slots__ = (
        "_dialogue",
        "_intake",
        "_is_advancing",
        "_is_busy",
        "_is_paused",
        "_later",
        "_limits",
        "_patience",
        "_reader",
        "_tasks",
        "_turn",
        "_turns",
        "is_idling",
        "selected",
        "tag",
        "telling",
    )

    def __init__(
        self,
        parts: Parts,
        wire: Wire,
        peer: str,
        local_address: str,
        session_id: str,
        watch: ISessionWatch | None = None,
    ) -> None:
        """
        @param peer: Address of the client; empty on a Unix socket.
        @param local_address: Where it connected to.
        @param watch: Who is told what it does; None for nobody.
        """
        super().__init__(parts, wire, peer, local_address, session_id, watch)
        self.selected: SelectedMailbox | None = None
        self.tag = b""
        self.is_idling = False
        self._reader = FrameReader(parts.settings.before_login)
        self._intake = LiteralIntake(self, self._reader)
        self._tasks = Tasks(self._stepped)
        self._limits = parts.limits
        self._is_advancing = self._is_busy = self._is_paused = False
        self._dialogue = Dialogue(self._reader, parts.settings.max_sasl_line, self._resume_reading)
        self.telling = Telling(self, self._do_between)
        self._later: Callable[[], None] | None = None
        self._turn: Turn | None = None
        self._turns = turns_of(parts.clock)
        self._patience = Patience(parts.clock, parts.settings, self._time_passed)
        if parts.elsewhere is not None:
            self.elsewhere = parts.elsewhere.visit(self)

    # --- for commands: output -----------------------------------------------

    def pause(self) -> Awaitable[None]:
        """Let other sessions run: to be awaited every few milliseconds of long work."""
        return self._turns.wait()

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Have something computed that takes long, where other sessions go on meanwhile."""
        return await in_thread(self.clock, work)

    # --- for commands: input ------------------------------------------------

    async def read_line(self) -> bytes:
        """
        Take a line that is no command: a SASL response.

        @raise Bye: It is too long.
        """
        while True:
            line = await self.read_line_or_wake()
            if line is not None:
                return line

    async def read_line_or_wake(self) -> bytes | None:
        """
        Wait for a line that is no command, or for L{wake}.

        @return: The line without its end; None when woken.
        @raise Bye: The line is too long.
        """
        return await self._dialogue.read_line_or_wake()

    @property
    def dialogue(self) -> Dialogue:
        """What reads octets that are no command."""
        return self._dialogue

    async def stage(self, name: MailboxName) -> IncomingMessage:
        """
        Begin a message that the current command adds to a mailbox; it is discarded at the command's end.

        @raise MailboxNotFound: With C{creatable} where it could be created.
        """
        return await self._intake.stage(name)

    def wake(self) -> None:
        """Have L{read_line_or_wake} return; a listener for C{watch}."""
        self._dialogue.wake()

    # --- for commands: the session itself -----------------------------------

    @property
    def is_busy(self) -> bool:
        """Whether a command waits for something, or a literal for its fate."""
        return self._is_busy

    @property
    def is_closing(self) -> bool:
        """Whether nothing more is taken from the client."""
        return self._is_closing

    def log_in(self, authenticated: Authenticated) -> None:
        """
        Become authenticated.

        @raise LimitExceeded: The user has too many sessions.
        """
        self.become(authenticated)
        self._reader.limits = self.settings.limits
        self._reader.leaves_uncut = self.takes_syncs

    def log_out(self) -> None:
        """Become nobody again, with the patience that is had with those (RFC 8437 section 3)."""
        self.telling.begin(None)
        leave_at_once(self)
        self.become_nobody()
        self._reader.limits = self.settings.before_login
        self._reader.leaves_uncut = False
        self._patience.begin()

    def after_reply(self, function: Callable[[], None]) -> None:
        """Have something done when the current command was answered."""
        self._later = function

    def start_tls(self) -> None:
        """
        Begin TLS, forgetting what came before (RFC 9051 section 6.2.1).

        Also what the client sent behind STARTTLS: somebody else could have.
        """
        self._reader.clear()
        self.enabled.clear()
        self.client_id = None
        self.flush()
        self._wire.start_tls()

    def start_compression(self) -> None:
        """Compress from now on; what the client sent too early cannot be read (RFC 4978 section 3)."""
        self._reader.clear()
        self.flush()
        self._wire.start_compression()

    def say_bye(self, text: bytes) -> None:
        """Send an untagged BYE and close."""
        if not self._is_closing:
            self.write(b"* BYE %b\r\n" % text)
            self.close()

    def close(self) -> None:
        """Close when everything was sent; a client that does not read is cut off after a while."""
        if self._is_closing:
            return
        self.flush()
        self._is_closing = True
        self._reader.clear()
        self._patience.wait(self.settings.close_timeout)
        self._wire.close()

    # --- for the protocol ---------------------------------------------------

    def connection_made(self) -> None:
        """Greet the client (RFC 9051 section 7.1)."""
        if self._limits is not None:
            try:
                self._admission = self._limits.connected(self.peer, self.session_id)
            except LimitExceeded as error:
                self.log.info("refused {peer}: {reason}", peer=self.peer, reason=error.reason)
                self.say_bye(error.reason.encode("ascii", "replace"))
                return
        self.write(b"* OK [CAPABILITY %b] %b\r\n" % (self.capabilities(), self.settings.greeting.encode()))
        self.flush()

    def data_received(self, data: bytes) -> None:
        """Take octets from the client."""
        if self._is_closing:
            return
        self._patience.heard = self.clock.seconds()
        self._reader.feed(data)
        if not self._is_busy:
            self._advance()
        elif self._dialogue.is_waiting:
            self._dialogue.came()
        # A line that is awaited has a limit of its own.
        is_waiting = self._is_busy or self._turn is not None
        if is_waiting and not self._is_paused and not self._dialogue.is_waiting:
            settings = self.settings
            if self._reader.waiting > (settings.read_ahead if self.identity else settings.before_login.command):
                self._pause_reading()

    def hold_back(self) -> None:
        """The client reads more slowly than we write."""
        self._is_writable = False

    def go_on(self) -> None:
        """The client has read most of what was sent."""
        self._patience.heard = self.clock.seconds()
        if not self._go_on_writing() and not self._is_busy:
            self._advance()

    def shut_down(self) -> None:
        """Say goodbye because the server goes; what is being done is answered first."""
        if self.tag and not self._dialogue.is_waiting:
            self._later = partial(self.say_bye, SHUTDOWN)
        else:
            self.say_bye(SHUTDOWN)

    def connection_lost(self) -> None:
        """The connection is gone: end what still runs."""
        self._is_closing = True
        self._patience.stop()
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        self._tasks.cancel_all()
        self.telling.begin(None)
        self._intake.discard()
        self._reader.clear()
        leave_at_once(self)
        self.leave()

    # --- the way of a command -----------------------------------------------

    def _advance(self) -> None:
        """Handle what was read, as long as no command waits for something."""
        if self._is_advancing or self._turn is not None:
            return
        self._is_advancing = True
        reader, seconds = self._reader, self.clock.seconds
        left = TURN
        stop = self._turns.end_of_one(seconds())
        while not self._is_busy and not self._is_closing and self._is_writable:
            event = reader.next()
            if event is None:
                break
            if type(event) is Frame:
                self._start(event)
            else:
                self._handle(event)
            left -= 1
            # What is busy goes on by itself, and may wait for octets: it must not be kept from reading.
            is_done = not left or (reader.waiting and seconds() >= stop)
            if is_done and not self._is_busy:
                self._turn = self._turns.ask(self._next_turn)
                break
        self._is_advancing = False
        if self._held:
            self.flush()
        if self._is_paused:
            if not self._is_busy and self._is_writable and self._turn is None:
                self._resume_reading()
        elif not self._is_writable or self._turn is not None:
            self._pause_reading()

    def _next_turn(self) -> None:
        self._turn = None
        self._advance()

    def _pause_reading(self) -> None:
        if not self._is_closing:
            self._is_paused = True
            self._wire.pause_reading()

    def _resume_reading(self) -> None:
        if self._is_paused and not self._is_closing:
            self._is_paused = False
            self._wire.resume_reading()

    def _handle(self, event: Event) -> None:
        """Handle what is no complete command."""
        if isinstance(event, Announced):
            self._is_busy = True
            self._tasks.spawn(self._take_literal(event), self._crashed)
        elif isinstance(event, Chunk):
            self._intake.take(event)
        elif isinstance(event, Refused):
            self._intake.discard()
            self._write_bad(event.reply)
        elif isinstance(event, Overflow):
            self.say_bye(b"[TOOBIG] " + event.text)

    async def _take_literal(self, announced: Announced) -> None:
        """Have an announced literal accepted or refused, and go on."""
        try:
            event = await self._intake.decide(announced)
        except CancelledError:
            self.say_bye(INTERRUPTED)
            raise
        self._is_busy = False
        if event is not None:
            self._handle(event)
        if not self._is_advancing:
            self._advance()

    def _start(self, frame: Frame) -> None:
        if self.identity is None and self._patience.has_asked():
            self.say_bye(b"Too many commands before login")
            return
        row = self.row_of(frame.name)
        if row is None:
            self._intake.discard()
            self._write_bad(replies.tagged(frame.tag, self.unavailable(frame.name)))
            return
        self._is_busy = True
        work, log = self._execute(row, frame), self.settings.command_log
        self._tasks.spawn(work if log is None else log.watch(self, row, work), self._crashed)

    def row_of(self, name: bytes) -> Command | None:
        """The row of a command that is allowed now."""
        if self.identity is None:
            return table.NOT_AUTHENTICATED_COMMANDS.get(name)
        has_selected = self.selected is not None or (self.elsewhere is not None and self.elsewhere.has_selected)
        return (table.SELECTED_COMMANDS if has_selected else table.AUTHENTICATED_COMMANDS).get(name)

    def unavailable(self, name: bytes) -> Bad:
        """Why a command has no row now."""
        return table.unavailable(name, is_logged_in=self.identity is not None)

    async def _execute(self, row: Command, frame: Frame) -> None:
        tag = self.tag = frame.tag
        try:
            if b"UIDONLY" in self.enabled and row.name in table.NUMBERED:
                raise Bad(b"Message numbers are not allowed once UIDONLY is enabled", b"UIDREQUIRED")
            answered = None if self.elsewhere is None else await self.elsewhere.execute(row, frame)
            if answered is not None:
                reply = answered
            else:
                parsed = None if row.parser is None and not frame.args else row.parse(frame, utf8=self.is_utf8)
                text = await row.function(self, parsed)
                reply = b"%b OK %b\r\n" % (tag, text or b"Completed")
        except CommandError as error:
            reply = replies.tagged(tag, error, may_create=row.may_create)
            self._refused(row, error)
        except Bye as bye:
            self.say_bye(bye.text)
            return
        except CancelledError:
            # By the connection's end, or by a store that is closing.
            self.say_bye(INTERRUPTED)
            raise
        finally:
            if self._intake.holds:
                self._intake.discard()
        if self.selected is not None and row.seqs is not Seqs.NONE:
            if self.selected.contexts:
                await self.telling.tell_all(row.seqs is Seqs.MAY_EXPUNGE)
            else:
                self.telling.tell_updates(row.seqs is Seqs.MAY_EXPUNGE)
        self._answer(reply)

    def _answer(self, reply: bytes) -> None:
        """End a command by its tagged line, and go on."""
        self._held.append(reply)
        self._held_size += len(reply)
        self.tag = b""
        self._is_busy = False
        if self._later is not None:
            later, self._later = self._later, None
            later()
        self._check_patience()
        self.telling.command_ended()
        if self._is_advancing:
            return
        if self._reader.waiting and self._turn is None and not self._is_closing:
            # Whatever the command waited for, the next one is begun when others had their turn.
            self._turn = self._turns.ask(self._next_turn)
        else:
            self._advance()

    def _do_between(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do something that no command asks for, unless one is at work."""
        if not self._is_busy and not self._is_advancing and not self._is_closing:
            self._is_busy = True
            self._tasks.spawn(self._finish_between(work()), self._crashed)

    async def _finish_between(self, work: Coroutine[Any, Any, None]) -> None:
        await work
        self._is_busy = False
        if not self._is_advancing:
            self._advance()

    def _refused(self, row: Command, error: Exception) -> None:
        """Note a command that was answered by NO or BAD."""
        if isinstance(error, StoreUnavailable):
            self.log.warn(
                "{command} of {session} failed: {error}",
                command=row.name.decode(),
                session=self.session_id,
                error=error,
            )
        if self.identity is None:
            self._patience.has_failed()

    def _crashed(self, failure: Failure) -> None:
        """A command let out what it should not."""
        self.log.failure("a command of {session} failed", failure, session=self.session_id)
        self._intake.discard()
        self._is_busy = False
        self.say_bye(b"Fatal error: Internal error")

    def _stepped(self) -> None:
        """A command ended or waits: let go what it wrote."""
        if not self._is_advancing and self._held:
            self.flush()

    # --- limits -------------------------------------------------------------

    def _write_bad(self, reply: bytes) -> None:
        self.write(reply)
        if self.identity is None:
            self._patience.has_failed()
            self._check_patience()

    def _check_patience(self) -> None:
        if self.identity is None and self._patience.is_over:
            self.say_bye(b"Too many invalid commands")

    def _time_passed(self) -> None:
        """End a session that is silent, or was not logged in, for too long."""
        if self._is_closing:
            self._wire.abort()
            return
        is_served = self._is_busy and not self._dialogue.is_waiting and self._is_writable
        left = self._patience.left(
            is_logged_in=self.identity is not None, is_idling=self.is_idling, is_served=is_served
        )
        if left > 0:
            self._patience.wait(left)
            return
        self.say_bye(b"idle for too long")
        self._tasks.cancel_all()
