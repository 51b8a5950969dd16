"""What one user has seen of a mailbox that is not the user's own, laid over its flags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pycyrus.model.flags import SEEN
from pycyrus.model.uids import UidArray
from pycyrus.model.view import View


class ISeenState(Protocol):
    """
    What one user has seen in a mailbox that is not their own.

    @ivar counter: Changes when another process changed it.
    @ivar recent_uid: Messages up to this UID are not recent for this user.
    """

    @property
    def counter(self) -> int:
        """See above."""

    @property
    def recent_uid(self) -> int:
        """See above."""

    def refresh(self) -> None:
        """Look for changes of other processes."""

    def seen_uids(self) -> Sequence[tuple[int, int]]:
        """Ascending disjoint ranges of seen UIDs."""

    def set(self, uids: UidArray, seen: bool) -> None:
        """Mark messages."""

    def set_recent(self, uid: int) -> None:
        """Messages up to this UID are not recent any more."""

    async def save(self) -> None:
        """Let other processes see it."""


class SeenOverlay:
    """
    A view whose flags show what one user has seen.

    Its live columns are copies, all of one moment: flags must not be told with a modseq that came after them.
    """

    def __init__(self, seen: ISeenState) -> None:
        self._seen = seen
        self._base: View | None = None
        self._view: View | None = None
        self._flags: NDArray[np.uint32] = np.empty(0, dtype=np.uint32)
        self._version = -1
        self._unseen: tuple[int, int] | None = None

    def view(self, base: View, version: int) -> View:
        """Show the seen state over a view."""
        mine = self._view
        if mine is None or base is not self._base:
            self._base = base
            self._flags = base.flags.copy()
            self._view = mine = replace(
                base, flags=self._flags, keywords=base.keywords.copy(), modseqs=base.modseqs.copy()
            )
            self._version = -1
        # Not when what was seen changes, but with the modseq that tells of it.
        if version != self._version:
            self._version = version
            self._unseen = None
            self._seen.refresh()
            flags = base.flags & np.uint32(~SEEN & 0xFFFFFFFF)
            for low, high in self._seen.seen_uids():
                start = int(base.uids.searchsorted(np.uint32(low)))
                stop = int(base.uids.searchsorted(np.uint32(min(high, 0xFFFFFFFF)), "right"))
                flags[start:stop] |= np.uint32(SEEN)
            self._flags[:] = flags
            mine.keywords[:] = base.keywords
            mine.modseqs[:] = base.modseqs
        return mine

    def unseen(self) -> tuple[int, int]:
        """How many are unseen, and the sequence number of the first; 0 if none."""
        if self._unseen is None:
            unseen = np.flatnonzero(self._flags & SEEN == 0)
            self._unseen = (len(unseen), int(unseen[0]) + 1 if len(unseen) else 0)
        return self._unseen
