"""
The messages of the selected mailbox as its client counts them (RFC 9051 section 2.3.1).

A client counts messages by what it was told.  So sequence numbers are positions
in the view it was told of.  While nothing lags that view is the mailbox's own,
shared by all sessions: a session then holds nothing per message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pycyrus.errors import PermissionDenied
from pycyrus.imap.replies import Bad
from pycyrus.imap.wire.fetch_lines import Rows
from pycyrus.imap.wire.flags import flag_lists
from pycyrus.interfaces import IMailbox
from pycyrus.model.uids import (
    LARGEST,
    Positions,
    SequenceSet,
    UidArray,
    bounds_of,
    positions_in,
    spans,
)
from pycyrus.model.view import CachedItem, View

if TYPE_CHECKING:
    from pycyrus.imap.annotation_changes import AnnotationChanges
    from pycyrus.imap.contexts import Context
    from pycyrus.imap.opening import Opening

BLOCK = 2048
"""Lines written in one format operation: about a millisecond's work."""
END = 1 << 32
"""Beyond all UIDs."""
MAX_RECENT_RANGES = 100
"""Beyond this the oldest messages cease to be recent."""

NO_UIDS: UidArray = np.empty(0, dtype=np.uint32)

CONDSTORE, QRESYNC, IMAP4REV2, UIDONLY = b"CONDSTORE", b"QRESYNC", b"IMAP4REV2", b"UIDONLY"

WRITING_RIGHTS = frozenset("switen")
"""With any of these a mailbox is selected READ-WRITE."""


@dataclass(frozen=True, slots=True, eq=False)
class FlagColumns:
    """What can change of messages, as it was at some time."""

    flags: NDArray[np.uint32]
    keywords: NDArray[np.uint64]
    modseqs: NDArray[np.uint64]


def _no_cached(positions: Positions, items: Sequence[CachedItem]) -> list[list[bytes]]:
    return [[] for _ in items]


@cache
def empty_view() -> View:
    """The view of a mailbox that is gone."""
    longs = np.empty(0, dtype=np.int64)
    bits = np.empty(0, dtype=np.uint32)
    return View(
        uids=NO_UIDS,
        sizes=bits,
        internaldates=longs,
        savedates=longs,
        sent_times=longs,
        sent_days=np.empty(0, dtype=np.int32),
        flags=bits,
        keywords=np.empty((0, 2), dtype=np.uint64),
        modseqs=np.empty(0, dtype=np.uint64),
        guids=np.empty(0, dtype="V20"),
        cached=_no_cached,
    )


