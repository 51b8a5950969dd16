"""
The messages of a mailbox as growable NumPy columns.

Rows are only added at the end; taking rows away makes new columns, so slices
that a view holds stay what they were.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycyrus.model.uids import Positions, UidArray, positions_in, spans
from pycyrus.store.journal import RETAINED_ROW, STATE_ROW, Ranges, concatenate_rows

FIELDS: tuple[tuple[str, str], ...] = (
    ("uids", "<u4"), ("sizes", "<u4"), ("internaldates", "<i8"), ("savedates", "<i8"), ("sent_times", "<i8"),
    ("sent_days", "<i4"), ("flags", "<u4"), ("keywords", "<u8"), ("modseqs", "<u8"), ("cache_offsets", "<u8"),
    ("cache_lengths", "<u4"), ("guids", "V20"),
)  # fmt: skip
"""Names and types, in the order of the snapshot; C{keywords} is two words wide."""

ROW_NAMES: tuple[tuple[str, str], ...] = (
    ("uids", "uid"), ("sizes", "size"), ("internaldates", "internaldate"), ("savedates", "savedate"),
    ("sent_times", "sent_time"), ("sent_days", "sent_day"), ("flags", "flags"), ("keywords", "keywords"),
    ("cache_offsets", "cache_offset"), ("cache_lengths", "cache_length"), ("guids", "guid"),
)  # fmt: skip
"""Column names and the names of the fields of a journal row."""

_WIDTH = {"keywords": 2}
_ROW_OCTETS = sum(np.dtype(dtype).itemsize * _WIDTH.get(name, 1) for name, dtype in FIELDS) + 1


def shape_of(name: str, count: int) -> tuple[int, ...]:
    """The shape that a column has with C{count} rows."""
    return (count, _WIDTH[name]) if name in _WIDTH else (count,)


class Columns:
    """
    Columns with room to grow; the first C{count} rows are the messages.

    @ivar checked: Rows whose cache record's checksum this process has seen to
        be right; not kept on disk.
    """

    __slots__ = (
        "__weakref__", "cache_lengths", "cache_offsets", "checked", "count", "flags", "guids", "internaldates",
        "keywords",
        "modseqs", "savedates", "sent_days", "sent_times", "sizes", "uids",
    )  # fmt: skip

    uids: UidArray
    sizes: NDArray[np.uint32]
    internaldates: NDArray[np.int64]
    savedates: NDArray[np.int64]
    sent_times: NDArray[np.int64]
    sent_days: NDArray[np.int32]
    flags: NDArray[np.uint32]
    keywords: NDArray[np.uint64]
    modseqs: NDArray[np.uint64]
    cache_offsets: NDArray[np.uint64]
    cache_lengths: NDArray[np.uint32]
    guids: NDArray[np.void]
    checked: NDArray[np.bool_]

    def __init__(self, capacity: int = 0) -> None:
        self.count = 0
        for name, dtype in FIELDS:
            setattr(self, name, np.zeros(shape_of(name, capacity), dtype=dtype))
        self.checked = np.zeros(capacity, dtype=np.bool_)

    @classmethod
    def of(cls, arrays: dict[str, NDArray[np.generic]], count: int) -> Columns:
        """Take over whole columns, as a snapshot holds them."""
        columns = cls.__new__(cls)
        columns.count = count
        for name, _ in FIELDS:
            setattr(columns, name, arrays[name])
        columns.checked = np.zeros(count, dtype=np.bool_)
        return columns

    @property
    def capacity(self) -> int:
        """How many rows there is room for."""
        return len(self.uids)

    @property
    def nbytes(self) -> int:
        """Memory held, in octets."""
        return len(self.uids) * _ROW_OCTETS

    def reserve(self, extra: int) -> Columns:
        """
        Make room for more rows.

        @return: This object, or a larger copy that takes its place.
        """
        wanted = self.count + extra
        if wanted <= len(self.uids):
            return self
        larger = Columns(max(wanted + (wanted >> 1), 32))
        larger.count = count = self.count
        for name, _ in FIELDS:
            getattr(larger, name)[:count] = getattr(self, name)[:count]
        larger.checked[:count] = self.checked[:count]
        return larger

    def extend(self, rows: NDArray[np.void], modseqs: NDArray[np.uint64] | int) -> None:
        """Add journal rows at the end; there must be room."""
        start = self.count
        stop = start + len(rows)
        for column, field in ROW_NAMES:
            getattr(self, column)[start:stop] = rows[field]
        self.modseqs[start:stop] = modseqs
        self.checked[start:stop] = False
        self.count = stop

    def add_one(self, row: tuple[Any, ...], modseq: int) -> None:
        """
        Add one row at the end; there must be room.

        @param row: As L{pycyrus.store.journal.unpack_row} gives it: a tenth of
            the work of an array of one row.
        """
        at = self.count
        (
            self.uids[at], self.sizes[at], self.internaldates[at], self.savedates[at], self.sent_times[at],
            self.sent_days[at], self.flags[at], low, high, self.cache_offsets[at], self.cache_lengths[at],
            self.guids[at],
        ) = row  # fmt: skip
        self.keywords[at, 0] = low
        self.keywords[at, 1] = high
        self.modseqs[at] = modseq
        self.checked[at] = False
        self.count = at + 1

    def cache(self, rows: NDArray[np.void]) -> None:
        """Take down where cache records lie now, of those messages that are here; rows of a C{CACHE} record."""
        positions = self.uids[: self.count].searchsorted(rows["uid"])
        known = positions < self.count
        known[known] = self.uids[positions[known]] == rows["uid"][known]
        here = positions[known]
        self.cache_offsets[here] = rows["offset"][known]
        self.cache_lengths[here] = rows["length"][known]
        self.checked[here] = False

    def cache_one(self, uid: int, length: int, offset: int) -> None:
        """As L{cache}, for one: a tenth of the work."""
        at = int(self.uids[: self.count].searchsorted(np.uint32(uid)))
        if at < self.count and self.uids.item(at) == uid:
            self.cache_offsets[at] = offset
            self.cache_lengths[at] = length
            self.checked[at] = False

    def without(self, gone: Positions) -> Columns:
        """A copy without some rows, with a little room."""
        count = self.count
        keep = np.ones(count, dtype=np.bool_)
        keep[gone] = False
        rest = count - len(gone)
        smaller = Columns(rest + (rest >> 3) + 8)
        smaller.count = rest
        if len(gone) == 1 or int(gone[-1]) - int(gone[0]) + 1 == len(gone):
            # Neighbours: two plain copies are several times as fast as a mask.
            first, last = int(gone[0]), int(gone[-1]) + 1
            for name in (*(name for name, _ in FIELDS), "checked"):
                old, new = getattr(self, name), getattr(smaller, name)
                new[:first] = old[:first]
                new[first:rest] = old[last:count]
        else:
            for name in (*(name for name, _ in FIELDS), "checked"):
                getattr(smaller, name)[:rest] = getattr(self, name)[:count][keep]
        return smaller

    def rows(self, positions: Positions | slice) -> NDArray[np.void]:
        """Messages as C{STATE} rows."""
        return self._fill(positions, STATE_ROW)

    def retained_rows(self, positions: Positions, modseq: int, time: int) -> NDArray[np.void]:
        """Messages as C{RETAINED} rows, expunged just now."""
        rows = self._fill(positions, RETAINED_ROW)
        rows["expunge_modseq"] = modseq
        rows["expunge_time"] = time
        return rows

    def _fill(self, positions: Positions | slice, dtype: np.dtype[np.void]) -> NDArray[np.void]:
        uids = self.uids[: self.count][positions]
        rows = np.zeros(len(uids), dtype=dtype)
        for column, field in ROW_NAMES:
            rows[field] = getattr(self, column)[: self.count][positions]
        rows["modseq"] = self.modseqs[: self.count][positions]
        return rows

    def within(self, ranges: Ranges) -> Positions | slice:
        """Positions of the messages whose UIDs lie in ranges; a slice for a single range."""
        uids = self.uids[: self.count]
        if len(ranges) == 1:
            low, high = ranges[0]
            start = int(uids.searchsorted(np.uint32(low)))
            if low == high:
                return slice(start, start + 1 if start < self.count and uids[start] == low else start)
            return slice(start, max(start, int(uids.searchsorted(np.uint32(high), "right"))))
        pairs = np.asarray(ranges, dtype=np.uint32).reshape(-1, 2)
        return spans(uids.searchsorted(pairs[:, 0], "left"), uids.searchsorted(pairs[:, 1], "right"))

    def positions(self, uids: UidArray) -> Positions | slice:
        """Positions of those UIDs that are here; a slice where they are neighbours."""
        here = self.uids[: self.count]
        if not len(uids) or not self.count:
            return slice(0, 0)
        start = int(here.searchsorted(uids[0]))
        stop = start + len(uids)
        # What clients ask for most, 1:* or one message, costs no search per UID.
        if len(uids) == 1:
            return slice(start, stop) if stop <= self.count and here[start] == uids[0] else slice(0, 0)
        if stop <= self.count and here[stop - 1] == uids[-1] and np.array_equal(here[start:stop], uids):
            return slice(start, stop)
        return positions_in(here, uids)


def as_positions(where: Positions | slice) -> Positions:
    """A slice with both ends as an array."""
    if isinstance(where, slice):
        return np.arange(where.start, where.stop, dtype=np.intp)
    return where


class PiecewiseRows:
    """Rows that are added in pieces and read as one array."""

    __slots__ = ("_dtype", "_pieces")

    def __init__(self, dtype: np.dtype[np.void]) -> None:
        self._dtype = dtype
        self._pieces: list[NDArray[np.void]] = []

    def add(self, rows: NDArray[np.void]) -> None:
        """Add some behind."""
        self._pieces.append(rows)

    def replace(self, rows: NDArray[np.void]) -> None:
        """Have these only."""
        self._pieces = [rows]

    def all(self) -> NDArray[np.void]:
        """All of them."""
        if len(self._pieces) != 1:
            self._pieces = [concatenate_rows(self._pieces, self._dtype)]
        return self._pieces[0]
