"""Work that takes long, done where the connections go on meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.threads import deferToThreadPool

T = TypeVar("T")

_SWITCH = 0.001
"""Seconds."""


def switch_often() -> None:
    """
    Have threads that compute give way sooner than Python's own 5 milliseconds.

    The reactor's thread waits so long whenever it comes back from the kernel while
    another one computes.
    """
    sys.setswitchinterval(_SWITCH)


async def in_thread(reactor: Any, work: Callable[[], T]) -> T:
    """
    Have something computed in a thread of the reactor's pool.

    @param reactor: A clock without a pool, as tests have it, does it at once.
    """
    if not hasattr(reactor, "getThreadPool"):
        return work()
    return await deferToThreadPool(reactor, reactor.getThreadPool(), work)
