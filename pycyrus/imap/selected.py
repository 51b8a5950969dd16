"""
The selected mailbox as its client knows it (RFC 9051 sections 3.3 and 7.5.1).

The view that the client was told of stays until L{SelectedMailbox.tell_updates}
has told the difference.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import numpy as np

from pycyrus.errors import MailboxNotFound
from pycyrus.imap.selection import BLOCK, END, Selection, empty_view
from pycyrus.imap.wire.fetch import Column
from pycyrus.imap.wire.fetch_lines import LineFormat, line_format
from pycyrus.imap.wire.flags import encode_defined_flags
from pycyrus.model.acl import DELETE_MESSAGES, KEEP_SEEN, READ, WRITE
from pycyrus.model.flags import ANSWERED, DELETED, DRAFT, FLAGGED, MAX_KEYWORDS, SEEN, SYSTEM_FLAG_NAMES
from pycyrus.model.uids import Positions, encode_numbers
from pycyrus.model.view import View

MAX_FLAG_LINES = 2 * BLOCK
"""Flag changes told at the end of one command; the rest follows with the next."""

_NO_POSITIONS: Positions = np.empty(0, dtype=np.intp)

_FLAG_RIGHTS = ((ANSWERED, WRITE), (FLAGGED, WRITE), (DRAFT, WRITE), (DELETED, DELETE_MESSAGES), (SEEN, KEEP_SEEN))
NO_RIGHTS: frozenset[str] = frozenset()


class Output(Protocol):
    """Where updates go: the session."""

    def write(self, data: bytes) -> None:
        """Send untagged lines."""


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


class SelectedMailbox(Selection):
    """What one session knows of its mailbox, and how it is told of changes."""

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
