"""A queue of what is to be told to somebody who may be slow, or away."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from pycyrus.notices.losses import Losses
from pycyrus.tasks import Tasks

T = TypeVar("T")

CAPACITY = 1000
"""What waits at most; what comes then is lost."""
MAX_WAITING = 8 * 1024 * 1024
"""Octets of it."""
PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
"""Seconds before it is tried again; the last one for ever."""
LAST_MOMENT = 3.0
"""Seconds that what still waits has at the end."""


class TryAgain(Exception):
    """It could not be told now; the text says why."""


class Refused(Exception):
    """It will never be taken; the text says why."""


class SendQueue(Generic[T]):
    """Sends one after another, in order, and again what could not be sent."""

    log = Logger()

    def __init__(self, send: Callable[[T], Awaitable[None]], clock: IReactorTime, losses: Losses) -> None:
        """@param send: Raises L{TryAgain} or L{Refused} where it cannot; it has a time limit of its own."""
        self._send = send
        self._clock = clock
        self._losses = losses
        self._items: deque[tuple[T, int]] = deque()
        self._size = 0
        self._is_running = self._is_closed = False
        self._idle: Deferred[None] | None = None
        self._tasks = Tasks()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T, size: int) -> None:
        """
        Have something sent.

        @param size: Octets.
        """
        if self._is_closed or len(self._items) >= CAPACITY or self._size + size > MAX_WAITING:
            self._losses.add("too many wait")
            return
        self._items.append((item, size))
        self._size += size
        self._start()

    def _start(self) -> None:
        if not self._is_running and self._items:
            self._is_running = True
            self._tasks.spawn(self._run(), self._crashed)

    async def _run(self) -> None:
        try:
            while self._items:
                await self._send_first()
                _, size = self._items.popleft()
                self._size -= size
        finally:
            self._is_running = False
            if self._idle is not None:
                idle, self._idle = self._idle, None
                idle.callback(None)

    async def _send_first(self) -> None:
        failures = 0
        while True:
            try:
                await self._send(self._items[0][0])
            except Refused as error:
                self._losses.add(str(error))
                return
            except TryAgain as error:
                if not failures:
                    self.log.info("a notice is sent again later: {reason}", reason=str(error))
                await self._pause(PAUSES[min(failures, len(PAUSES) - 1)])
                failures += 1
            else:
                return

    def _pause(self, seconds: float) -> Deferred[None]:
        paused: Deferred[None] = Deferred(lambda _: call.cancel())
        call = self._clock.callLater(seconds, paused.callback, None)
        return paused

    def _crashed(self, failure: Failure) -> None:
        self.log.failure("a notice could not be sent", failure)
        self._losses.add("internal error")
        # Only the one at fault.
        _, size = self._items.popleft()
        self._size -= size
        self._start()

    async def close(self) -> None:
        """Take nothing more; what waits has a moment, and is lost then."""
        self._is_closed = True
        if self._is_running:
            idle = self._idle = Deferred()
            limit = self._clock.callLater(LAST_MOMENT, self._tasks.cancel_all)
            await idle
            if limit.active():
                limit.cancel()
        for _ in self._items:
            self._losses.add("the server ended")
        self._items.clear()
        self._tasks.cancel_all()
