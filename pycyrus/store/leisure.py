"""When a process that takes messages has time for what can wait."""

from __future__ import annotations

from collections.abc import Callable
from time import thread_time
from typing import TYPE_CHECKING

from pycyrus.store.threads import StoreReactor

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall

PAUSE = 0.002
"""Seconds between two stretches of work in a process that is quiet."""
REST = 30.0
"""How many times as long as it worked it rests in one that is busy."""
BUSY = 0.25
"""The part of a pause that the thread of a busy process works."""


class Leisure:
    """
    Begins some work when nothing came for a while, and after some time in any case.

    @param work: What to begin.
    @param quiet: Seconds without anything coming that are taken for leisure.
    @param patience: Seconds from what came first after which there is no more waiting.
    """

    def __init__(self, reactor: StoreReactor, work: Callable[[], None], *, quiet: float, patience: float) -> None:
        self._reactor = reactor
        self._work = work
        self._quiet = quiet
        self._patience = patience
        self._call: IDelayedCall | None = None
        self._first = self._last = 0.0
        self._rest_began = self._used = self._worked = 0.0

    def noticed(self) -> None:
        """Something came just now, while the work is under way."""
        self._last = self._reactor.seconds()

    def came(self) -> None:
        """Something came just now, and makes work."""
        self.noticed()
        if self._call is None:
            self._first = self._last
            self._call = self._reactor.callLater(min(self._quiet, self._patience), self._look)

    def go_on(self, apart: float = 0.0) -> None:
        """
        Begin the next stretch of it soon; less soon if the reactor's thread has much else to do.

        @param apart: Seconds of the processor that the last one took after C{work} returned, in whatever thread:
            they take the interpreter from the reactor's as well.
        """
        self._worked += apart
        self._rest_began, self._used = self._reactor.seconds(), thread_time()
        self._call = self._reactor.callLater(PAUSE, self._look_around)

    def stop(self) -> None:
        """Begin nothing more, until something comes."""
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _look(self) -> None:
        left = min(self._last + self._quiet, self._first + self._patience) - self._reactor.seconds()
        if left > 0:
            self._call = self._reactor.callLater(left, self._look)
        else:
            self._begin()

    def _look_around(self) -> None:
        now = self._reactor.seconds()
        # A thread that just waits for the disk, so that it can go on, has nothing to do either.
        is_receiving = now - self._last < self._quiet
        if is_receiving or thread_time() - self._used > BUSY * (now - self._rest_began):
            self._call = self._reactor.callLater(REST * self._worked, self._begin)
        else:
            self._begin()

    def _begin(self) -> None:
        self._call = None
        began = thread_time()
        self._work()
        self._worked = thread_time() - began
