"""The one seam between the reactor thread and blocking work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

T = TypeVar("T")
P = ParamSpec("P")


class StoreReactor(Protocol):
    """What the store needs of the reactor."""

    def seconds(self) -> float:
        """Of C{IReactorTime}."""

    def callLater(self, delay: float, function: Callable[..., Any], /, *args: object) -> IDelayedCall:  # noqa: N802
        """Of C{IReactorTime}."""

    def callFromThread(self, function: Callable[..., Any], /, *args: object) -> None:  # noqa: N802
        """Of C{IReactorFromThreads}."""

    def getThreadPool(self) -> ThreadPool:  # noqa: N802
        """Of C{IReactorThreads}."""


def in_thread(reactor: StoreReactor, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
    """Do blocking work in the reactor's thread pool."""
    return deferToThreadPool(cast(IReactorFromThreads, reactor), reactor.getThreadPool(), work, *args, **kwargs)


def sleep(reactor: StoreReactor, delay: float) -> Deferred[None]:
    """Wait some seconds."""
    done: Deferred[None] = Deferred(lambda _: call.cancel())
    call = reactor.callLater(delay, done.callback, None)
    return done
