"""Work that goes on to its end although who asked for it may go away."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from pycyrus.tasks import Tasks

T = TypeVar("T")
_log = Logger()


async def shielded(work: Coroutine[Deferred[Any], Any, T]) -> T:
    """
    Do work that must not stop half-way.

    When the caller is cancelled the work goes on; should it fail then, that is
    logged.
    """
    result: Deferred[T] = Deferred()

    async def run() -> None:
        value = await work
        if not result.called:
            result.callback(value)

    def failed(failure: Failure) -> None:
        if result.called:
            _log.failure("Work that nobody waits for any more failed", failure)
        else:
            result.errback(failure)

    Tasks().spawn(run(), failed)
    return await result


class Shield:
    """Shielded work that its owner can wait for."""

    def __init__(self) -> None:
        self._running = 0
        self._settling: list[Deferred[None]] = []

    async def run(self, work: Coroutine[Deferred[Any], Any, T]) -> T:
        """Do work as L{shielded} does."""
        self._running += 1
        return await shielded(self._count(work))

    def spawn(self, work: Coroutine[Deferred[Any], Any, None]) -> None:
        """Do work that nobody but the owner waits for; should it fail, that is logged."""
        self._running += 1

        def failed(failure: Failure) -> None:
            _log.failure("Work that nobody waits for failed", failure)

        Tasks().spawn(self._count(work), failed)

    async def _count(self, work: Coroutine[Deferred[Any], Any, T]) -> T:
        try:
            return await work
        finally:
            self._running -= 1
            if not self._running:
                settling, self._settling = self._settling, []
                for waiting in settling:
                    waiting.callback(None)

    async def settle(self) -> None:
        """Wait until all of it has ended."""
        if self._running:
            settled: Deferred[None] = Deferred()
            self._settling.append(settled)
            await settled
