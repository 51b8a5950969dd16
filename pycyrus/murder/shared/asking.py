"""PostgreSQL asked from the reactor thread, which never waits for it."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from pycyrus.errors import StoreUnavailable
from pycyrus.murder.shared.entries import CHANNEL
from pycyrus.murder.shared.postgresql import Connection, Postgresql

T = TypeVar("T")

PATIENCE = 5.0
"""Seconds for an answer; then the connection is cut."""
_GRACE = 10.0
"""Seconds more for finding another server."""
_PING_EVERY = 2.0
_REST = 0.5
"""Seconds before another attempt to listen."""
_STATE = "SELECT current_setting('transaction_read_only'), (SELECT max(number) FROM pycyrus_head)"


class _DaemonThread(Thread):
    """A thread that the end of the process does not wait for."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments, daemon=True)


class Asking:
    """One connection and its thread; questions are asked one after another."""

    def __init__(self, database: Postgresql, reactor: Any, *, patience: float = PATIENCE) -> None:
        self._database = database
        self._reactor = reactor
        self._patience = patience
        self._turn = DeferredLock()
        self._pool = ThreadPool(0, 1, name="PostgreSQL")
        # One that hangs must not keep the server from ending.
        self._pool.threadFactory = _DaemonThread  # type: ignore[assignment] # as good as its parent
        self._is_started = False
        self._is_closed = False

    async def ask(self, work: Callable[[Connection], T]) -> T:
        """
        Run a function on the thread, with a connection.

        @raise StoreUnavailable: As L{Postgresql.run}, or there was no answer.
        """
        result: T = await self._turn.run(lambda: Deferred.fromCoroutine(self._ask(work)))
        return result

    async def _ask(self, work: Callable[[Connection], T]) -> T:
        if self._is_closed:
            raise StoreUnavailable("PostgreSQL: shutting down")
        if not self._is_started:
            self._is_started = True
            self._pool.start()
        cut: IDelayedCall = self._reactor.callLater(self._patience, self._database.cut)
        answer: Deferred[T] = deferToThreadPool(self._reactor, self._pool, self._database.run, work)
        answer.addTimeout(self._patience + _GRACE, self._reactor)  # type: ignore[unused-awaitable] # the same Deferred
        try:
            return await answer
        except DeferredTimeoutError as error:
            raise StoreUnavailable(f"PostgreSQL: no answer in {self._patience + _GRACE:g} s") from error
        finally:
            if cut.active():
                cut.cancel()

    def close(self) -> None:
        """Cut the connection, and end the thread."""
        self._is_closed = True
        self._database.close()
        if self._is_started:
            self._pool.adjustPoolsize(0, 0)


class Listening:
    """
    A connection that hears of changes, and its thread.

    @param heard: Called on the reactor thread when something changed, or may have.
    """

    log = Logger()

    def __init__(self, database: Postgresql, heard: Callable[[], None], reactor: Any) -> None:
        self._database = database
        self._heard = heard
        self._reactor = reactor
        self._end = Event()
        self._turned = 0.0
        self._timer: IDelayedCall | None = None
        self._trouble = ""

    def start(self) -> None:
        """Begin."""
        self._turned = self._reactor.seconds()
        self._timer = self._reactor.callLater(_PING_EVERY, self._look)
        _DaemonThread(target=self._run, name="PostgreSQL notices").start()

    def _look(self) -> None:
        """A thread whose server hangs does not come round any more."""
        self._timer = self._reactor.callLater(_PING_EVERY, self._look)
        if self._reactor.seconds() - self._turned > _PING_EVERY + PATIENCE:
            self._turned = self._reactor.seconds()
            self._database.cut()

    def _run(self) -> None:
        while not self._end.is_set():
            try:
                self._database.run(self._listen)
            except StoreUnavailable as error:
                self._tell(self._is_deaf, str(error))
            self._end.wait(_REST)

    def _listen(self, connection: Connection) -> None:
        connection.execute(f"LISTEN {CHANNEL}")
        known = self._last_change(connection)
        self._tell(self._listens)
        while not self._end.is_set():
            # What comes while nobody is in here is kept by the driver.
            has_heard = False
            for _ in connection.notifies(timeout=_PING_EVERY, stop_after=1):
                has_heard = True
                self._tell(self._heard)
            before, known = known, self._last_change(connection)
            if known != before and not has_heard:
                # Something between passes notices not on, such as one that pools connections.
                self._tell(self._heard)

    def _last_change(self, connection: Connection) -> object:
        """
        The number of the last change.

        @raise StoreUnavailable: This is no server for us any more.
        """
        row = connection.execute(_STATE).fetchone()
        self._turned = self._reactor.seconds()
        if row is None or row[0] != "off":
            raise StoreUnavailable("PostgreSQL: the server takes no changes any more")
        return row[1]

    def _tell(self, function: Callable[..., None], *arguments: object) -> None:
        if not self._end.is_set():
            self._reactor.callFromThread(self._on_reactor, function, *arguments)

    def _on_reactor(self, function: Callable[..., None], *arguments: object) -> None:
        if not self._end.is_set():
            function(*arguments)

    def _is_deaf(self, reason: str) -> None:
        if reason != self._trouble:
            self._trouble = reason
            self.log.error("The directory of the Murder cannot be reached: {reason}", reason=reason)

    def _listens(self) -> None:
        if self._trouble:
            self._trouble = ""
            self.log.info("The directory of the Murder can be reached again")
        # Nobody told us of what changed before.
        self._heard()

    def close(self) -> None:
        """End it."""
        self._end.set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._database.close()