class Selection:
    """
    What one session knows of its mailbox.

    @ivar mailbox: Opened for this session.
    @ivar read_only: By EXAMINE, or for want of rights.
    @ivar view: The messages that the client was told of.
    @ivar becomes_empty: To the client, once it is gone.
    @ivar saved: UIDs of the saved search result, C{$} (RFC 5182).
    @ivar contexts: Searches that are kept up to date, by tag (RFC 5267).
    @ivar opening: What was told when it was selected; None if that can be told once only.
    @ivar annotation_changes: Tells them; None if the client does not want to know.
    @ivar tells_uids: Of whatever changed (RFC 5465 section 5.1).
    """

    def __init__(self, mailbox: IMailbox, *, read_only: bool, enabled: set[bytes], becomes_empty: bool = True) -> None:
        """
        Take the mailbox as it is now; the caller tells the client so.

        @param becomes_empty: False to raise L{MailboxNotFound} once it is gone.
        @param enabled: The session's own set of enabled extensions, which may
            grow (RFC 5161).
        """
        self.mailbox = mailbox
        self.read_only = read_only
        self.becomes_empty = becomes_empty
        self.saved: UidArray = NO_UIDS
        self.contexts: dict[bytes, Context] = {}
        self.opening: Opening | None = None
        self.tells_uids = False
        self.annotation_changes: AnnotationChanges | None = None
        self._enabled = enabled
        self._counter = mailbox.refresh()
        recent = (1, 0)
        if self.has_recent and read_only:
            recent = (mailbox.counts().recent_from, END)
        elif self.has_recent:
            recent = self._claim()
            # That may have caught up with other processes: what the client is
            # told must be of one time, HIGHESTMODSEQ above all.
            self._counter = mailbox.refresh()
        self.view: View = mailbox.view()
        self._told_modseq = self._whole_modseq = mailbox.highest_modseq()
        self._told_keywords = mailbox.keyword_names()
        self._own_modseqs: set[int] = set()
        self._resume: tuple[int, int] | None = None
        self._recent: list[tuple[int, int]] = []
        self._claimed = (END, 0)
        self._uidnext = max(mailbox.uidnext(), int(self.view.uids[-1]) + 1 if len(self.view) else 1)
        # Where the messages of the told view are in the mailbox's own.
        self._current: View = self.view
        self._places: NDArray[np.intp] | None = None
        self._is_gone = False
        if self.has_recent:
            self._add_recent(*recent)

    @property
    def last_uid(self) -> int:
        """The highest UID that the client was told of; 0 for none."""
        return int(self.view.uids[-1]) if len(self.view) else 0

    @property
    def counter(self) -> int:
        """The mailbox's when the client was last told of it."""
        return self._counter

    # --- modes ---

    @property
    def is_condstore(self) -> bool:
        """Whether mod-sequences are told (RFC 7162 section 3.1)."""
        return CONDSTORE in self._enabled or QRESYNC in self._enabled

    @property
    def is_qresync(self) -> bool:
        """Whether VANISHED stands for EXPUNGE (RFC 7162 section 3.2.10)."""
        return QRESYNC in self._enabled

    @property
    def is_uid_only(self) -> bool:
        """Whether message numbers are neither told nor taken (RFC 9586)."""
        return UIDONLY in self._enabled

    @property
    def has_recent(self) -> bool:
        r"""Whether the client knows C{\Recent}: not in IMAP4rev2 (RFC 9051 appendix E)."""
        return IMAP4REV2 not in self._enabled

    def demand(self, right: str) -> None:
        """
        Check a right, as it is now.

        @raise PermissionDenied: It is lacking.
        @raise MailboxNotFound: The mailbox is gone.
        """
        if right not in self.mailbox.rights():
            raise PermissionDenied(right)

    # --- which messages ---

    def positions(self, sequence: SequenceSet | None, *, by_uid: bool) -> Positions:
        """
        The messages a client means, by what it was told.

        @param sequence: None for the saved search result.
        @raise Bad: A message number that the client has not been told of.
        """
        told = self.view.uids
        if sequence is None:
            return self.positions_of_uids(self.saved)
        if by_uid:
            return sequence.uid_positions(told)
        if self.is_uid_only:
            raise Bad(b"Message numbers are not allowed once UIDONLY is enabled", b"UIDREQUIRED")
        self._require_told(sequence)
        if len(sequence.ranges) == 1:
            # What clients ask for most needs no arrays of bounds.
            [(low, high)] = sequence.resolve(len(told)) or [(1, 0)]
            return np.arange(low - 1, min(high, len(told)), dtype=np.intp)
        bounds = self._number_bounds(sequence)
        return spans(bounds[:, 0] - 1, bounds[:, 1])

    def _number_bounds(self, numbers: SequenceSet) -> NDArray[np.int64]:
        if self.is_uid_only:
            raise Bad(b"Message numbers are not allowed once UIDONLY is enabled", b"UIDREQUIRED")
        count = len(self.view)
        bounds = numbers.bounds(count)
        bounds = bounds[bounds[:, 0] <= count]
        bounds[:, 1] = np.minimum(bounds[:, 1], count)
        return bounds

    def _require_told(self, numbers: SequenceSet) -> None:
        if len(numbers.ranges) == 1:
            if LARGEST not in numbers.ranges[0] and max(numbers.ranges[0]) > len(self.view):
                raise Bad(b"Invalid sequence")
            return
        bounds = bounds_of(numbers.ranges)
        # With "*" a range cannot miss: 7:* of five messages is the fifth.
        # Clients ask so for what is new.
        is_fixed = bounds.min(axis=1) != LARGEST
        if (bounds.max(axis=1)[is_fixed] > len(self.view)).any():
            raise Bad(b"Invalid sequence")

    def uid_bounds(self, numbers: SequenceSet, *, by_uid: bool) -> SequenceSet:
        """
        Say a set of a search by UIDs, without C{*}.

        It may hold UIDs of messages that came since the client was last told,
        but of no other message that it did not mean.  Numbers beyond the last
        message match none, as in Cyrus and Dovecot.

        @raise Bad: Message numbers are not allowed.
        """
        uids = self.view.uids
        if by_uid:
            return SequenceSet(tuple(numbers.resolve(int(uids[-1]) if len(uids) else 0)))
        bounds = self._number_bounds(numbers) - 1
        return SequenceSet(tuple(zip(uids[bounds[:, 0]].tolist(), uids[bounds[:, 1]].tolist(), strict=True)))

    def positions_of_uids(self, uids: UidArray) -> Positions:
        """Where ascending UIDs are in the told view; others are left out."""
        return positions_in(self.view.uids, uids)

    def recent_ranges(self) -> list[tuple[int, int]]:
        """Bounds of the UIDs that are recent in this session, both included."""
        return self._recent

    def recent_count(self) -> int:
        """How many of the told messages are recent."""
        if not self._recent:
            return 0
        bounds = np.array(self._recent)
        uids = self.view.uids
        starts, stops = np.searchsorted(uids, bounds[:, 0], "left"), np.searchsorted(uids, bounds[:, 1], "right")
        return int((stops - starts).sum())

    def _recent_mask(self, uids: UidArray) -> NDArray[np.bool_] | None:
        if not self._recent or not len(uids) or int(uids[-1]) < self._recent[0][0] or not self.has_recent:
            return None
        mask = np.zeros(len(uids), dtype=np.bool_)
        for low, high in self._recent:
            mask |= (uids >= low) & (uids <= high)
        return mask

    def _claim(self) -> tuple[int, int]:
        """
        Take the recent messages, so that they are recent in no other session.

        @return: The first UID and the last one: what comes behind is for whoever claims next.
        """
        first = max(self.mailbox.claim_recent(), 1)
        return first, self.mailbox.counts().recent_from - 1

    def _add_recent(self, first: int, last: int) -> None:
        last = min(last, self._uidnext - 1)
        if first > last:
            return
        if self._recent and first <= self._recent[-1][1] + 1:
            self._recent[-1] = (min(first, self._recent[-1][0]), last)
        else:
            self._recent.append((first, last))
            del self._recent[:-MAX_RECENT_RANGES]

    def save(self, found: UidArray | None = None) -> None:
        """Remember a search result as C{$}; None for an empty one."""
        self.saved = NO_UIDS if found is None else found

    # --- rows ---

    def rows(self, positions: Positions) -> Rows:
        """
        Messages to tell of, with their flags as they are now.

        A message that is gone, but not yet told to be, is as it last was.

        @param positions: Ascending, in the told view.
        """
        view = self.view
        index: slice | Positions = positions
        if len(positions) and int(positions[-1]) - int(positions[0]) + 1 == len(positions):
            index = slice(int(positions[0]), int(positions[-1]) + 1)
        flags, keywords, modseqs = self._live(index)
        uids = view.uids[index]
        return Rows(
            numbers=uids if self.is_uid_only else positions + 1,
            is_uid_only=self.is_uid_only,
            uids=uids,
            flags=flags,
            keywords=keywords,
            modseqs=modseqs,
            recent=self._recent_mask(uids),
            sizes=view.sizes[index],
            internaldates=view.internaldates[index],
            savedates=view.savedates[index],
            guids=view.guids[index],
            cached=lambda items: view.cached(positions, items),
            flag_lists=flag_lists(self.mailbox.keyword_names()),
        )

    def live_flags(self, positions: Positions) -> FlagColumns:
        """What the flags of messages of the told view are now; copies."""
        # Indexing by an array copies.
        return FlagColumns(*self._live(positions))

    def untold(self, positions: Positions) -> NDArray[np.bool_]:
        """Which messages were changed by others since the client was last told."""
        modseqs = self._live(positions)[2]
        answer: NDArray[np.bool_] = modseqs > np.uint64(self._told_modseq)
        return answer

    def _live(self, index: slice | Positions) -> tuple[NDArray[np.uint32], NDArray[np.uint64], NDArray[np.uint64]]:
        self._relate()
        current = self._current
        if self._places is None:
            return current.flags[index], current.keywords[index], current.modseqs[index]
        view = self.view
        places = self._places[index]
        flags, keywords, modseqs = view.flags[index].copy(), view.keywords[index].copy(), view.modseqs[index].copy()
        here = places >= 0
        flags[here] = current.flags[places[here]]
        keywords[here] = current.keywords[places[here]]
        modseqs[here] = current.modseqs[places[here]]
        return flags, keywords, modseqs

    def _relate(self) -> None:
        """Find the told messages in the mailbox's present view."""
        current = self.mailbox.view() if not self._is_gone else self._current
        if current is self._current:
            return
        self._current = current
        told, now = self.view.uids, current.uids
        count = len(told)
        # UIDs ascend and new ones come last: if the last told message still
        # has its place, every one before it has.
        if not count or (len(now) >= count and now[count - 1] == told[-1]):
            self._places = None
            return
        if not len(now):
            self._places = np.full(count, -1, dtype=np.intp)
            return
        self._places = np.full(count, -1, dtype=np.intp)
        # Both ascend, so those that are in both have the same order.
        self._places[positions_in(told, now)] = positions_in(now, told)
