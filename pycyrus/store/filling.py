"""
Cached items that are made after their message was acknowledged.

A small message that one mailbox gets is appended without its cached items,
which cost as much as all the rest of an append; its row says that they are
nowhere.  They follow when the process is quiet, and all that are missing when
somebody is about to read many.  Whoever reads a few before that has them made
on the spot (L{pycyrus.store.items}), and after a crash it is no different.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pycyrus.errors import MailStoreError
from pycyrus.model.uids import Positions
from pycyrus.store.columns import Columns
from pycyrus.store.leisure import Leisure
from pycyrus.store.threads import StoreReactor, sleep

if TYPE_CHECKING:
    from pycyrus.store.mailbox import MailboxState

QUIET = 0.05
"""Seconds without an append that are taken for leisure."""
PATIENCE = 2.0
"""Seconds after which the work begins though there is none."""
FEW = 8
"""Messages whose items are made in one stretch, which then takes about a millisecond."""
_MANY_OCTETS = 1 << 16
_LOOKED_AT = 4096


class CacheFiller:
    """Makes up for what the appends of a process left out."""

    def __init__(self, reactor: StoreReactor) -> None:
        self._waiting: dict[MailboxState, int] = {}
        self._leisure = Leisure(reactor, self._work, quiet=QUIET, patience=PATIENCE)

    def later(self, state: MailboxState) -> None:
        """A mailbox has messages without cached items."""
        self._waiting.setdefault(state, 0)
        self._leisure.came()

    def stop(self) -> None:
        """Leave what is not done to those who read it."""
        self._waiting.clear()
        self._leisure.stop()

    def _work(self) -> None:
        state, done = next(iter(self._waiting.items()))
        reached = fill_some(state, done)
        if reached is None:
            del self._waiting[state]
        else:
            self._waiting[state] = reached
        if self._waiting:
            self._leisure.go_on()


async def fill(state: MailboxState) -> None:
    """Make all cached items that are missing, with pauses for others."""
    done = fill_some(state, 0)
    while done is not None:
        await sleep(state.services.reactor, 0)
        done = fill_some(state, done)


def fill_some(state: MailboxState, done: int) -> int | None:
    """
    Make the cached items of a few messages, and write them.

    @param done: The UID up to which there is nothing to do.
    @return: The same, for the next time; None if there is nothing more to do,
        or no point in going on.
    """
    if state.gone:
        return None
    columns = state.contents.columns
    missing = _missing(columns, done)
    few = missing[: max(int(np.searchsorted(columns.sizes[missing].cumsum(), _MANY_OCTETS)), 1)]
    if not len(few):
        return None
    try:
        state.items.make(columns, few)
    except MailStoreError:
        # Told to whoever asks for the message.
        return None
    return int(columns.uids[few[-1]]) if state.upkeep.repair() else None


def _missing(columns: Columns, done: int) -> Positions:
    """The next few positions; those before are not looked at again."""
    start = int(columns.uids[: columns.count].searchsorted(np.uint32(done), "right"))
    for low in range(start, columns.count, _LOOKED_AT):
        found = np.flatnonzero(columns.cache_lengths[low : min(low + _LOOKED_AT, columns.count)] == 0)
        if len(found):
            return found[:FEW] + low
    return np.empty(0, dtype=np.intp)
