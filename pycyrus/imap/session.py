"""
The state of one IMAP connection, without its socket.

Commands run strictly one after another, in the order in which they came.  A
command that waits for nothing is answered in the stack of C{data_received}, at
the cost of a few microseconds; while one waits, what follows stays unread in
the frame reader, and the transport is paused when that becomes much.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure

from pycyrus.errors import LimitExceeded, MailStoreError, StoreUnavailable
from pycyrus.imap import contexts, replies
from pycyrus.imap.capabilities import capabilities
from pycyrus.imap.commands import table
from pycyrus.imap.commands.command import Command, Seqs
from pycyrus.imap.commands.sort import orders
from pycyrus.imap.literals import LiteralIntake
from pycyrus.imap.output import Output
from pycyrus.imap.parts import Parts, Visit, Wire
from pycyrus.imap.replies import Bad, Bye, CommandError
from pycyrus.imap.wire.frames import Announced, Chunk, Event, Frame, FrameReader, Overflow, Refused
from pycyrus.imap.wire.grammar import BadSyntax, Cursor
from pycyrus.interfaces import Authenticated, Channel, IMailStore, ISessionWatch
from pycyrus.model.identity import Identity
from pycyrus.model.names import ExternalNames
from pycyrus.net.limits import Admission
from pycyrus.tasks import Tasks

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall

    from pycyrus.imap.incoming import IncomingMessage
    from pycyrus.imap.notices import Notices
    from pycyrus.imap.selected import SelectedMailbox
    from pycyrus.model.names import MailboxName

T = TypeVar("T")

TURN = 128
"""Events handled until other connections get their turn."""
SHUTDOWN = b"Server shutting down"
INTERRUPTED = b"Fatal error: Command was interrupted"
_ARGUMENT_COUNTS = (b"Missing required argument", b"Unexpected extra arguments")


class Session(Output):
    """
    One connection's state, and what commands may do with it.

    @ivar identity: Who is logged in; None before.
    @ivar names: How the identity sees mailbox names.
    @ivar selected: The selected mailbox.
    @ivar enabled: What was switched on: C{CONDSTORE}, C{QRESYNC}, C{IMAP4REV2}.
    @ivar tag: Of the command that runs; empty if none does.
    @ivar elsewhere: The mailboxes of other servers, if this one is their frontend.
    @ivar client_id: What the client said of itself by ID; None before.
    @ivar notices: What the client wants to be told at any time; None for nothing.
    @ivar warned_of: Quota roots, and when the client was warned of them.
    """

    __slots__ = (
        "_admission",
        "_bad_commands",
        "_commands",
        "_intake",
        "_is_advancing",
        "_is_busy",
        "_is_noticed",
        "_is_paused",
        "_last_heard",
        "_later",
        "_limits",
        "_line",
        "_names",
        "_opened",
        "_reader",
        "_tasks",
        "_timer",
        "_turn",
        "_watch",
        "_woken",
        "authenticator",
        "client_id",
        "clock",
        "elsewhere",
        "enabled",
        "identity",
        "is_idling",
        "local_address",
        "make_names",
        "notices",
        "peer",
        "selected",
        "session_id",
        "settings",
        "store",
        "tag",
        "warned_of",
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
        super().__init__(wire)
        self.settings = parts.settings
        self.store: IMailStore = parts.store if watch is None else watch.store
        self._watch = watch
        self.authenticator = parts.authenticator
        self.clock = parts.clock
        self.make_names = parts.names
        self.peer = peer
        self.local_address = local_address
        self.session_id = session_id
        self.identity: Identity | None = None
        self.selected: SelectedMailbox | None = None
        self.enabled: set[bytes] = set()
        self.warned_of: dict[MailboxName, float] = {}
        self.tag = b""
        self.client_id: tuple[tuple[bytes, bytes | None], ...] | None = None
        self.is_idling = False
        self._names: ExternalNames | None = None
        self._reader = FrameReader(parts.settings.before_login)
        self._intake = LiteralIntake(self, self._reader)
        self._tasks = Tasks(self._stepped)
        self._limits = parts.limits
        self._admission: Admission | None = None
        self._is_advancing = self._is_busy = self._is_paused = False
        self._line: Deferred[bytes | None] | None = None
        self.notices: Notices | None = None
        self._is_noticed = False
        self._woken = False
        self._later: Callable[[], None] | None = None
        self._turn: IDelayedCall | None = None
        self._bad_commands = self._commands = 0
        self._opened = self._last_heard = parts.clock.seconds()
        self._timer: IDelayedCall | None = parts.clock.callLater(parts.settings.login_timeout, self._time_passed)
        self.elsewhere: Visit | None = None if parts.elsewhere is None else parts.elsewhere.visit(self)

    # --- for commands: output -----------------------------------------------

    def pause(self) -> Awaitable[None]:
        """Let other sessions run: to be awaited every few milliseconds of long work."""
        call: IDelayedCall

        def cancelled(deferred: Deferred[None]) -> None:
            call.cancel()

        paused: Deferred[None] = Deferred(cancelled)
        call = self.clock.callLater(0, paused.callback, None)
        return paused

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Have something computed that takes long, where other sessions go on meanwhile."""
        clock: Any = self.clock
        if not hasattr(clock, "getThreadPool"):
            # Time alone, as tests have it.
            return work()
        return await deferToThreadPool(clock, clock.getThreadPool(), work)

    def tell_updates(self, may_expunge: bool) -> bool:
        """
        Tell the client what changed in the selected mailbox.

        @param may_expunge: Whether messages may get new numbers now.
        @return: Whether there is more to tell.
        """
        if self.selected is None:
            return False
        try:
            return self.selected.tell_updates(self, may_expunge)
        except MailStoreError as error:
            # The command itself can be answered; the next one tries again.
            self.log.warn("no updates for {session}: {error}", session=self.session_id, error=error)
            return False

    async def tell_all(self, may_expunge: bool) -> bool:
        """As L{tell_updates}, and what changed in the results of searches (RFC 5267 section 4.3)."""
        selected = self.selected
        if selected is None or not selected.contexts:
            return self.tell_updates(may_expunge)
        return await contexts.tell_updates(self, selected, may_expunge, orders)

    def notice(self) -> None:
        """Something happened that the client may want to be told at any time; a listener (RFC 5465)."""
        if self._is_noticed or self._is_closing:
            return
        self._is_noticed = True
        if self.is_idling:
            self.wake()
        else:
            self.clock.callLater(0, self._tell_noticed)

    def end_notices(self) -> None:
        """Tell nothing between commands any more."""
        notices, self.notices = self.notices, None
        self._is_noticed = False
        if notices is not None:
            notices.close()

    async def tell_notices(self) -> None:
        """Tell what the client wants to be told at any time."""
        self._is_noticed = False
        if self.notices is not None:
            await self.notices.tell()
        if self.notices is not None:
            await self.notices.tell_selected()

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
        line = self._reader.next_line(self.settings.max_sasl_line)
        while line is None:
            if self._woken:
                self._woken = False
                return None
            self._line = Deferred()
            self._resume_reading()
            await self._line
            line = self._reader.next_line(self.settings.max_sasl_line)
        if isinstance(line, Overflow):
            raise Bye(b"[TOOBIG] " + line.text)
        return line

    async def stage(self, name: MailboxName) -> IncomingMessage:
        """
        Begin a message that the current command adds to a mailbox; it is discarded at the command's end.

        @raise MailboxNotFound: With C{creatable} where it could be created.
        """
        return await self._intake.stage(name)

    def wake(self) -> None:
        """Have L{read_line_or_wake} return; a listener for C{watch}."""
        self._woken = True
        self._line_came()

    def _line_came(self) -> None:
        waiter, self._line = self._line, None
        if waiter is not None:
            waiter.callback(None)

    # --- for commands: the session itself -----------------------------------

    @property
    def names(self) -> ExternalNames:
        """How the identity that is logged in sees mailbox names."""
        assert self._names is not None
        return self._names

    @property
    def user(self) -> Identity:
        """The identity that is logged in."""
        assert self.identity is not None
        return self.identity

    @property
    def is_busy(self) -> bool:
        """Whether a command waits for something, or a literal for its fate."""
        return self._is_busy

    @property
    def is_utf8(self) -> bool:
        """Whether names and quoted strings are UTF-8 (RFC 9051 section 5.1, RFC 9755 section 3)."""
        return b"IMAP4REV2" in self.enabled or b"UTF8=ACCEPT" in self.enabled

    @property
    def is_secure(self) -> bool:
        """Whether TLS is active."""
        return self._wire.is_secure

    @property
    def can_start_tls(self) -> bool:
        """Whether STARTTLS is configured and has not happened."""
        return self._wire.can_start_tls and not self._wire.is_secure

    @property
    def is_compressed(self) -> bool:
        """Whether COMPRESS is active."""
        return self._wire.is_compressed

    def channel(self) -> Channel:
        """How the client is connected, for authentication."""
        return Channel(
            self.settings.service,
            self.peer,
            self._wire.is_secure,
            self.local_address,
            self.session_id,
            self._wire.tls_exporter(),
            self._wire.client_certificate,
        )

    def capabilities(self) -> bytes:
        """What CAPABILITY tells now."""
        channel = self.channel()
        return capabilities(
            self.settings,
            is_logged_in=self.identity is not None,
            can_start_tls=self.can_start_tls,
            is_login_disabled=not self.authenticator.allows_plaintext(channel),
            is_compressed=self.is_compressed,
            mechanisms=tuple(self.authenticator.mechanisms(channel)),
            is_frontend=self.elsewhere is not None,
        )

    def log_in(self, authenticated: Authenticated) -> None:
        """
        Become authenticated.

        @raise LimitExceeded: The user has too many sessions.
        """
        identity = authenticated.identity
        if self._admission is not None:
            self._admission.logged_in(identity.user_id)
        self.identity = identity
        self._names = self.make_names(identity)
        self._reader.limits = self.settings.limits
        if self._watch is not None:
            self._watch.logged_in(identity)

    def log_out(self) -> None:
        """Become nobody again, with the patience that is had with those (RFC 8437 section 3)."""
        self.end_notices()
        if self._watch is not None:
            self._watch.logged_out()
        selected, self.selected = self.selected, None
        if selected is not None:
            selected.close()
        if self.elsewhere is not None:
            self.elsewhere.leave()
        if self._admission is not None:
            self._admission.logged_out()
        self.identity = self._names = self.client_id = None
        self.enabled.clear()
        self._reader.limits = self.settings.before_login
        self._bad_commands = self._commands = 0
        self._opened = self.clock.seconds()
        self._set_timer(self.settings.login_timeout)

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
        self._set_timer(self.settings.close_timeout)
        self._wire.close()

    # --- for the protocol ---------------------------------------------------

    def connection_made(self) -> None:
        """Greet the client (RFC 9051 section 7.1)."""
        if self._limits is not None:
            try:
                self._admission = self._limits.connected(self.peer)
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
        self._last_heard = self.clock.seconds()
        self._reader.feed(data)
        if not self._is_busy:
            self._advance()
        elif self._line is not None:
            self._line_came()
        # A line that is awaited has a limit of its own.
        if self._is_busy and self._line is None and not self._is_paused:
            settings = self.settings
            if self._reader.waiting > (settings.read_ahead if self.identity else settings.before_login.command):
                self._pause_reading()

    def hold_back(self) -> None:
        """The client reads more slowly than we write."""
        self._is_writable = False

    def go_on(self) -> None:
        """The client has read most of what was sent."""
        self._last_heard = self.clock.seconds()
        if not self._go_on_writing() and not self._is_busy:
            self._advance()

    def shut_down(self) -> None:
        """Say goodbye because the server goes; what is being done is answered first."""
        if self.tag and self._line is None:
            self._later = partial(self.say_bye, SHUTDOWN)
        else:
            self.say_bye(SHUTDOWN)

    def connection_lost(self) -> None:
        """The connection is gone: end what still runs."""
        self._is_closing = True
        for call in (self._timer, self._turn):
            if call is not None and call.active():
                call.cancel()
        self._timer = self._turn = None
        self._tasks.cancel_all()
        self.end_notices()
        self._intake.discard()
        self._reader.clear()
        selected, self.selected = self.selected, None
        if selected is not None:
            selected.close()
        if self.elsewhere is not None:
            self.elsewhere.leave()
        if self._watch is not None:
            self._watch.logged_out()
        if self._admission is not None:
            self._admission.close()

    # --- the way of a command -----------------------------------------------

    def _advance(self) -> None:
        """Handle what was read, as long as no command waits for something."""
        if self._is_advancing or self._turn is not None:
            return
        self._is_advancing = True
        reader = self._reader
        left = TURN
        while not self._is_busy and not self._is_closing and self._is_writable:
            event = reader.next()
            if event is None:
                break
            if type(event) is Frame:
                self._start(event)
            else:
                self._handle(event)
            left -= 1
            if not left:
                self._turn = self.clock.callLater(0, self._next_turn)
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
        if self.identity is None:
            self._commands += 1
            if self._commands > self.settings.max_commands_before_login:
                self.say_bye(b"Too many commands before login")
                return
        row = self.row_of(frame.name)
        if row is None:
            self._intake.discard()
            self._write_bad(replies.tagged(frame.tag, self.unavailable(frame.name)))
            return
        self._is_busy = True
        self._tasks.spawn(self._execute(row, frame), self._crashed)

    def row_of(self, name: bytes) -> Command | None:
        """The row of a command that is allowed now."""
        if self.identity is None:
            return table.NOT_AUTHENTICATED_COMMANDS.get(name)
        has_selected = self.selected is not None or (self.elsewhere is not None and self.elsewhere.has_selected)
        return (table.SELECTED_COMMANDS if has_selected else table.AUTHENTICATED_COMMANDS).get(name)

    def unavailable(self, name: bytes) -> Bad:
        """Why a command has no row now."""
        row = table.KNOWN_COMMANDS.get(name)
        if row is None:
            return Bad(b"Unrecognized command")
        if self.identity is None:
            return Bad(b"Please login first")
        if row.states is table.State.NOT_AUTHENTICATED:
            return Bad(b"Already logged in")
        return Bad(b"Please select a mailbox first")

    async def _execute(self, row: Command, frame: Frame) -> None:
        tag = self.tag = frame.tag
        try:
            if b"UIDONLY" in self.enabled and row.name in table.NUMBERED:
                raise Bad(b"Message numbers are not allowed once UIDONLY is enabled", b"UIDREQUIRED")
            answered = None if self.elsewhere is None else await self.elsewhere.execute(row, frame)
            if answered is not None:
                reply = answered
            else:
                parsed = None if row.parser is None and not frame.args else self._parse(row, frame)
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
                await self.tell_all(row.seqs is Seqs.MAY_EXPUNGE)
            else:
                self.tell_updates(row.seqs is Seqs.MAY_EXPUNGE)
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
        if self.notices is not None:
            self.notices.follow_selected()
            if self._is_noticed:
                self.clock.callLater(0, self._tell_noticed)
        if not self._is_advancing:
            self._advance()

    def _tell_noticed(self) -> None:
        """Tell what happened, unless a command is at work: its end comes here again."""
        if self._is_noticed and not self._is_busy and not self._is_advancing and not self._is_closing:
            self._is_busy = True
            self._tasks.spawn(self._tell_between(), self._crashed)

    async def _tell_between(self) -> None:
        try:
            await self.tell_notices()
        except MailStoreError as error:
            self.log.warn("no notices for {session}: {error}", session=self.session_id, error=error)
        self._is_busy = False
        if not self._is_advancing:
            self._advance()

    def _parse(self, row: Command, frame: Frame) -> Any:
        """
        Read the arguments of a command.

        @raise Bad: They are not what it takes.
        """
        if row.parser is None:
            raise Bad(b"Unexpected extra arguments to " + row.name.title())
        try:
            return row.parser(Cursor(frame.args, utf8=self.is_utf8))
        except BadSyntax as error:
            preposition = b" to " if error.text in _ARGUMENT_COUNTS else b" in "
            raise Bad(error.text + preposition + row.name.title()) from None

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
            self._bad_commands += 1

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
            self._bad_commands += 1
            self._check_patience()

    def _check_patience(self) -> None:
        if self._bad_commands >= self.settings.max_bad_commands and self.identity is None:
            self.say_bye(b"Too many invalid commands")

    def _set_timer(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.clock.callLater(seconds, self._time_passed)

    def _time_passed(self) -> None:
        """End a session that is silent, or was not logged in, for too long (RFC 9051 section 5.4)."""
        self._timer = None
        if self._is_closing:
            self._wire.abort()
            return
        if self.identity is None:
            # However much the client sends meanwhile.
            due = self._opened + self.settings.login_timeout
        else:
            due = self._last_heard + (self.settings.idle_silence if self.is_idling else self.settings.silence)
            if self._is_busy and self._line is None and self._is_writable:
                # It is not the client who is slow.
                due = self.clock.seconds() + self.settings.silence
        left = due - self.clock.seconds()
        if left > 0:
            self._set_timer(left)
            return
        self.say_bye(b"idle for too long")
        self._tasks.cancel_all()
