"""
Whose turn it is, of those who have more to do than may be done at once.

A session that has much to do does a little, and asks for a turn.  What all turns of a process
take between two looks at the network is bounded, however many sessions ask: who has one short command is
answered in the meantime.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, ref

from twisted.internet.defer import Deferred

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

SHARE = 0.004
"""Seconds of turns until the network is looked at again; the last one may take longer."""
LONG = 0.002
"""Seconds for which who has a turn goes on at most."""
SHORT = 0.0002
"""The same where others wait for theirs."""


class Turn:
    """One that was asked for."""

    __slots__ = ("_work",)

    def __init__(self, work: Callable[[], None]) -> None:
        self._work: Callable[[], None] | None = work

    def cancel(self) -> None:
        """Do without it; does nothing if it has come."""
        self._work = None

    def take(self) -> None:
        """Do the work, if it is still wanted."""
        work, self._work = self._work, None
        if work is not None:
            work()


class Turns:
    """Of all sessions that a reactor serves, one after the other in the order in which they asked."""

    def __init__(self, clock: IReactorTime) -> None:
        # Those who ask hold the clock.
        self._clock = ref(clock)
        self._waiting: deque[Turn] = deque()
        self._is_scheduled = False

    @property
    def are_awaited(self) -> bool:
        """Whether somebody waits for one."""
        return bool(self._waiting)

    def end_of_one(self, begun: float) -> float:
        """Until when a turn lasts that has begun, unless its work ends before."""
        return begun + (SHORT if self.are_awaited else LONG)

    def ask(self, work: Callable[[], None]) -> Turn:
        """Have something done when the others had their turn."""
        turn = Turn(work)
        self._waiting.append(turn)
        self._schedule()
        return turn

    def wait(self) -> Deferred[None]:
        """Wait for a turn; may be cancelled."""
        turn: Turn
        waiting: Deferred[None] = Deferred(lambda _: turn.cancel())
        turn = self.ask(lambda: waiting.callback(None))
        return waiting

    def _schedule(self) -> None:
        clock = self._clock()
        if not self._is_scheduled and clock is not None:
            self._is_scheduled = True
            clock.callLater(0, self._take_some, clock)

    def _take_some(self, clock: IReactorTime) -> None:
        waiting, seconds = self._waiting, clock.seconds
        stop = seconds() + SHARE
        try:
            # Who asks again meanwhile has the next turn when the network was looked at.
            for _ in range(len(waiting)):
                waiting.popleft().take()
                if seconds() >= stop:
                    break
        finally:
            self._is_scheduled = False
            if waiting:
                self._schedule()


_turns: WeakKeyDictionary[IReactorTime, Turns] = WeakKeyDictionary()


def turns_of(clock: IReactorTime) -> Turns:
    """The turns of those whom a reactor serves, whatever protocols they speak."""
    turns = _turns.get(clock)
    if turns is None:
        turns = _turns[clock] = Turns(clock)
    return turns
