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
from pycyrus.store.leisure import Leisure
from pycyrus.store.threads import StoreReactor, sleep

if TYPE_CHECKING:
    from pycyrus.store.mailbox import MailboxState

QUIET = 0.05
"""Seconds without an append that are taken for leisure."""
PATIENCE = 2.0
"""Seconds after which the work begins though there is none."""
REST = 0.02
"""Seconds between two stretches of work in a process that is busy."""
FEW = 8
"""Messages whose items are made in one stretch, which then takes about a millisecond."""
_MANY_OCTETS = 1 << 16


class CacheFiller:
    """Makes up for what the appends of a process left out."""

    def __init__(self, reactor: StoreReactor) -> None:
        self._waiting: dict[MailboxState, None] = {}
        self._leisure = Leisure(reactor, self._work, quiet=QUIET, patience=PATIENCE)

    def later(self, state: MailboxState) -> None:
        """A mailbox has messages without cached items."""
        self._waiting[state] = None
        self._leisure.came()

    def stop(self) -> None:
        """Leave what is not done to those who read it."""
        self._waiting.clear()
        self._leisure.stop()

    def _work(self) -> None:
        state = next(iter(self._waiting))
        if not fill_some(state):
            del self._waiting[state]
        if self._waiting:
            self._leisure.go_on(0 if self._leisure.is_quiet() else REST)


async def fill(state: MailboxState) -> None:
    """Make all cached items that are missing, with pauses for others."""
    while fill_some(state):
        await sleep(state.services.reactor, 0)


def fill_some(state: MailboxState) -> bool:
    """
    Make the cached items of a few messages, and write them.

    @return: Whether there is more to do, and a point in going on.
    """
    if state.gone:
        return False
    columns = state.contents.columns
    missing = _missing(state)
    few = missing[: max(int(np.searchsorted(columns.sizes[missing[:FEW]].cumsum(), _MANY_OCTETS)), 1)]
    try:
        state.items.make(columns, few)
    except MailStoreError:
        # Told to whoever asks for the message.
        return False
    return state.upkeep.repair() and len(missing) > len(few)


def _missing(state: MailboxState) -> Positions:
    columns = state.contents.columns
    return np.flatnonzero(columns.cache_lengths[: columns.count] == 0)
