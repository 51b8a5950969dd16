"""
A reactor for one coroutine at a time, without sockets and without global state.

With it the store is driven from plain code: in a forked child, in a benchmark,
in a test that wants no other events.
"""

from __future__ import annotations

import heapq
import itertools
import queue
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from typing_extensions import override

T = TypeVar("T")


class BlockingReactor:
    """
    Runs coroutines to their end.

    What is sent to a thread pool runs in L{run}, in order, and so does what
    real threads send back.
    """

    def __init__(self) -> None:
        self._calls: list[tuple[float, int, DelayedCall]] = []
        self._numbers = itertools.count()
        self._from_threads: queue.SimpleQueue[tuple[Callable[..., Any], tuple[object, ...]]] = queue.SimpleQueue()

    def run(self, coroutine: Coroutine[Deferred[Any], Any, T]) -> T:
        """Run until the coroutine has its result."""
        results: list[T | Failure] = []
        Deferred.fromCoroutine(coroutine).addBoth(results.append)  # type: ignore[unused-awaitable] # waited for below
        while not results:
            self._turn()
        result = results[0]
        if isinstance(result, Failure):
            result.raiseException()
            raise AssertionError("not reached")
        return result

    def settle(self) -> None:
        """Run what is due now."""
        while self._run_due() or not self._from_threads.empty():
            while not self._from_threads.empty():
                function, args = self._from_threads.get()
                function(*args)

    def _turn(self) -> None:
        if self._run_due():
            return
        wait = 5.0
        if self._calls:
            wait = max(0.0, min(wait, self._calls[0][2].getTime() - self.seconds()))
        try:
            function, args = self._from_threads.get(timeout=wait)
        except queue.Empty:
            return
        function(*args)

    def _run_due(self) -> bool:
        ran = False
        while self._calls and self._calls[0][2].getTime() <= self.seconds():
            _, _, call = heapq.heappop(self._calls)
            if call.active():
                call.called = 1
                call.func(*call.args, **call.kw)
                ran = True
        return ran

    def seconds(self) -> float:
        """The time."""
        return time.monotonic()

    def callLater(self, delay: float, function: Callable[..., Any], /, *args: object) -> DelayedCall:  # noqa: N802
        """As every reactor."""
        call = DelayedCall(self.seconds() + delay, function, args, {}, lambda _: None, lambda _: None, self.seconds)
        heapq.heappush(self._calls, (call.getTime(), next(self._numbers), call))
        return call

    def callFromThread(self, function: Callable[..., Any], /, *args: object) -> None:  # noqa: N802
        """As every reactor."""
        self._from_threads.put((function, args))

    def getThreadPool(self) -> Any:  # noqa: N802
        """A pool without threads."""
        return self

    def callInThreadWithCallback(  # noqa: N802
        self, told: Callable[[bool, Any], None], function: Callable[..., Any], *args: object, **kwargs: object
    ) -> None:
        """Of a thread pool."""
        self._from_threads.put((self._work, (told, function, args, kwargs)))

    @staticmethod
    def _work(
        told: Callable[[bool, Any], None], function: Callable[..., Any], args: Any, kwargs: dict[str, Any]
    ) -> None:
        try:
            result = function(*args, **kwargs)
        except Exception:  # noqa: BLE001 - handed on
            told(False, Failure())
        else:
            told(True, result)

    def addReader(self, reader: IReadDescriptor) -> None:  # noqa: N802
        """Descriptors are not looked at."""

    def removeReader(self, reader: IReadDescriptor) -> None:  # noqa: N802
        """Descriptors are not looked at."""


class ThreadedReactor(BlockingReactor):
    """
    The same with a pool of real threads, for work that waits for other such work.

    @param threads: At most.
    """

    def __init__(self, threads: int = 8) -> None:
        super().__init__()
        self._pool = ThreadPoolExecutor(threads)
        self._at_work = 0

    @override
    def callInThreadWithCallback(
        self, told: Callable[[bool, Any], None], function: Callable[..., Any], *args: object, **kwargs: object
    ) -> None:
        """Of a thread pool; C{told} is called on the thread."""
        self._at_work += 1

        def ended(succeeded: bool, result: Any) -> None:
            self.callFromThread(self._ended)
            told(succeeded, result)

        self._pool.submit(self._work, ended, function, args, kwargs)

    def _ended(self) -> None:
        self._at_work -= 1

    @override
    def settle(self) -> None:
        """Run what is due now, and wait for what threads do."""
        super().settle()
        while self._at_work:
            self._turn()
            super().settle()

    def close(self) -> None:
        """End the threads, once they have nothing to do."""
        self.settle()
        self._pool.shutdown()
