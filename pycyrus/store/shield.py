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
