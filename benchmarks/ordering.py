#!/usr/bin/env python3
"""
SORT and THREAD of a large mailbox right after a delivery: how long they take, and how long other sessions wait.

Usage: C{python benchmarks/ordering.py [messages]}.  A wait is the longest time that the reactor did not come round.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred

from pycyrus.app.collector import settle
from pycyrus.imap.ordering import Orders
from pycyrus.imap.selection import empty_view
from pycyrus.model.sorting import SortCriterion, SortKey, ThreadAlgorithm
from pycyrus.model.view import CachedItem, View
from pycyrus.net.threads import in_thread, switch_often

reactor: Any = _reactor
TURN = 0.0005


class Box:
    """What is asked of a mailbox."""

    unique_id = "a"
    uidvalidity = 1

    async def complete(self) -> None:
        """All there is in the cache."""


def view_of(count: int) -> View:
    """Messages of made-up headers."""
    uids = np.arange(1, count + 1, dtype=np.uint32)
    draw = random.Random(1)
    subjects = [b"subject %d" % draw.randrange(count) for _ in range(count)]
    parents = [draw.randrange(number) if number and number % 3 else None for number in range(count)]

    def cached(positions: Any, items: Sequence[CachedItem]) -> list[list[bytes]]:
        found: list[list[bytes]] = []
        for item in items:
            if item is CachedItem.SUBJECT:
                found.append([subjects[at] for at in positions.tolist()])
            else:
                found.append([headers(at) for at in positions.tolist()])
        return found

    def headers(at: int) -> bytes:
        parent = parents[at]
        reference = b"" if parent is None else b"References: <%d@x>\r\n" % parent
        return b"From: someone%d@example.org\r\nMessage-ID: <%d@x>\r\n%b" % (at % 500, at, reference)

    dates = np.arange(count, dtype=np.int64)
    return replace(empty_view(), uids=uids, sent_times=dates, internaldates=dates, cached=cached)


class Heart:
    """Beats as often as the reactor lets it."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._last = time.perf_counter()
        self._beat()

    def _beat(self) -> None:
        now = time.perf_counter()
        self.longest = max(self.longest, now - self._last - TURN)
        self._last = now
        self._call = reactor.callLater(TURN, self._beat)

    def stop(self) -> float:
        """The longest wait in seconds."""
        self._call.cancel()
        return self.longest


async def pause() -> None:
    """As a session's."""
    done: Deferred[None] = Deferred()
    reactor.callLater(0, done.callback, None)
    await done


async def run(count: int) -> None:
    orders = Orders()
    full = view_of(count + 3)

    async def thread(work: Any) -> Any:
        return await in_thread(reactor, work)

    async def sort(key: SortKey, view: View) -> Any:
        found = np.arange(len(view))
        return await orders.sort(Box(), view, found, [SortCriterion(key)], pause, thread)  # type: ignore[arg-type]

    async def gather(view: View) -> Any:
        return await orders.thread_all(Box(), view, ThreadAlgorithm.REFERENCES, pause, thread, by_uid=True)  # type: ignore[arg-type]

    print(f"{'':<28}{'first, ms':>12}{'wait':>8}{'after one more':>16}{'wait':>8}")
    for name, work in (
        ("SORT (SUBJECT)", lambda view: sort(SortKey.SUBJECT, view)),
        ("SORT (FROM)", lambda view: sort(SortKey.FROM, view)),
        ("SORT (DATE)", lambda view: sort(SortKey.DATE, view)),
        ("THREAD REFERENCES", gather),
    ):
        figures = []
        for size in (count, count + 1):
            part = replace(
                full,
                uids=full.uids[:size],
                sent_times=full.sent_times[:size],
                internaldates=full.internaldates[:size],
            )
            await pause()
            heart = Heart()
            began = time.perf_counter()
            await work(part)
            took = time.perf_counter() - began
            figures += [took * 1000, heart.stop() * 1000]
        print(f"{name:<28}{figures[0]:>12.1f}{figures[1]:>8.1f}{figures[2]:>16.1f}{figures[3]:>8.1f}")


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    # As a server does before it serves.
    switch_often()
    settle(reactor)

    async def work() -> None:
        try:
            await run(count)
        finally:
            reactor.stop()

    def failed(failure: Any) -> None:
        print(failure.getTraceback())

    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(work()).addErrback(failed))
    reactor.run()


if __name__ == "__main__":
    main()
