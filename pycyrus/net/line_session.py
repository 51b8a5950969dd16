"""
What the sessions of line protocols have in common, without their sockets.

Commands run strictly one after another; while one waits, what arrives is kept,
within limits, and then not read any more.  What is said is held back until no command
can go on, so that it leaves together.  A session ends when its client is silent or not
logged in for too long, makes too many errors, or when the server goes: never in the
middle of a command.

A protocol's session says what a command is (L{LineSession.step}), and what clients
are told (L{Farewells}).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from pycyrus.net.turns import Turn, turns_of
from pycyrus.tasks import Tasks

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from pycyrus.net.server_protocol import Link

MAX_WAITING = 65_536
"""Octets kept while a command waits; then the transport is paused."""
COMMANDS_AT_ONCE = 100
"""Commands run before other connections have their turn."""
CORK_SIZE = 65_536
"""Octets held back at most."""


class Limits(Protocol):
    """
    What a session must know of its service's settings.

    @ivar login_timeout: Seconds from connecting to being logged in.
    @ivar close_timeout: Seconds that a closing connection may take to drain.
    @ivar max_errors: Things that make no sense, and failed logins, until the
        connection is closed.
    """

    @property
    def login_timeout(self) -> float: ...  # noqa: D102

    @property
    def close_timeout(self) -> float: ...  # noqa: D102

    @property
    def max_errors(self) -> int: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Farewells:
    """What clients are told when the server ends a session, as L{LineSession.last_line} takes it; None for nothing."""

    shutting_down: bytes
    idle: bytes | None
    too_many_errors: bytes
    too_many_connections: bytes
    internal_error: bytes


class Goodbye(Exception):
    """
    The session is to end.

    @ivar text: What the client is told, as L{LineSession.last_line} takes it.
    """

    def __init__(self, text: bytes) -> None:
        super().__init__(text)
        self.text = text


class LineSession:
    """
    One connection.

    @cvar farewells: What this protocol says at the end.
    @ivar is_secure: TLS has begun.
    @ivar session_id: For logs.
    """

    log = Logger()
    farewells: Farewells

    def __init__(self, link: Link, clock: IReactorTime, limits: Limits, session_id: str) -> None:
        self.clock = clock
        self.session_id = session_id
        self.is_secure = False
        self._link = link
        self._limits = limits
        self._tasks = Tasks(self.flush)
        self._held: list[bytes] = []
        self._held_size = 0
        self._is_working = self._is_paused = self._is_closing = self._is_leaving = False
        self._is_writable = True
        self._drained: list[Deferred[None]] = []
        self._line: Deferred[None] | None = None
        self._errors = 0
        self._opened = self._heard = clock.seconds()
        self._turn: Turn | None = None
        self._turns = turns_of(clock)
        self._timer: IDelayedCall | None = clock.callLater(limits.login_timeout, self._look_at_time)

    # --- what a protocol's session says -----------------------------------

    def greet(self) -> None:
        """Say what this is."""
        raise NotImplementedError

    def keep(self, data: bytes) -> None:
        """Keep octets until commands take them."""
        raise NotImplementedError

    def kept(self) -> int:
        """How many octets are kept."""
        raise NotImplementedError

    async def step(self) -> bool:
        """
        Run the next command.

        @return: False if it has not arrived.
        @raise Goodbye: The session is to end.
        """
        raise NotImplementedError

    def settled(self) -> None:
        """All commands that have arrived were run."""

    def due(self, now: float) -> float:
        """When the session is to end if the client goes on to say nothing; seconds, as C{now} is."""
        raise NotImplementedError

    def expire(self) -> None:
        """That time has come."""
        self.end(self.farewells.idle)
        self._tasks.cancel_all()

    def let_go(self) -> None:
        """The session has ended: give back what it holds.  May be called more than once."""

    def last_line(self, text: bytes) -> bytes:
        """The octets of a farewell."""
        return text + b"\r\n"

    # --- for commands -----------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send octets; they leave together with what follows."""
        self._held.append(data)
        self._held_size += len(data)
        if self._held_size >= CORK_SIZE:
            self.flush()

    def flush(self) -> None:
        """Send what is held back."""
        held = self._held
        if not held:
            return
        self._held = []
        self._held_size = 0
        if not self._is_closing:
            self._link.write(held[0] if len(held) == 1 else b"".join(held))

    async def drain(self) -> None:
        """Wait until the client has read most of what was sent."""
        self.flush()
        if not self._is_writable:
            waiting: Deferred[None] = Deferred()
            self._drained.append(waiting)
            await waiting

    async def others(self) -> None:
        """Let other connections have their turn, and wait as C{drain} does."""
        self.flush()
        await self._turns.wait()
        await self.drain()

    async def more(self) -> None:
        """Wait for more octets, in the middle of a command."""
        self.flush()
        self._line = Deferred()
        self._resume()
        await self._line

    def count_error(self) -> None:
        """Note something that makes no sense, or a login that failed."""
        self._errors += 1

    def abort(self) -> None:
        """Cut the connection: what the client was told is wrong."""
        self._is_closing = True
        self._link.abort()

    # --- for the protocol -------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take octets from the client."""
        if self._is_closing:
            return
        self._heard = self.clock.seconds()
        self.keep(data)
        line, self._line = self._line, None
        if line is not None:
            line.callback(None)
        elif not self._is_working and self._turn is None:
            self._tasks.spawn(self._work(), self._crashed)
        if (self._is_working or self._turn is not None) and not self._is_paused and self.kept() > MAX_WAITING:
            self._is_paused = True
            self._link.pause()

    def hold_back(self) -> None:
        """The client reads more slowly than we write."""
        self._is_writable = False

    def go_on(self) -> None:
        """The client has read most of what was sent."""
        self._heard = self.clock.seconds()
        self._is_writable = True
        drained, self._drained = self._drained, []
        for waiting in drained:
            waiting.callback(None)

    def refuse(self) -> None:
        """There are too many connections."""
        self.end(self.farewells.too_many_connections)

    def shut_down(self) -> None:
        """The server goes; a command that runs is answered first."""
        if self._is_working and self._line is None:
            self._is_leaving = True
        else:
            self.end(self.farewells.shutting_down)

    def end(self, text: bytes | None = None) -> None:
        """Say a last word, and close."""
        if self._is_closing:
            return
        if text is not None:
            self.write(self.last_line(text))
        # Before the client knows, since it may come back at once, to another process.
        self.let_go()
        self.flush()
        self._is_closing = True
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.clock.callLater(self._limits.close_timeout, self._link.abort)
        self._link.close()

    def lost(self) -> None:
        """The connection is gone."""
        self.stop_clocks()
        self._tasks.cancel_all()
        self.let_go()

    def stop_clocks(self) -> None:
        """Begin nothing more: there is nobody any more to whom it would matter."""
        self._is_closing = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._turn is not None:
            self._turn.cancel()
        self._timer = self._turn = None

    # --- the work ---------------------------------------------------------

    async def _work(self) -> None:
        """Run what has arrived."""
        self._is_working = True
        left = COMMANDS_AT_ONCE
        seconds = self.clock.seconds
        stop = self._turns.end_of_one(seconds())
        try:
            while not self._is_closing and await self.step():
                if self._is_leaving:
                    raise Goodbye(self.farewells.shutting_down)
                if self._errors > self._limits.max_errors:
                    raise Goodbye(self.farewells.too_many_errors)
                left -= 1
                if not left or (seconds() >= stop and self.kept()):
                    self._turn = self._turns.ask(self._next_turn)
                    break
                if not self._is_writable:
                    await self.drain()
        except Goodbye as goodbye:
            self.end(goodbye.text)
        except CancelledError:
            self.end(self.farewells.shutting_down)
            raise
        finally:
            self._is_working = False
            self._heard = self.clock.seconds()
        if self._is_leaving:
            self.end(self.farewells.shutting_down)
        elif self._turn is None:
            self.settled()
            self._resume()

    def _next_turn(self) -> None:
        self._turn = None
        self._tasks.spawn(self._work(), self._crashed)

    def _resume(self) -> None:
        if self._is_paused and not self._is_closing:
            self._is_paused = False
            self._link.resume()

    def _crashed(self, failure: Failure) -> None:
        self.log.failure("a command of {session} failed", failure, session=self.session_id)
        self.end(self.farewells.internal_error)

    @property
    def _waits_for_client(self) -> bool:
        """Whether it is for the client to do something."""
        return not self._is_working or self._line is not None or not self._is_writable

    def _look_at_time(self) -> None:
        """End a session that is silent, or was not logged in, for too long."""
        self._timer = None
        now = self.clock.seconds()
        due = self.due(now)
        if due > now:
            self._timer = self.clock.callLater(due - now, self._look_at_time)
        else:
            self.expire()
