"""
What a mailbox contains, as the records of its journal make it.

One class applies records, whoever wrote them: this process just now, another
process, or anybody before this one started.  No file is touched here.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pycyrus.model.flags import DELETED, MAX_KEYWORDS, SEEN
from pycyrus.model.uids import Positions, UidArray, positions_of_ranges
from pycyrus.store import journal
from pycyrus.store.columns import Columns, PiecewiseRows, as_positions
from pycyrus.store.journal import CRITICAL, FlagMasks, Record
from pycyrus.store.message_annotations import MessageAnnotations

_WORD = 0xFFFFFFFFFFFFFFFF


class Contents:
    """
    The messages, keywords and numbers of a mailbox.

    @ivar version: Changes with every visible change.
    @ivar uidnext: The UID that the next message gets at least.
    @ivar recent_uid: Messages up to this UID are not recent any more.
    @ivar reserved: Limits of UIDs and modseqs in the last reservation.
    @ivar usable: The same of reservations known to be durable.
    @ivar durable_uid: Messages below were made durable before a reservation
        was confirmed.
    @ivar proposed_uid: What C{durable_uid} becomes when the last reservation is
        confirmed.
    @ivar vanished_floor: Expunges with a modseq up to this are forgotten.
    @ivar vanished: Rows of C{VANISHED_ROW}, modseq ascending.
    @ivar retained: Rows of C{RETAINED_ROW}: expunged, and the file still there.
    @ivar notes: Counts ACL and rename records.
    @ivar annotations: Of messages (RFC 5257).
    """

    def __init__(self) -> None:
        self.columns = Columns()
        self.keywords: list[bytes] = []
        self.keyword_bits: dict[bytes, int] = {}
        self._keyword_names: tuple[bytes, ...] | None = ()
        self.version = 0
        self.uidnext = 1
        self.highest_modseq = 1
        self.recent_uid = 0
        self.reserved = (1, 1)
        self.usable = (1, 1)
        self.durable_uid = 1
        self.proposed_uid = 1
        self.boot = bytes(16)
        self.vanished_floor = 0
        self._vanished = PiecewiseRows(journal.VANISHED_ROW)
        self._retained = PiecewiseRows(journal.RETAINED_ROW)
        self.notes = 0
        self.annotations = MessageAnnotations()
        self.renamed = 0
        self.unseen = 0
        self.deleted = 0
        self.size = 0
        self._seen_below = 0
        self._superseded: list[weakref.ref[Columns]] = []
        self._going: NDArray[np.bool_] | None = None

    # --- what is there ----------------------------------------------------

    def __len__(self) -> int:
        return self.columns.count

    @property
    def vanished(self) -> NDArray[np.void]:
        """All expunges that are remembered."""
        return self._vanished.all()

    @property
    def retained(self) -> NDArray[np.void]:
        """All expunged messages whose files are kept."""
        return self._retained.all()

    def history(self) -> int:
        """How many expunges are remembered."""
        return len(self._vanished.all())

    @property
    def keyword_names(self) -> tuple[bytes, ...]:
        """Names by bit number; the same object until one changes."""
        names = self._keyword_names
        if names is None:
            names = self._keyword_names = tuple(self.keywords)
        return names

    def first_unseen(self) -> int:
        """Sequence number of the first unseen message; 0 if none."""
        if not self.unseen:
            return 0
        flags = self.columns.flags
        count = self.columns.count
        start, step = self._seen_below, 64
        if start < count and not int(flags[start]) & SEEN:
            return start + 1
        while start < count:
            unseen = np.flatnonzero((flags[start : min(start + step, count)] & SEEN) == 0)
            if len(unseen):
                self._seen_below = start + int(unseen[0])
                return self._seen_below + 1
            start += step
            step = min(step * 4, 65536)
        return 0

    def recent_count(self) -> int:
        """How many messages no session was told of as recent."""
        columns = self.columns
        count = columns.count
        if not count or columns.uids[count - 1] <= self.recent_uid:
            return 0
        return count - int(columns.uids[:count].searchsorted(np.uint32(self.recent_uid), "right"))

    def vanished_since(self, modseq: int) -> UidArray:
        """Ascending UIDs expunged with a modseq above this; too many where it is forgotten."""
        count = self.columns.count
        if modseq < self.vanished_floor:
            # RFC 7162 section 3.2.5.2 lets a server tell more than happened.
            everything = np.ones(self.uidnext, dtype=np.bool_)
            everything[0] = False
            everything[self.columns.uids[:count]] = False
            return np.flatnonzero(everything).astype(np.uint32)
        rows = self._vanished.all()
        start = int(rows["modseq"].searchsorted(np.uint64(modseq), "right"))
        return np.sort(rows["uid"][start:]).astype(np.uint32)

    def keyword_bit(self, name: bytes) -> int | None:
        """The bit of a keyword; None if it has none yet."""
        return self.keyword_bits.get(name.lower())

    def free_keyword_bits(self) -> list[int]:
        """Bits that a new keyword may take: unnamed ones, then those that no message has."""
        free = [bit for bit in range(MAX_KEYWORDS) if bit >= len(self.keywords) or not self.keywords[bit]]
        if free:
            return free
        words = [0, 0]
        for rows in (self.columns.keywords[: self.columns.count], self._retained.all()["keywords"]):
            if len(rows):
                used = np.bitwise_or.reduce(rows, axis=0)
                words = [words[0] | int(used[0]), words[1] | int(used[1])]
        return [bit for bit in range(MAX_KEYWORDS) if not words[bit >> 6] >> (bit & 63) & 1]

    # --- records ----------------------------------------------------------

    def apply(self, records: Sequence[Record]) -> None:
        """
        Take in records, in order.

        @raise FormatTooNew: One is of a critical type that is not known.
        """
        index, total = 0, len(records)
        while index < total:
            record = records[index]
            kind = record.type
            if kind == journal.APPEND:
                stop = index + 1
                while stop < total and records[stop].type == journal.APPEND:
                    stop += 1
                self._append(records[index:stop])
                index = stop
                continue
            method = _METHODS.get(kind)
            if method is not None:
                method(self, record)
            elif kind & CRITICAL:
                raise journal.FormatTooNew(f"journal record type {kind} is not known to this version")
            index += 1
        if self._going is not None:
            self._drop_gone(self._going)
        self.version += 1

    def _append(self, records: Sequence[Record]) -> None:
        modseqs: NDArray[np.uint64] | int
        if self.annotations.coming:
            told = [(each.time, journal.unpack_rows(each, journal.ROW)["uid"].tolist()) for each in records]
            self.annotations.come(told)
        if len(records) == 1 and records[0].count == 1:
            self._append_one(records[0])
            return
        if len(records) == 1:
            rows = journal.unpack_rows(records[0], journal.ROW)
            modseqs = records[0].modseq
        else:
            rows = journal.join_rows(records, journal.ROW)
            modseqs = np.repeat(
                np.array([record.modseq for record in records], dtype=np.uint64), [record.count for record in records]
            )
        if not len(rows):
            return
        self._add(rows, modseqs)
        self.highest_modseq = max(self.highest_modseq, records[-1].modseq)

    def _append_one(self, record: Record) -> None:
        row = journal.unpack_row(record)
        columns = self.columns
        if columns.count == len(columns.uids):
            columns = columns.reserve(1)
            self._supersede(columns)
        columns.add_one(row, record.modseq)
        flags = row[6]
        self.unseen += not flags & SEEN
        self.deleted += bool(flags & DELETED)
        self.size += row[1]
        self.uidnext = max(self.uidnext, row[0] + 1)
        self.highest_modseq = max(self.highest_modseq, record.modseq)

    def _add(self, rows: NDArray[np.void], modseqs: NDArray[np.uint64] | int) -> None:
        columns = self.columns.reserve(len(rows))
        if columns is not self.columns:
            self._supersede(columns)
        columns.extend(rows, modseqs)
        flags = rows["flags"]
        if len(rows) == 1:
            one = int(flags[0])
            self.unseen += not one & SEEN
            self.deleted += bool(one & DELETED)
            self.size += int(rows["size"][0])
        else:
            self.unseen += int(np.count_nonzero((flags & SEEN) == 0))
            self.deleted += int(np.count_nonzero(flags & DELETED))
            self.size += int(rows["size"].sum(dtype=np.int64))
        self.uidnext = max(self.uidnext, int(rows["uid"][-1]) + 1)

    def _unexpunge(self, record: Record) -> None:
        rows = journal.unpack_rows(record, journal.RESTORED_ROW)
        if not len(rows):
            return
        self._add(rows, record.modseq)
        self.highest_modseq = max(self.highest_modseq, record.modseq)
        retained = self._retained.all()
        self._retained.replace(retained[~np.isin(retained["uid"], rows["was"])])
        if len(self.annotations):
            self.annotations.come_back(zip(rows["was"].tolist(), rows["uid"].tolist(), strict=True))

    def _flags(self, record: Record) -> None:
        masks, ranges = journal.unpack_flags(record)
        self.change_flags(masks, self.columns.within(ranges), record.modseq, touch=bool(record.flags & journal.TOUCH))

    def change_flags(self, masks: FlagMasks, where: slice | Positions, modseq: int, *, touch: bool) -> None:
        """
        Change flags in place, and the modseq of what changed.

        @param where: Ascending positions.
        """
        if isinstance(where, slice):
            first = where.start
            if where.stop - first == 1:
                self._change_one(masks, first, modseq, touch)
                return
            if where.stop <= first:
                return
        elif len(where):
            first = int(where[0])
        else:
            return
        columns = self.columns
        keep = np.uint32(~masks.clear & 0xFFFFFFFF)
        old = columns.flags[where]
        new = (old & keep) | np.uint32(masks.set)
        changed = old != new
        for word, (clear, add) in enumerate(masks.words()):
            if clear | add:
                before = columns.keywords[where, word]
                after = (before & np.uint64(~clear & _WORD)) | np.uint64(add)
                changed |= before != after
                columns.keywords[where, word] = after
        involved = masks.clear | masks.set
        if involved & SEEN:
            self.unseen += int(np.count_nonzero(old & SEEN)) - int(np.count_nonzero(new & SEEN))
            self._seen_below = min(self._seen_below, first)
        if involved & DELETED:
            self.deleted += int(np.count_nonzero(new & DELETED)) - int(np.count_nonzero(old & DELETED))
        columns.flags[where] = new
        if touch or changed.all():
            columns.modseqs[where] = modseq
        elif isinstance(where, slice):
            columns.modseqs[where][changed] = modseq
        else:
            columns.modseqs[where[changed]] = modseq
        self.highest_modseq = max(self.highest_modseq, modseq)
        if self._superseded:
            self._tell_superseded(where)

    def _change_one(self, masks: FlagMasks, position: int, modseq: int, touch: bool) -> None:
        columns = self.columns
        old = int(columns.flags[position])
        new = (old & ~masks.clear) | masks.set
        changed = touch or old != new
        if old != new:
            columns.flags[position] = new
            self.deleted += bool(new & DELETED) - bool(old & DELETED)
            if (old ^ new) & SEEN:
                self.unseen += bool(old & SEEN) - bool(new & SEEN)
                self._seen_below = min(self._seen_below, position)
        if masks.touches_keywords:
            low, high = columns.keywords[position].tolist()
            words = (low & ~masks.clear_low | masks.set_low, high & ~masks.clear_high | masks.set_high)
            if words != (low, high):
                columns.keywords[position] = words
                changed = True
        if changed:
            columns.modseqs[position] = modseq
        self.highest_modseq = max(self.highest_modseq, modseq)
        if self._superseded:
            self._tell_superseded(slice(position, position + 1))

    def _expunge(self, record: Record) -> None:
        positions = as_positions(self.columns.within(journal.unpack_bounds(record)))
        going = self._going
        if going is None or len(going) < self.columns.count:
            # Taken away together at the end: each new set of columns costs a copy.
            self._going = np.zeros(self.columns.count, dtype=np.bool_)
            if going is not None:
                self._going[: len(going)] = going
            going = self._going
        positions = positions[~going[positions]]
        if not len(positions):
            return
        going[positions] = True
        uids = self.columns.uids[positions]
        rows = np.zeros(len(uids), dtype=journal.VANISHED_ROW)
        rows["uid"] = uids
        rows["modseq"] = record.modseq
        if len(self.annotations):
            self.annotations.expunge(uids.tolist())
        self._vanished.add(rows)
        self._retained.add(self.columns.retained_rows(positions, record.modseq, record.time))
        self.highest_modseq = max(self.highest_modseq, record.modseq)

    def _drop_gone(self, going: NDArray[np.bool_]) -> None:
        self._going = None
        gone = np.flatnonzero(going)
        if len(gone):
            self._supersede(self.columns.without(gone))
            self.recount()

    def recount(self) -> None:
        """Count anew."""
        columns = self.columns
        flags = columns.flags[: columns.count]
        self.unseen = columns.count - int(np.count_nonzero(flags & SEEN))
        self.deleted = int(np.count_nonzero(flags & DELETED))
        self.size = int(columns.sizes[: columns.count].sum(dtype=np.int64))
        self._seen_below = 0

    def _keyword(self, record: Record) -> None:
        bit, name = record.flags, bytes(record.payload[: record.count])
        if bit >= MAX_KEYWORDS:
            return
        if bit >= len(self.keywords):
            self.keywords.extend([b""] * (bit + 1 - len(self.keywords)))
        self.keyword_bits.pop(self.keywords[bit].lower(), None)
        self.keywords[bit] = name
        self._keyword_names = None
        if name:
            self.keyword_bits[name.lower()] = bit

    def _recent(self, record: Record) -> None:
        self.recent_uid = max(self.recent_uid, journal.unpack_recent(record))

    def _reserve(self, record: Record) -> None:
        uid_limit, modseq_limit, boot = journal.unpack_reserve(record)
        self.boot = boot
        # A limit proposed again is confirmed by the commit of the first proposal.
        proposed = uid_limit > self.reserved[0] or modseq_limit > self.reserved[1]
        self.reserved = (max(self.reserved[0], uid_limit), max(self.reserved[1], modseq_limit))
        if record.flags & journal.CONFIRMED:
            self.usable = (max(self.usable[0], uid_limit), max(self.usable[1], modseq_limit))
            # Of an earlier proposal nobody remembers what came before it.
            if (uid_limit, modseq_limit) == self.reserved:
                self.durable_uid = self.proposed_uid
        elif proposed:
            self.proposed_uid = self.uidnext

    def _purge(self, record: Record) -> None:
        retained = self._retained.all()
        if not len(retained):
            return
        order = np.argsort(retained["uid"], kind="stable")
        ranges = journal.unpack_ranges(record)
        keep = np.ones(len(retained), dtype=np.bool_)
        keep[order[positions_of_ranges(ranges, retained["uid"][order])]] = False
        self._retained.replace(retained[keep])
        self.annotations.purge(ranges)

    def _cache(self, record: Record) -> None:
        if record.count == 1:
            self.columns.cache_one(*journal.unpack_cached(record))
        else:
            self.columns.cache(journal.unpack_rows(record, journal.CACHE_ROW))

    def _state(self, record: Record) -> None:
        rows = journal.unpack_rows(record, journal.STATE_ROW)
        if len(rows):
            self._add(rows, rows["modseq"])
            self.highest_modseq = max(self.highest_modseq, int(rows["modseq"].max()))

    def _add_vanished(self, record: Record) -> None:
        self._vanished.add(journal.unpack_rows(record, journal.VANISHED_ROW).copy())

    def _add_retained(self, record: Record) -> None:
        self._retained.add(journal.unpack_rows(record, journal.RETAINED_ROW).copy())

    def _numbers(self, record: Record) -> None:
        uidnext, highest_modseq, floor, recent = journal.unpack_numbers(record)
        self.uidnext = max(self.uidnext, uidnext)
        self.highest_modseq = max(self.highest_modseq, highest_modseq)
        self.vanished_floor = max(self.vanished_floor, floor)
        self.recent_uid = max(self.recent_uid, recent)

    def _annotation(self, record: Record) -> None:
        columns = self.columns
        positions = self.annotations.apply(record, columns, self._retained.all()["uid"], self.uidnext)
        if record.modseq and len(positions):
            columns.modseqs[positions] = record.modseq
            self.highest_modseq = max(self.highest_modseq, record.modseq)
            if self._superseded:
                self._tell_superseded(positions)

    def _note(self, record: Record) -> None:
        self.notes += 1
        if record.type == journal.RENAME:
            self.renamed += 1

    def restore(
        self, columns: Columns, keywords: list[bytes], vanished: NDArray[np.void], retained: NDArray[np.void]
    ) -> None:
        """Take over what a snapshot holds."""
        self.columns = columns
        self.keywords = keywords
        self._keyword_names = None
        self.keyword_bits = {name.lower(): bit for bit, name in enumerate(keywords) if name}
        self._vanished.replace(vanished)
        self._retained.replace(retained)

    # --- older views ------------------------------------------------------

    def _supersede(self, columns: Columns) -> None:
        """Put other columns in place; those who still look at the old ones are kept up to date."""
        self.forget_unseen_columns()
        if self.columns.count:
            self._superseded.append(weakref.ref(self.columns))
        self.columns = columns

    def forget_unseen_columns(self) -> None:
        """Drop what no view looks at any more: views hold their columns by C{View.cached}."""
        if self._superseded:
            self._superseded = [old for old in self._superseded if old() is not None]

    def _tell_superseded(self, where: slice | Positions) -> None:
        self.forget_unseen_columns()
        if not self._superseded:
            return
        columns = self.columns
        positions = as_positions(where)
        uids = columns.uids[positions]
        for reference in self._superseded:
            old = reference()
            if old is None or not old.count:
                continue
            here = old.uids[: old.count].searchsorted(uids)
            known = here < old.count
            known[known] = old.uids[here[known]] == uids[known]
            to, of = here[known], positions[known]
            old.flags[to] = columns.flags[of]
            old.keywords[to] = columns.keywords[of]
            old.modseqs[to] = columns.modseqs[of]


_METHODS = {
    journal.FLAGS: Contents._flags,
    journal.EXPUNGE: Contents._expunge,
    journal.KEYWORD: Contents._keyword,
    journal.RECENT: Contents._recent,
    journal.RESERVE: Contents._reserve,
    journal.PURGE: Contents._purge,
    journal.CACHE: Contents._cache,
    journal.STATE: Contents._state,
    journal.VANISHED: Contents._add_vanished,
    journal.RETAINED: Contents._add_retained,
    journal.NUMBERS: Contents._numbers,
    journal.UNEXPUNGE: Contents._unexpunge,
    journal.ANNOTATION: Contents._annotation,
    journal.ACL: Contents._note,
    journal.RENAME: Contents._note,
}
