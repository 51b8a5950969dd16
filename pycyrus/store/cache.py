"""
C{pycyrus.cache}: the wire bytes of cached items, one record per message.

Append only.  A record also tells the message's UID, GUID, size and dates: with
it a lost journal row can be made again, and proved against the message file.
"""

from __future__ import annotations

import errno
import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pycyrus.errors import StoreUnavailable
from pycyrus.model.uids import Positions
from pycyrus.model.view import CACHED_ITEMS, CachedItem
from pycyrus.store import files
from pycyrus.store.columns import Columns

MAGIC = b"PYCCACH\n"
VERSION = 1
HEADER_SIZE = 64
_HEADER = struct.Struct("<8sIIQ32xI4x")

_RECORD = struct.Struct(f"<IIII20siqqqI{CACHED_ITEMS}I")
_HEAD = struct.Struct("<IIII20siqqqI")
_NAMES = struct.Struct("<III")
"""Length, checksum and UID, at the beginning of a record."""
_LENGTHS = struct.Struct(f"<{CACHED_ITEMS}I")
RECORD_HEADER = _RECORD.size
_UID_WORD = 2
_LENGTHS_WORD = 17
_GAP = 1 << 16
"""Records further apart than this, in octets, are read apart."""
MAX_RECORD = 1 << 28
_LONGEST_FILE = 1 << 60


class CacheRecord(NamedTuple):
    """One message's record."""

    uid: int
    size: int
    guid: bytes
    sent_day: int
    internaldate: int
    savedate: int
    sent_time: int
    items: tuple[bytes, ...]

    def encode(self) -> bytes:
        """The octets, a multiple of 8."""
        body = b"".join(self.items)
        length = RECORD_HEADER + len(body)
        padding = -length & 7
        length += padding
        head = _RECORD.pack(
            length, 0, self.uid, self.size, self.guid, self.sent_day, self.internaldate, self.savedate, self.sent_time,
            CACHED_ITEMS, *map(len, self.items),
        )  # fmt: skip
        rest = b"".join((head[8:], body, bytes(padding)))
        return b"".join((head[:4], zlib.crc32(rest).to_bytes(4, "little"), rest))


@dataclass(frozen=True, slots=True)
class PackedItems:
    """A message's items, made ready once for the records of all mailboxes that get it."""

    lengths: bytes
    body: bytes

    @classmethod
    def of(cls, items: Sequence[bytes]) -> PackedItems:
        """Pack items."""
        body = b"".join(items)
        padding = -(RECORD_HEADER + len(body)) & 7
        return cls(_LENGTHS.pack(*map(len, items)), body + bytes(padding))

    def record(
        self, uid: int, size: int, guid: bytes, sent_day: int, internaldate: int, savedate: int, sent_time: int
    ) -> bytes:
        """What L{CacheRecord.encode} gives."""
        length = RECORD_HEADER + len(self.body)
        head = _HEAD.pack(length, 0, uid, size, guid, sent_day, internaldate, savedate, sent_time, CACHED_ITEMS)
        rest = b"".join((head[8:], self.lengths, self.body))
        return b"".join((head[:4], zlib.crc32(rest).to_bytes(4, "little"), rest))


def decode_record(data: bytes) -> CacheRecord | None:
    """Read one record that fills C{data}; None if it is damaged."""
    if len(data) < RECORD_HEADER:
        return None
    length, crc, uid, size, guid, sent_day, internaldate, savedate, sent_time, count, *lengths = _RECORD.unpack_from(
        data
    )
    if length != len(data) or count != CACHED_ITEMS or zlib.crc32(memoryview(data)[8:]) != crc:
        return None
    items = []
    at = RECORD_HEADER
    for size_of_item in lengths:
        items.append(data[at : at + size_of_item])
        at += size_of_item
    if at > length:
        return None
    return CacheRecord(uid, size, guid, sent_day, internaldate, savedate, sent_time, tuple(items))


def record_for_copy(data: bytes, uid: int, savedate: int) -> bytes | None:
    """
    The record of a copy of the message, under another UID.

    @param data: The octets of the original's record.
    @return: None if they are damaged.
    """
    if len(data) < RECORD_HEADER or int.from_bytes(data[:4], "little") != len(data):
        return None
    if zlib.crc32(memoryview(data)[8:]) != int.from_bytes(data[4:8], "little"):
        return None
    rest = b"".join((uid.to_bytes(4, "little"), data[12:48], savedate.to_bytes(8, "little", signed=True), data[56:]))
    return b"".join((data[:4], zlib.crc32(rest).to_bytes(4, "little"), rest))


