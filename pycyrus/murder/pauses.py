"""Waiting a while, or until something is to be looked at."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall


class Pause:
    """The waiting of one coroutine."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._done: Deferred[None] | None = None

    async def wait(self, seconds: float) -> None:
        """Wait, unless L{end} is called before."""
        done: Deferred[None] = Deferred()
        self._done = done
        timer: IDelayedCall = self._reactor.callLater(seconds, self.end)
        try:
            await done
        finally:
            self._done = None
            if timer.active():
                timer.cancel()

    def end(self) -> None:
        """Go on, if something waits."""
        done, self._done = self._done, None
        if done is not None and not done.called:
            done.callback(None)
