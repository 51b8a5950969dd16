"""
The messages of a mailbox as columns: what a session works on.

Hot paths take arrays of positions, never a message at a time.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycyrus.model.uids import Positions, UidArray


class CachedItem(enum.IntEnum):
    """What the cache holds for each message, in the order of its record."""

    ENVELOPE = 0
    """C{(date subject from ...)} as FETCH ENVELOPE prints it."""
    BODYSTRUCTURE = 1
    """As FETCH BODYSTRUCTURE prints it."""
    BODY = 2
    """As FETCH BODY prints it."""
    SECTIONS = 3
    """Where the parts lie in the message: see C{mime/sections.py}."""
    HEADERS = 4
    """Raw lines of the header fields that clients list and threads need."""
    PREVIEW = 5
    """RFC 8970: at most 200 characters of UTF-8, not quoted."""
    FROM = 6
    TO = 7
    CC = 8
    BCC = 9
    SUBJECT = 10
    """FROM to SUBJECT: decoded, case-folded UTF-8, for SEARCH and SORT."""


CACHED_ITEMS = len(CachedItem)

LARGEST_MESSAGE = 0xFFFFFFFF
"""Octets: RFC822.SIZE is a number of 32 bits (RFC 3501 section 9)."""


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """
    Columns of a mailbox's messages, in UID order.

    Membership never changes during the life of a view: uids, sizes, dates and
    guids stay as they are, so sessions may keep a view across awaits.  The
    columns flags, keywords and modseqs are live: they show what is committed
    to the journal now, which is what FETCH must tell.  They change only on
    the reactor thread, between awaits.

    @ivar uids: Ascending.
    @ivar internaldates: Seconds since the epoch.
    @ivar savedates: Seconds since the epoch (RFC 8514).
    @ivar sent_times: The Date field, seconds since the epoch; the
        internaldate where it is missing or broken.
    @ivar sent_days: The Date field's day as written, disregarding time and
        zone (RFC 9051 section 6.4.4 SENTON), in days since the epoch.
    @ivar flags: Bits of L{pycyrus.model.flags.SystemFlag}; seen is this
        user's.
    @ivar keywords: Shape (n, 2): bit i of word w is keyword 64 * w + i.
    @ivar guids: SHA-1 of the message, 20 octets each.
    @ivar cached: Wire bytes of cached items: for each item asked for, a list
        with the bytes of each position.  It may raise
        L{pycyrus.errors.StoreUnavailable}.
    @ivar cached_sizes: About how many octets the cached items of each message
        have together, so that not too many are asked for at a time; None if
        that is not known.
    """

    uids: UidArray
    sizes: NDArray[np.uint32]
    internaldates: NDArray[np.int64]
    savedates: NDArray[np.int64]
    sent_times: NDArray[np.int64]
    sent_days: NDArray[np.int32]
    flags: NDArray[np.uint32]
    keywords: NDArray[np.uint64]
    modseqs: NDArray[np.uint64]
    guids: NDArray[np.void]
    cached: Callable[[Positions, Sequence[CachedItem]], list[list[bytes]]]
    cached_sizes: NDArray[np.uint32] | None = None

    def __len__(self) -> int:
        return len(self.uids)