def encode_header(generation: int) -> bytes:
    """The head of a cache file."""
    body = _HEADER.pack(MAGIC, HEADER_SIZE, VERSION, generation, 0)
    return _HEADER.pack(MAGIC, HEADER_SIZE, VERSION, generation, zlib.crc32(body[:56]))


def decode_header(data: bytes) -> int | None:
    """The generation of a cache file; None if this is not one."""
    if len(data) < HEADER_SIZE:
        return None
    magic, size, version, generation, crc = _HEADER.unpack(data[:HEADER_SIZE])
    if (magic, size, version) != (MAGIC, HEADER_SIZE, VERSION) or zlib.crc32(data[:56]) != crc:
        return None
    return int(generation)


class Damaged(Exception):
    """
    Some records cannot be used.

    @ivar rows: Which of those asked for.
    """

    def __init__(self, rows: list[int]) -> None:
        super().__init__(f"{len(rows)} cache records are damaged")
        self.rows = rows


def create_cache(path: str, generation: int) -> None:
    """
    Make an empty cache file in place of any other.

    @raise OSError: It could not be made.
    """
    files.replace_file(path, encode_header(generation), sync=False)


class CacheFile:
    """
    An open cache file.

    @ivar generation: As the journal's header names it; None if the file has no
        usable head.
    """

    __slots__ = ("_fd", "generation")

    def __init__(self, path: str) -> None:
        self._fd = files.open_file(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        self.generation = decode_header(files.pread(self._fd, HEADER_SIZE, 0))

    def append(self, records: Sequence[bytes]) -> int:
        """
        Add records at the end; the caller holds the mailbox's lock.

        @return: The offset of the first.
        @raise OSError: Nothing that was there before is lost.
        """
        status = files.fstat(self._fd)
        if not status.st_nlink:
            raise FileNotFoundError(errno.ENOENT, "cache file was removed")
        end = max(status.st_size, HEADER_SIZE)
        # What a writer left unfinished stays, and no offset points to it.
        end += -end & 7
        if records:
            files.write_all(self._fd, records[0] if len(records) == 1 else b"".join(records), end)
        return end

    def raw(self, offset: int, length: int) -> bytes:
        """The octets of one record."""
        return files.read_all(self._fd, min(length, MAX_RECORD), offset)

    def raw_many(self, columns: Columns, positions: Positions) -> list[bytes]:
        """The octets of many records; short where there are none."""
        offsets = columns.cache_offsets[positions].astype(np.int64)
        lengths = columns.cache_lengths[positions].astype(np.int64)
        data, bases = self._read(offsets, lengths)
        starts = bases.tolist()
        return [data[start : start + length] for start, length in zip(starts, lengths.tolist(), strict=True)]

    def gather(self, columns: Columns, positions: Positions, items: Sequence[CachedItem]) -> list[list[bytes]]:
        """
        Items of many messages.

        @return: For each item the octets of each position.
        @raise Damaged: Some cannot be told.
        @raise StoreUnavailable: The file cannot be read.
        """
        if not len(positions):
            return [[] for _ in items]
        if len(positions) == 1:
            return self._gather_one(columns, int(positions[0]), items)
        offsets = columns.cache_offsets[positions].astype(np.int64)
        lengths = columns.cache_lengths[positions].astype(np.int64)
        try:
            data, bases = self._read(offsets, lengths)
        except OSError as error:
            raise StoreUnavailable(f"cache cannot be read: {error.strerror}") from error
        bad = bases + lengths > len(data)
        bad |= (lengths < RECORD_HEADER) | (lengths & 7 != 0) | (offsets & 7 != 0)
        if bad.any():
            raise Damaged(np.flatnonzero(bad).tolist())
        words = np.frombuffer(data, dtype="<u4", count=len(data) >> 2)
        at = bases >> 2
        last = max(items, default=0)
        table = words[at[:, None] + np.arange(_LENGTHS_WORD, _LENGTHS_WORD + last + 1)]
        stops = table.cumsum(axis=1, dtype=np.int64)
        bad = (words[at] != lengths) | (words[at + _UID_WORD] != columns.uids[positions])
        bad |= stops[:, -1] + RECORD_HEADER > lengths
        unchecked = np.flatnonzero(~columns.checked[positions])
        if len(unchecked):
            self._check(data, bases, lengths, words, unchecked, bad)
        if bad.any():
            raise Damaged(np.flatnonzero(bad).tolist())
        if len(unchecked):
            columns.checked[positions[unchecked]] = True
        stops += (bases + RECORD_HEADER)[:, None]
        answer = []
        for item in items:
            ends = stops[:, item]
            starts = ends - table[:, item]
            answer.append([data[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)])
        return answer

    def _gather_one(self, columns: Columns, position: int, items: Sequence[CachedItem]) -> list[list[bytes]]:
        """As L{gather}, without the cost of arrays of one."""
        length = int(columns.cache_lengths[position])
        offset = int(columns.cache_offsets[position])
        if not RECORD_HEADER <= length <= MAX_RECORD or (length | offset) & 7 or offset >= _LONGEST_FILE:
            raise Damaged([0])
        try:
            data = files.read_all(self._fd, length, offset)
        except OSError as error:
            raise StoreUnavailable(f"cache cannot be read: {error.strerror}") from error
        if len(data) != length:
            raise Damaged([0])
        told, crc, uid = _NAMES.unpack_from(data)
        stops = list(accumulate(_LENGTHS.unpack_from(data, 4 * _LENGTHS_WORD), initial=RECORD_HEADER))
        if told != length or uid != columns.uids[position] or stops[max(items, default=-1) + 1] > length:
            raise Damaged([0])
        if not columns.checked[position]:
            if zlib.crc32(memoryview(data)[8:]) != crc:
                raise Damaged([0])
            columns.checked[position] = True
        return [[data[stops[item] : stops[item + 1]]] for item in items]

    @staticmethod
    def _check(
        data: bytes, bases: NDArray[np.int64], lengths: NDArray[np.int64], words: NDArray[np.uint32],
        rows: NDArray[np.intp], bad: NDArray[np.bool_],
    ) -> None:  # fmt: skip
        """Compare checksums, once in the life of a process for each record."""
        view = memoryview(data)
        starts = bases[rows]
        ends = starts + lengths[rows]
        crcs = words[(starts >> 2) + 1].tolist()
        crc32 = zlib.crc32
        wrong = [
            index
            for index, (start, end, crc) in enumerate(zip(starts.tolist(), ends.tolist(), crcs, strict=True))
            if crc32(view[start + 8 : end]) != crc
        ]
        bad[rows[wrong]] = True

    def _read(self, offsets: NDArray[np.int64], lengths: NDArray[np.int64]) -> tuple[bytes, NDArray[np.int64]]:
        """Read the records in as few pieces as is sensible; says where in them each lies."""
        ends = offsets + lengths
        low, high = int(offsets.min()), int(ends.max())
        if high - low <= 2 * int(lengths.sum()) + _GAP and high - low <= MAX_RECORD:
            return files.read_all(self._fd, high - low, low), offsets - low
        order = np.argsort(offsets, kind="stable")
        starts, stops = offsets[order], ends[order]
        reach = np.maximum.accumulate(stops)
        breaks = np.flatnonzero(starts[1:] > reach[:-1] + _GAP) + 1
        firsts = np.concatenate(([0], breaks))
        lasts = np.concatenate((breaks, [len(starts)])) - 1
        pieces = []
        bases = np.empty(len(offsets), dtype=np.int64)
        at = 0
        for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
            start = int(starts[first])
            length = min(int(reach[last]) - start, MAX_RECORD)
            piece = files.read_all(self._fd, length, start)
            bases[order[first : last + 1]] = starts[first : last + 1] - start + at
            # A short piece is filled up, so that what follows keeps its place.
            pieces.append(piece if len(piece) == length else piece.ljust(length, b"\0"))
            at += length
        return b"".join(pieces), bases

    def fileno(self) -> int:
        """The descriptor."""
        return self._fd

    def close(self) -> None:
        """Give the descriptor back."""
        if self._fd >= 0:
            files.close(self._fd)
            self._fd = -1
