"""
Threads for password hashes.

They are not the reactor's own: a burst of logins must not keep the store's syncs
waiting, nor hashes use more memory than there are threads for them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from pycyrus.errors import AuthenticationUnavailable

T = TypeVar("T")

MOST_WAITING = 500
"""Hashes that may wait for a thread: clients give up on what would come later."""


class HashThreads:
    """
    A few threads, started when first used and stopped with the reactor.

    @ivar waiting: Calls that have not ended.
    """

    def __init__(self, reactor: Any, threads: int = 2) -> None:
        """
        @param reactor: Provides IReactorCore and IReactorFromThreads.
        @param threads: How many hashes are computed at a time.
        """
        self._reactor = reactor
        self._pool = ThreadPool(0, threads, "hashes")
        self._started = False
        self._trigger: Any = None
        self.waiting = 0

    async def run(self, function: Callable[[], T]) -> T:
        """
        Run something in one of the threads.

        @raise AuthenticationUnavailable: Too many wait already.
        """
        if self.waiting >= MOST_WAITING:
            raise AuthenticationUnavailable("too many logins wait for their password to be checked")
        if not self._started:
            self._started = True
            self._pool.start()
            self._trigger = self._reactor.addSystemEventTrigger("during", "shutdown", self._stop)
        self.waiting += 1
        try:
            return await deferToThreadPool(self._reactor, self._pool, function)
        finally:
            self.waiting -= 1

    def stop(self) -> None:
        """End the threads, when what they do is done."""
        if self._started:
            self._reactor.removeSystemEventTrigger(self._trigger)
            self._stop()

    def _stop(self) -> None:
        self._started = False
        self._pool.stop()
