"""
Cached items that are made after their message was acknowledged.

A small message that one mailbox gets is appended without its cached items,
which cost as much as all the rest of an append; its row says that they are
nowhere.  They follow when the process is quiet, and all that are missing when
somebody is about to read many.  Whoever reads a few before that has them made
on the spot (L{pycyrus.store.items}), and after a crash it is no different.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from itertools import accumulate
from time import thread_time
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from twisted.internet.defer import Deferred

from pycyrus.errors import MailStoreError
from pycyrus.model.uids import Positions
from pycyrus.store.columns import Columns
from pycyrus.store.leisure import Leisure
from pycyrus.store.threads import StoreReactor, in_thread, sleep

if TYPE_CHECKING:
    from pycyrus.store.mailbox import MailboxState

T = TypeVar("T")

QUIET = 0.05
"""Seconds without an append that are taken for leisure."""
PATIENCE = 2.0
"""Seconds after which the work begins though there is none."""
FEW = 8
"""Messages whose items are made in one stretch, which then takes about a millisecond."""
_MANY_OCTETS = 1 << 16
_LOOKED_AT = 4096
_APART = 1 << 14
"""Octets of messages that are taken apart in a thread."""
_NONE: Positions = np.empty(0, dtype=np.intp)


class CacheFiller:
    """Makes up for what the appends of a process left out."""

    def __init__(self, reactor: StoreReactor) -> None:
        self._waiting: dict[MailboxState, int] = {}
        self._leisure = Leisure(reactor, self._work, quiet=QUIET, patience=PATIENCE)
        self._is_apart = False

    def later(self, state: MailboxState) -> None:
        """A mailbox has messages without cached items."""
        self._waiting.setdefault(state, state.items.made_to)
        if self._is_apart:
            self._leisure.noticed()
        else:
            self._leisure.came()

    def stop(self) -> None:
        """Leave what is not done to those who read it."""
        self._waiting.clear()
        self._leisure.stop()

    def _work(self) -> None:
        state, done = next(iter(self._waiting.items()))
        few = _next(state, done)
        if _is_long(state, few):
            self._is_apart = True
            Deferred.fromCoroutine(self._work_apart(state, few))  # type: ignore[unused-awaitable] # it fails of nothing that is expected
        else:
            self._go_on(state, _fill_here(state, few))

    async def _work_apart(self, state: MailboxState, few: Positions) -> None:
        try:
            reached, took = await _fill_apart(state, few)
        finally:
            self._is_apart = False
        self._go_on(state, reached, took)

    def _go_on(self, state: MailboxState, reached: int | None, apart: float = 0.0) -> None:
        if reached is None:
            self._waiting.pop(state, None)
        elif state in self._waiting:
            self._waiting[state] = state.items.made_to = reached
            if _is_newest(state.contents.columns, reached):
                del self._waiting[state]
        if self._waiting:
            self._leisure.go_on(apart)


async def fill(state: MailboxState) -> None:
    """Make all cached items that are missing, with pauses for others."""
    few = _next(state, 0)
    while len(few):
        done = (await _fill_apart(state, few))[0] if _is_long(state, few) else _fill_here(state, few)
        if done is None:
            return
        await sleep(state.services.reactor, 0)
        few = _next(state, done)


def _next(state: MailboxState, done: int) -> Positions:
    """
    The messages whose cached items are to be made now; none if there is nothing more to do.

    @param done: The UID up to which there is nothing to do.
    """
    if state.gone:
        return _NONE
    columns = state.contents.columns
    missing = _missing(columns, done)
    octets = list(accumulate(map(columns.sizes.item, missing.tolist())))
    return missing[: max(bisect_left(octets, _MANY_OCTETS), 1)]


def _is_long(state: MailboxState, few: Positions) -> bool:
    """Whether it may take long to take messages apart: a few kilobytes can have hundreds of parts."""
    return sum(map(state.contents.columns.sizes.item, few.tolist())) > _APART


def _fill_here(state: MailboxState, few: Positions) -> int | None:
    """
    Make the cached items of a few messages, and write them.

    @return: The UID up to which there is nothing to do; None if there is nothing more to do,
        or no point in going on.
    """
    if not len(few):
        return None
    columns = state.contents.columns
    try:
        state.items.make(columns, few)
    except MailStoreError:
        # Told to whoever asks for the message.
        return None
    return int(columns.uids[few[-1]]) if state.upkeep.repair() else None


async def _fill_apart(state: MailboxState, few: Positions) -> tuple[int | None, float]:
    """
    As L{_fill_here}, in a thread.

    @return: What that does, and how many seconds of the processor it took.
    """
    columns = state.contents.columns
    uids = columns.uids[few].tolist()
    try:
        summaries, took = await in_thread(state.services.reactor, _timed, state.items.summaries, uids)
    except MailStoreError:
        return None, 0.0
    if state.gone:
        return None, took
    began = thread_time()
    # The rows may be others by now.
    columns = state.contents.columns
    now = columns.uids[: columns.count].searchsorted(np.array(uids, dtype=np.uint32))
    here = [
        (position, summary)
        for position, uid, summary in zip(now.tolist(), uids, summaries, strict=True)
        if position < columns.count and columns.uids[position] == uid
    ]
    state.items.take(columns, np.array([position for position, _ in here], dtype=np.intp), [each for _, each in here])
    reached = uids[-1] if state.upkeep.repair() else None
    return reached, took + thread_time() - began


def _timed(work: Callable[[list[int]], T], uids: list[int]) -> tuple[T, float]:
    """What it returns, and how many seconds of the processor this thread took."""
    began = thread_time()
    result = work(uids)
    return result, thread_time() - began


def _is_newest(columns: Columns, uid: int) -> bool:
    """Whether no message has a larger UID."""
    return not columns.count or int(columns.uids.item(columns.count - 1)) <= uid


def _missing(columns: Columns, done: int) -> Positions:
    """The next few positions; those before are not looked at again."""
    if _is_newest(columns, done):
        return _NONE
    newest = columns.count - 1
    if newest == 0 or columns.uids.item(newest - 1) <= done:
        # One that came alone, as most do, costs no arrays.
        return _NONE if columns.cache_lengths.item(newest) else np.array((newest,), dtype=np.intp)
    start = int(columns.uids[: columns.count].searchsorted(np.uint32(done), "right"))
    for low in range(start, columns.count, _LOOKED_AT):
        found = np.flatnonzero(columns.cache_lengths[low : min(low + _LOOKED_AT, columns.count)] == 0)
        if len(found):
            return found[:FEW] + low
    return _NONE
