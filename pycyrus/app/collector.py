"""When Python's cyclic garbage collector looks at what."""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING

from pycyrus.app import allocator

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

_THRESHOLDS = (4_000, 2, 1_000_000)
"""
Few cycles are made here, and most of what lives long is a session's or a
mailbox's.  The first two numbers bound what is looked at in one go, to a
millisecond or two; the third has all that lives long left out, which a process
with large mailboxes would look at for a quarter of a second.
"""

LOOK = 10.0
"""Seconds between two looks whether it is time for a full collection."""
QUIET = 0.05
"""The part of this time for which a quiet process works, its threads as well: somebody waits for what they do."""
PATIENCE = 600.0
"""Seconds after which there is a full collection in a process that is never quiet."""
FEW = 5
"""Times that new objects were looked at; after fewer there is nothing to be gained."""
MANY = 200
"""The same; after more than these the memory that could be gained is worth the time, in a busy process too."""


def settle(clock: IReactorTime) -> None:
    """
    Leave out of all collections what exists now, which is there to stay.

    A full collection looks at everything else at once; it happens when nobody is
    served.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
    FullCollections(clock).start()


class FullCollections:
    """Finds the time for them."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._last = clock.seconds()
        self._used = 0.0

    def start(self) -> None:
        """Look from now on, as long as the reactor runs."""
        self._used = time.process_time()
        self._clock.callLater(LOOK, self._look)

    def _look(self) -> None:
        now, used = self._clock.seconds(), time.process_time()
        is_quiet = used - self._used < QUIET * LOOK
        looks = gc.get_count()[2]
        if looks >= FEW and (is_quiet or looks >= MANY or now - self._last >= PATIENCE):
            gc.collect()
            self._last = now
            if is_quiet:
                allocator.give_back()
        self.start()
