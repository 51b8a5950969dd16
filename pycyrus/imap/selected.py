"""
The selected mailbox as its client knows it (RFC 9051 sections 3.3 and 7.5.1).

A client counts messages by what it was told.  So sequence numbers are positions
in the view it was told of, which stays until L{SelectedMailbox.tell_updates} has
told the difference.  While nothing lags that view is the mailbox's own, shared by
all sessions: a session then holds nothing per message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from pycyrus.errors import MailboxNotFound, PermissionDenied
from pycyrus.imap.replies import Bad
from pycyrus.imap.wire.fetch import Column
from pycyrus.imap.wire.fetch_lines import LineFormat, Rows, line_format
from pycyrus.imap.wire.flags import encode_defined_flags, flag_lists
from pycyrus.interfaces import IMailbox
from pycyrus.model.acl import DELETE_MESSAGES, KEEP_SEEN, READ, WRITE
from pycyrus.model.flags import ANSWERED, DELETED, DRAFT, FLAGGED, MAX_KEYWORDS, SEEN, SYSTEM_FLAG_NAMES
from pycyrus.model.uids import (
    LARGEST,
    Positions,
    SequenceSet,
    UidArray,
    bounds_of,
    encode_numbers,
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
MAX_FLAG_LINES = 2 * BLOCK
"""Flag changes told at the end of one command; the rest follows with the next."""
END = 1 << 32
"""Beyond all UIDs."""
MAX_RECENT_RANGES = 100
"""Beyond this the oldest messages cease to be recent."""

NO_UIDS: UidArray = np.empty(0, dtype=np.uint32)
_NO_POSITIONS: Positions = np.empty(0, dtype=np.intp)

CONDSTORE, QRESYNC, IMAP4REV2, UIDONLY = b"CONDSTORE", b"QRESYNC", b"IMAP4REV2", b"UIDONLY"

_FLAG_RIGHTS = ((ANSWERED, WRITE), (FLAGGED, WRITE), (DRAFT, WRITE), (DELETED, DELETE_MESSAGES), (SEEN, KEEP_SEEN))
NO_RIGHTS: frozenset[str] = frozenset()
WRITING_RIGHTS = frozenset("switen")
"""With any of these a mailbox is selected READ-WRITE."""


@dataclass(frozen=True, slots=True, eq=False)
class FlagColumns:
    """What can change of messages, as it was at some time."""

    flags: NDArray[np.uint32]
    keywords: NDArray[np.uint64]
    modseqs: NDArray[np.uint64]


class Output(Protocol):
    """Where updates go: the session."""

    def write(self, data: bytes) -> None:
        """Send untagged lines."""


def _no_cached(positions: Positions, items: Sequence[CachedItem]) -> list[list[bytes]]:
    return [[] for _ in items]


class _Changes:
    """
    The answer to the last question of L{since}.

    When something happens in a mailbox that a thousand sessions watch, they
    all ask the same, one after another.
    """

    def __init__(self) -> None:
        self._view: View | None = None
        self._since = self._highest = 0
        self._positions = _NO_POSITIONS

    def since(self, view: View, since: int, highest: int) -> Positions:
        """
        Positions of the messages of a live view that changed after a modseq.

        @param highest: The mailbox's highest modseq now.
        """
        if view is not self._view or since != self._since or highest != self._highest:
            self._view, self._since, self._highest = view, since, highest
            self._positions = np.flatnonzero(view.modseqs > np.uint64(since))
        return self._positions


_changes = _Changes()


@lru_cache(maxsize=512)
def _permanent_flags(rights: frozenset[str], keyword_names: tuple[bytes, ...]) -> bytes:
    permitted = {bit for bit, right in _FLAG_RIGHTS if right in rights}
    names = [name for bit, name in SYSTEM_FLAG_NAMES if bit in permitted]
    if WRITE in rights:
        keywords = [name for name in keyword_names if name]
        names += keywords
        if len(keywords) < MAX_KEYWORDS:
            names.append(rb"\*")
    return b"* OK [PERMANENTFLAGS (%b)] Ok\r\n" % b" ".join(names)


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


class SelectedMailbox:
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

    # --- telling ---

    def has_been_told_all(self) -> bool:
        """Whether the client knows all flags as they are now, as far as this process has heard."""
        return self._told_modseq == self.mailbox.highest_modseq() and self._resume is None and not self._is_gone

    def is_next(self, modseq: int | None) -> bool:
        """Whether nobody else changed anything between what the client was told and the change of this modseq."""
        return modseq is None or modseq == self._told_modseq + 1

    def was_told(self, modseq: int | None) -> None:
        """The client knows a change of its own, by the reply or because it asked for silence."""
        if modseq is None:
            return
        if modseq == self._told_modseq + 1 and self._resume is None:
            self._told_modseq = modseq
        else:
            self._own_modseqs.add(modseq)

    def tell_updates(self, output: Output, may_expunge: bool) -> bool:
        """
        Tell the client what changed since it was last told: the only place that does.

        @param output: Takes the lines.
        @param may_expunge: False while the client may count on its message
            numbers: FETCH, STORE, SEARCH (RFC 9051 section 7.5.1).
        @return: Whether there is more to tell, now that much has been told.
        @raise StoreUnavailable: The mailbox cannot be read.
        """
        if self._is_gone:
            self._tell_gone(output, may_expunge)
            return False
        try:
            counter = self.mailbox.refresh()
        except MailboxNotFound:
            # Deleted or hidden: to the client it becomes empty.
            if not self.becomes_empty:
                raise
            self._is_gone = True
            self._current = empty_view()
            self._places = np.full(len(self.view), -1, dtype=np.intp)
            self._tell_gone(output, may_expunge)
            return False
        annotations = self.annotation_changes
        if counter == self._counter and self._current is self.view and self._resume is None:
            return annotations is not None and annotations.tell(output)
        self._counter = counter
        self._relate()
        self._claim_recent(may_expunge)
        told_count = len(self.view)
        if self._places is not None and may_expunge:
            told_count -= self._tell_expunged(output)
        if self._places is None and self._current is not self.view:
            self.view = self._current
            if len(self.view) > told_count:
                self._tell_new(output)
        self.tell_keywords(output)
        is_cut = self._tell_flags(output, told_count)
        if self._places is None and not is_cut:
            self._whole_modseq = self.mailbox.highest_modseq()
        elif self.is_qresync:
            # RFC 7162 section 3.2: a client that lost the connection now must
            # not resume from a modseq above what it has yet to be told.
            output.write(b"* OK [HIGHESTMODSEQ %d] More to come\r\n" % self._whole_modseq)
        has_more = annotations is not None and annotations.tell(output)
        return is_cut or has_more

    def knows_all_before(self, modseq: int) -> bool:
        """Whether the client was told everything that happened before a change of its own."""
        return modseq <= self._whole_modseq + 1

    def _tell_gone(self, output: Output, may_expunge: bool) -> None:
        if may_expunge and len(self.view):
            self._tell_expunged(output)
            self.view = self._current

    def _tell_expunged(self, output: Output) -> int:
        """
        Tell what went; the messages left are then the first of the present view.

        @return: How many went.
        """
        assert self._places is not None
        gone = np.flatnonzero(self._places < 0)
        if self.is_qresync or self.is_uid_only:
            if len(gone):
                output.write(b"* VANISHED %b\r\n" % encode_numbers(self.view.uids[gone]))
        else:
            # From the last: so each number is still the message's own.
            output.write((b"* %d EXPUNGE\r\n" * len(gone)) % tuple((gone[::-1] + 1).tolist()))
        if self._resume is not None:
            self._resume = (self._resume[0], self._resume[1] - int(np.searchsorted(gone, self._resume[1])))
        self._places = None
        return len(gone)

    def _claim_recent(self, may_expunge: bool) -> None:
        """Take what is about to be told as recent: first of all, since that may catch up with other processes."""
        uids = self._current.uids
        is_told_now = self._places is None or may_expunge
        if self.read_only or not (self.has_recent and is_told_now and len(uids) and int(uids[-1]) >= self._uidnext):
            return
        first, last = self._claim()
        self._claimed = min(first, self._claimed[0]), max(last, self._claimed[1])
        self._counter = self.mailbox.refresh()
        self._relate()

    def _tell_new(self, output: Output) -> None:
        """Tell how many messages there are now."""
        uids = self.view.uids
        first_new = self._uidnext
        self._uidnext = max(self._uidnext, int(uids[-1]) + 1)
        output.write(b"* %d EXISTS\r\n" % len(uids))
        if self.has_recent:
            first, last = (first_new, END) if self.read_only else self._claimed
            # What was told before as not recent stays so.
            self._add_recent(max(first, first_new), last)
            self._claimed = (END, 0)
            output.write(b"* %d RECENT\r\n" % self.recent_count())

    def tell_keywords(self, output: Output) -> None:
        """Tell the mailbox's flags before the first message that has a new one (RFC 9051 section 7.3.5)."""
        names = self.mailbox.keyword_names()
        if names is self._told_keywords or set(names) <= set(self._told_keywords):
            return
        self._told_keywords = names
        output.write(encode_defined_flags(names) + self.encode_permanent_flags())

    def _tell_flags(self, output: Output, told_count: int) -> bool:
        """Tell the flags that others changed, of the messages that were told before."""
        highest = self.mailbox.highest_modseq()
        if highest == self._told_modseq and self._resume is None:
            return False
        if READ not in self.mailbox.rights():
            self._told_modseq = highest
            return False
        changed = self._changed(told_count, highest)
        if self._own_modseqs and len(changed):
            own = np.fromiter(self._own_modseqs, dtype=np.uint64)
            changed = changed[~np.isin(self._live(changed)[2], own)]
        is_cut = len(changed) > MAX_FLAG_LINES
        if is_cut:
            changed = changed[:MAX_FLAG_LINES]
            self._resume = (highest, int(changed[-1]) + 1)
        else:
            self._resume = None
            self._told_modseq = max(self._told_modseq, highest)
            self._own_modseqs.clear()
        if len(changed):
            columns = self._update_format()
            for start in range(0, len(changed), BLOCK):
                output.write(columns.encode(self.rows(changed[start : start + BLOCK])))
        return is_cut

    def _changed(self, told_count: int, highest: int) -> Positions:
        """Which of the first C{told_count} messages have flags that were not told."""
        if self._places is None and self._resume is None:
            changed = _changes.since(self._current, self._told_modseq, highest)
            return changed[: np.searchsorted(changed, told_count)]
        modseqs = self._live(slice(0, told_count))[2]
        is_changed = modseqs > np.uint64(self._told_modseq)
        if self._resume is not None:
            floor, place = self._resume
            is_changed[:place] &= modseqs[:place] > np.uint64(floor)
        if self._places is not None:
            is_changed &= self._places[:told_count] >= 0
        return np.flatnonzero(is_changed)

    def _update_format(self) -> LineFormat:
        columns = [Column.FLAGS]
        # RFC 7162 section 3.2.4 demands the UID once QRESYNC is enabled.
        if self.is_qresync or self.tells_uids or not self.has_recent:
            columns.insert(0, Column.UID)
        if self.is_condstore:
            columns.append(Column.MODSEQ)
        return line_format(tuple(columns))

    def encode_permanent_flags(self) -> bytes:
        """Write C{* OK [PERMANENTFLAGS (...)]}: what this client can change for good."""
        rights = NO_RIGHTS if self.read_only else self.mailbox.rights()
        return _permanent_flags(rights, self.mailbox.keyword_names())

    def close(self) -> None:
        """End the session's hold on the mailbox."""
        self.view = self._current = empty_view()
        self.mailbox.close()
