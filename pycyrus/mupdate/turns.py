"""Turns of those who have much to say: one at a time, so that everybody else waits for one page at most."""

from __future__ import annotations

from collections import deque

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

_REST = 0.001
"""
Seconds between two turns.  Without, the reactor's thread would hardly ever let go of the interpreter
in time for the thread that writes, which needs it after each statement.
"""


class Turns:
    """A queue of which one may go on at a time."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._waiting: deque[Deferred[None]] = deque()
        self._next: IDelayedCall | None = None

    async def wait(self) -> None:
        """Wait for a turn."""
        turn: Deferred[None] = Deferred(self._leave)
        self._waiting.append(turn)
        if self._next is None:
            self._next = self._clock.callLater(_REST, self._let_one)
        await turn

    def _leave(self, turn: Deferred[None]) -> None:
        self._waiting.remove(turn)
        if not self._waiting and self._next is not None:
            self._next.cancel()
            self._next = None

    def _let_one(self) -> None:
        self._next = None
        turn = self._waiting.popleft()
        if self._waiting:
            self._next = self._clock.callLater(_REST, self._let_one)
        turn.callback(None)
