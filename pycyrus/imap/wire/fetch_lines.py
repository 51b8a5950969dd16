"""
FETCH responses in blocks (RFC 9051 section 7.5.2).

One format operation writes some thousand lines: that is what makes FETCH as
fast as the bytes can be copied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycyrus.imap.wire.dates import encode_date_times
from pycyrus.imap.wire.fetch import Column
from pycyrus.imap.wire.flags import FlagLists
from pycyrus.imap.wire.grammar import quoted
from pycyrus.model.uids import UidArray
from pycyrus.model.view import CachedItem

Arguments = list[Any]
"""One argument of the format for each message: numbers or octets."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """
    Messages to tell of: arrays that run in parallel.

    @ivar numbers: Sequence numbers; UIDs if there are only those.
    @ivar is_uid_only: That is so (RFC 9586 section 3.3).
    @ivar recent: Which are recent in this session; None for none.
    @ivar cached: Wire bytes of cached items, as L{pycyrus.model.view.View.cached}
        gives them for these messages.
    """

    numbers: NDArray[np.intp] | UidArray
    uids: UidArray
    flags: NDArray[np.uint32]
    keywords: NDArray[np.uint64]
    modseqs: NDArray[np.uint64]
    recent: NDArray[np.bool_] | None
    sizes: NDArray[np.uint32]
    internaldates: NDArray[np.int64]
    savedates: NDArray[np.int64]
    guids: NDArray[np.void]
    cached: Callable[[Sequence[CachedItem]], list[list[bytes]]]
    flag_lists: FlagLists
    is_uid_only: bool = False

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass(frozen=True, slots=True)
class ItemFormat:
    """
    How one item is written.

    @ivar text: With placeholders for the arguments.
    @ivar arguments: The arguments, from the messages and the cached items.
    @ivar cached: The cached item that is needed.
    """

    text: bytes
    arguments: Callable[[Rows, list[bytes]], tuple[Arguments, ...]]
    cached: CachedItem | None = None


def _cached_item(column: Column, item: CachedItem) -> ItemFormat:
    return ItemFormat(column.value + b" %b", lambda rows, texts: (texts,), item)


EMAILID_OCTETS = 12
"""Octets of a message's SHA-1 that its EMAILID tells, as Cyrus does."""


def emailids(guids: NDArray[np.void]) -> list[bytes]:
    """The EMAILID of each message (RFC 8474 section 5.1): messages of equal octets have the same."""
    return [b"M" + guid.tobytes()[:EMAILID_OCTETS].hex().encode("ascii") for guid in guids]


COLUMN_FORMATS: dict[Column, ItemFormat] = {
    Column.UID: ItemFormat(b"UID %d", lambda rows, _: (rows.uids.tolist(),)),
    Column.FLAGS: ItemFormat(
        b"FLAGS %b", lambda rows, _: (rows.flag_lists.encode(rows.flags, rows.keywords, rows.recent),)
    ),
    Column.MODSEQ: ItemFormat(b"MODSEQ (%d)", lambda rows, _: (rows.modseqs.tolist(),)),
    Column.INTERNALDATE: ItemFormat(b"INTERNALDATE %b", lambda rows, _: (encode_date_times(rows.internaldates),)),
    Column.SIZE: ItemFormat(b"RFC822.SIZE %d", lambda rows, _: (rows.sizes.tolist(),)),
    Column.ENVELOPE: _cached_item(Column.ENVELOPE, CachedItem.ENVELOPE),
    Column.BODYSTRUCTURE: _cached_item(Column.BODYSTRUCTURE, CachedItem.BODYSTRUCTURE),
    Column.BODY: _cached_item(Column.BODY, CachedItem.BODY),
    Column.PREVIEW: ItemFormat(b"PREVIEW %b", lambda rows, texts: (list(map(quoted, texts)),), CachedItem.PREVIEW),
    Column.SAVEDATE: ItemFormat(b"SAVEDATE %b", lambda rows, _: (encode_date_times(rows.savedates),)),
    Column.EMAILID: ItemFormat(b"EMAILID (%b)", lambda rows, _: (emailids(rows.guids),)),
    # RFC 8474 section 5.2: threads have no ids here.
    Column.THREADID: ItemFormat(b"THREADID NIL", lambda rows, _: ()),
}


def cached_literal(label: bytes, item: CachedItem, select: Callable[[int, bytes], bytes]) -> ItemFormat:
    """
    The format of an item that is a literal, made from a cached item.

    @param select: Makes the literal's octets from a UID and the cached item.
    """

    def arguments(rows: Rows, texts: list[bytes]) -> tuple[Arguments, ...]:
        values = list(map(select, rows.uids.tolist(), texts))
        return [len(value) for value in values], values

    return ItemFormat(label.replace(b"%", b"%%") + b" {%d}\r\n%b", arguments, item)


class LineFormat:
    """
    The format of a whole FETCH response with the items given, compiled once per command.

    @ivar cached: The cached items that it needs.
    """

    def __init__(self, items: Sequence[ItemFormat]) -> None:
        self._items = items
        self.cached = tuple(dict.fromkeys(item.cached for item in items if item.cached is not None))
        self._open = b"* %d FETCH (" + b" ".join(item.text for item in items)
        self._line = self._open + b")\r\n"

    @property
    def uses_cache(self) -> bool:
        """Whether lines hold cached items, and so are long."""
        return bool(self.cached)

    def encode(self, rows: Rows) -> bytes:
        """Write one complete response for each message."""
        columns = self._columns(rows)
        width = len(columns)
        arguments: Arguments = [None] * (width * len(rows))
        for place, column in enumerate(columns):
            arguments[place::width] = column
        return (_told(self._line, rows) * len(rows)) % tuple(arguments)

    def encode_open(self, rows: Rows) -> list[bytes]:
        """Write the responses up to and without the closing parenthesis, each by itself."""
        begin = _told(self._open, rows)
        return [begin % arguments for arguments in zip(*self._columns(rows), strict=True)]

    def _columns(self, rows: Rows) -> list[Arguments]:
        texts = dict(zip(self.cached, rows.cached(self.cached), strict=True)) if self.cached else {}
        columns: list[Arguments] = [rows.numbers.tolist()]
        for item in self._items:
            columns += item.arguments(rows, texts[item.cached] if item.cached is not None else [])
        return columns


def _told(line: bytes, rows: Rows) -> bytes:
    return line.replace(b"FETCH", b"UIDFETCH", 1) if rows.is_uid_only else line


@lru_cache(maxsize=256)
def line_format(columns: tuple[Column, ...]) -> LineFormat:
    """The format of a FETCH response with items of the columns only; clients use few."""
    return LineFormat([COLUMN_FORMATS[column] for column in columns])
