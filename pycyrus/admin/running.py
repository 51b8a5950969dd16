"""Running what needs a reactor from a command, which has none."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


def run_with_reactor(function: Callable[[Any], Coroutine[Deferred[Any], Any, T]]) -> T:
    """
    Run a coroutine to its end; once per process.

    @param function: Is given the reactor.
    @return: What it returns.
    @raise KeyboardInterrupt: It was interrupted.
    """
    from twisted.internet import reactor as installed

    reactor: Any = installed
    results: list[T | Failure] = []

    def finish(result: T | Failure) -> None:
        results.append(result)
        reactor.stop()

    def start() -> None:
        _ = Deferred.fromCoroutine(function(reactor)).addBoth(finish)

    reactor.callWhenRunning(start)
    reactor.run()
    if not results:
        raise KeyboardInterrupt
    result = results[0]
    if isinstance(result, Failure):
        result.raiseException()
        raise AssertionError("a failure raises")
    return result
