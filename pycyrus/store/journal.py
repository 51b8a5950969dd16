"""
The journal's records: octets to values and back; no file is touched here.

A journal is a header and then records, one after the other, each aligned to 8
octets.  All numbers are little-endian.  Every record carries a CRC-32 (the one
of zlib) over all that follows it, so that a torn tail shows.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pycyrus.errors import MailboxCorrupted

MAGIC = b"PYCJRNL\n"
VERSION = 1
HEADER_SIZE = 128
RECORD_HEADER = 32
MAX_RECORD = 1 << 28
"""No record is longer, in octets: a length beyond it is damage."""

_HEADER = struct.Struct("<8sIIQQQII64s8xI4x")
_RECORD = struct.Struct("<IIHHIQq")
_LENGTH = struct.Struct("<I")

# What a record tells; doc/storage.rst has what stands in each.  Readers skip types that they do not know, unless
# CRITICAL is set in the number: such a mailbox is refused by programs that are too old for it.
APPEND, FLAGS, EXPUNGE, KEYWORD, RECENT, RESERVE, PURGE, CACHE, STATE, VANISHED, RETAINED, NUMBERS = range(1, 13)
UNEXPUNGE, ANNOTATION, ACL, RENAME = range(16, 20)
CRITICAL = 0x8000


class FormatTooNew(MailboxCorrupted):
    """Written by a program that knows more than this one; nothing is wrong with it."""


ROW = np.dtype(
    {
        "names": [
            "uid", "size", "internaldate", "savedate", "sent_time", "sent_day", "flags", "keywords",
            "cache_offset", "cache_length", "guid",
        ],
        "formats": ["<u4", "<u4", "<i8", "<i8", "<i8", "<i4", "<u4", ("<u8", (2,)), "<u8", "<u4", "V20"],
        "offsets": [0, 4, 8, 16, 24, 32, 36, 40, 56, 64, 72],
        "itemsize": 96,
    }
)  # fmt: skip
"""A message as C{APPEND} tells it."""
_ROW_FIELDS = [(name, *ROW.fields[name]) for name in ROW.names or ()] if ROW.fields else []

RESTORED_ROW = np.dtype(
    {
        "names": [*(name for name, *_ in _ROW_FIELDS), "was"],
        "formats": [*(field[1] for field in _ROW_FIELDS), "<u4"],
        "offsets": [*(field[2] for field in _ROW_FIELDS), 92],
        "itemsize": 96,
    }
)
"""An expunged message that comes back, as C{UNEXPUNGE} tells it: under a new UID, and which it was."""

STATE_ROW = np.dtype(
    {
        "names": [*(name for name, *_ in _ROW_FIELDS), "modseq"],
        "formats": [*(field[1] for field in _ROW_FIELDS), "<u8"],
        "offsets": [*(field[2] for field in _ROW_FIELDS), 96],
        "itemsize": 104,
    }
)
"""A message with its modseq, as C{STATE} tells it in a rewritten journal."""

RETAINED_ROW = np.dtype(
    {
        "names": [*(name for name, *_ in _ROW_FIELDS), "modseq", "expunge_modseq", "expunge_time"],
        "formats": [*(field[1] for field in _ROW_FIELDS), "<u8", "<u8", "<i8"],
        "offsets": [*(field[2] for field in _ROW_FIELDS), 96, 104, 112],
        "itemsize": 120,
    }
)
"""An expunged message whose file is still there; the time is in microseconds."""

VANISHED_ROW = np.dtype({"names": ["uid", "modseq"], "formats": ["<u4", "<u8"], "offsets": [0, 8], "itemsize": 16})
"""An expunged message, and when it went."""

CACHE_ROW = np.dtype(
    {"names": ["uid", "length", "offset"], "formats": ["<u4", "<u4", "<u8"], "offsets": [0, 4, 8], "itemsize": 16}
)
"""Where a message's cache record lies now."""

_ROW_STRUCT = struct.Struct("<IIqqqiIQQQI4x20s4x")
_FLAGS = struct.Struct("<IIQQQQ")
_RESERVE = struct.Struct("<QQ16s")
_NUMBERS = struct.Struct("<QQQQ")
_CACHED = struct.Struct("<IIQ")
_RECENT = struct.Struct("<I4x")
_RANGE = struct.Struct("<II")

TOUCH = 1
"""In a C{FLAGS} record: the modseq of every message in the ranges changes, its flags as well or not."""
CONFIRMED = 1
"""In a C{RESERVE} record: the reservation is known to be durable, so its numbers may be used."""


@dataclass(frozen=True, slots=True)
class JournalHeader:
    """
    The head of a journal.

    @ivar generation: Counts rewritings; a snapshot is for one generation.
    @ivar joined_at: Where a reader that had read all of the generation before
        goes on in this one.
    @ivar cache_generation: Of the cache file that the offsets point into.
    """

    generation: int
    joined_at: int
    cache_generation: int
    uidvalidity: int
    unique_id: str

    def encode(self) -> bytes:
        """The octets, with their checksum."""
        fields = (
            MAGIC, HEADER_SIZE, VERSION, self.generation, self.joined_at, self.cache_generation, self.uidvalidity, 0,
            self.unique_id.encode("ascii"),
        )  # fmt: skip
        body = _HEADER.pack(*fields, 0)
        return _HEADER.pack(*fields, zlib.crc32(body[:120]))

    @classmethod
    def decode(cls, data: bytes) -> JournalHeader:
        """
        Read a head.

        @raise MailboxCorrupted: Not a journal's, or damaged.
        @raise FormatTooNew: Not of this version.
        """
        if len(data) < HEADER_SIZE:
            raise MailboxCorrupted("journal header is cut off")
        magic, size, version, generation, joined_at, cache_generation, uidvalidity, _, unique_id, crc = _HEADER.unpack(
            data[:HEADER_SIZE]
        )
        if magic != MAGIC or zlib.crc32(data[:120]) != crc:
            raise MailboxCorrupted("journal header is damaged")
        if size != HEADER_SIZE or version != VERSION:
            raise FormatTooNew(f"journal version {version} is not known")
        return cls(generation, joined_at, cache_generation, uidvalidity, unique_id.rstrip(b"\0").decode("ascii"))


class Record(NamedTuple):
    """
    One record.

    @ivar flags: What the low bits mean depends on the type.
    @ivar count: Rows, ranges or octets in the payload, by type.
    @ivar modseq: Of this change; 0 where nothing visible changes.
    @ivar time: Microseconds since the epoch.
    @ivar payload: With the padding.
    """

    type: int
    flags: int
    count: int  # type: ignore[assignment] # shadows tuple.count, which nobody needs of a record
    modseq: int
    time: int
    payload: memoryview


def encode_record(kind: int, payload: bytes, *, count: int, modseq: int, time: int, flags: int = 0) -> bytes:
    """Build a record."""
    length = RECORD_HEADER + len(payload)
    padding = -length & 7
    length += padding
    head = _RECORD.pack(length, 0, kind, flags, count, modseq, time)
    crc = zlib.crc32(payload, zlib.crc32(head[8:], zlib.crc32(head[:4])))
    if padding:
        tail = bytes(padding)
        return b"".join((head[:4], _LENGTH.pack(zlib.crc32(tail, crc)), head[8:], payload, tail))
    return b"".join((head[:4], _LENGTH.pack(crc), head[8:], payload))


def scan(data: bytes | memoryview) -> tuple[list[Record], int]:
    """
    Read records up to the first that is not whole.

    @return: The records, and how many octets they take.
    """
    view = memoryview(data)
    total = len(view)
    offset = 0
    records: list[Record] = []
    unpack = _RECORD.unpack_from
    crc32 = zlib.crc32
    while offset + RECORD_HEADER <= total:
        length, crc, kind, flags, count, modseq, time = unpack(view, offset)
        end = offset + length
        if length < RECORD_HEADER or length & 7 or end > total or length > MAX_RECORD:
            break
        if crc32(view[offset + 8 : end], crc32(view[offset : offset + 4])) != crc:
            break
        records.append(Record(kind, flags, count, modseq, time, view[offset + RECORD_HEADER : end]))
        offset = end
    return records, offset


def find_record(data: bytes | memoryview, start: int) -> int | None:
    """
    Look for a whole record behind damage.

    @param start: Where to begin, a multiple of 8.
    @return: Its offset; None if there is none.
    """
    view = memoryview(data)
    total = len(view)
    for offset in range(start, total - RECORD_HEADER + 1, 8):
        length, crc, kind, _flags, _count, _modseq, _time = _RECORD.unpack_from(view, offset)
        if length < RECORD_HEADER or length & 7 or offset + length > total or length > MAX_RECORD or not kind:
            continue
        if zlib.crc32(view[offset + 8 : offset + length], zlib.crc32(view[offset : offset + 4])) == crc:
            return offset
    return None


# --- payloads ---------------------------------------------------------------


class FlagMasks(NamedTuple):
    """A change of flags as masks: new = (old without C{clear}) or C{set}; keywords by 64-bit words."""

    clear: int
    set: int
    clear_low: int = 0
    clear_high: int = 0
    set_low: int = 0
    set_high: int = 0

    def words(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """What is cleared and set in each word of keywords."""
        return (self.clear_low, self.set_low), (self.clear_high, self.set_high)

    @property
    def touches_keywords(self) -> bool:
        """Whether any keyword can change."""
        return bool(self.clear_low or self.clear_high or self.set_low or self.set_high)


def pack_row(
    uid: int, size: int, internaldate: int, savedate: int, sent_time: int, sent_day: int, flags: int,
    keywords: tuple[int, int], cache_offset: int, cache_length: int, guid: bytes,
) -> bytes:  # fmt: skip
    """One row of an C{APPEND} record."""
    return _ROW_STRUCT.pack(
        uid, size, internaldate, savedate, sent_time, sent_day, flags, *keywords, cache_offset, cache_length, guid
    )


def unpack_row(record: Record) -> tuple[Any, ...]:
    """The only row of an C{APPEND} record: uid, size, the dates, sent day, flags, two words of keywords, ..."""
    return _ROW_STRUCT.unpack_from(record.payload)


def append_record(rows: bytes, count: int, modseq: int, time: int) -> bytes:
    """Messages that came."""
    return encode_record(APPEND, rows, count=count, modseq=modseq, time=time)


Ranges = Sequence[tuple[int, int]] | NDArray[np.unsignedinteger]
"""Pairs of bounds, both included; in rows of an array where there may be thousands."""


def unexpunge_record(rows: NDArray[np.void], modseq: int, time: int) -> bytes:
    """Expunged messages that come back; rows of L{RESTORED_ROW}."""
    return encode_record(UNEXPUNGE, rows.tobytes(), count=len(rows), modseq=modseq, time=time)


def flags_record(masks: FlagMasks, ranges: Ranges, modseq: int, time: int, *, touch: bool = False) -> bytes:
    """A change of flags of the messages whose UIDs lie in the ranges."""
    payload = _FLAGS.pack(*masks) + pack_ranges(ranges)
    return encode_record(FLAGS, payload, count=len(ranges), modseq=modseq, time=time, flags=TOUCH if touch else 0)


def ranges_record(kind: int, ranges: Ranges, modseq: int, time: int) -> bytes:
    """An C{EXPUNGE} or C{PURGE} of the messages whose UIDs lie in the ranges."""
    return encode_record(kind, pack_ranges(ranges), count=len(ranges), modseq=modseq, time=time)


def keyword_record(bit: int, name: bytes, time: int) -> bytes:
    """What a keyword bit means from now on."""
    return encode_record(KEYWORD, name, count=len(name), modseq=0, time=time, flags=bit)


def recent_record(uid: int, time: int) -> bytes:
    """The last UID that some session of the owner was told of as recent."""
    return encode_record(RECENT, _RECENT.pack(uid), count=1, modseq=0, time=time)


def reserve_record(uid_limit: int, modseq_limit: int, boot: bytes, time: int, *, confirmed: bool) -> bytes:
    """Numbers below these limits are set aside; only when C{confirmed} may they be used."""
    payload = _RESERVE.pack(uid_limit, modseq_limit, boot)
    return encode_record(RESERVE, payload, count=1, modseq=0, time=time, flags=CONFIRMED if confirmed else 0)


def numbers_record(uidnext: int, highest_modseq: int, vanished_floor: int, recent: int, time: int) -> bytes:
    """Lower bounds of what is next, and since when expunges are known."""
    payload = _NUMBERS.pack(uidnext, highest_modseq, vanished_floor, recent)
    return encode_record(NUMBERS, payload, count=1, modseq=0, time=time)


def rows_record(kind: int, rows: NDArray[np.void], time: int) -> bytes:
    """A C{STATE}, C{VANISHED}, C{RETAINED} or C{CACHE} record."""
    return encode_record(kind, rows.tobytes(), count=len(rows), modseq=0, time=time)


def cache_record(places: Sequence[tuple[int, int, int]], time: int) -> bytes:
    """
    Where the cache records of a few messages lie: a C{CACHE} record of rows of L{CACHE_ROW}, without an array.

    @param places: UID, length and offset of each.
    """
    rows = b"".join(_CACHED.pack(*place) for place in places)
    return encode_record(CACHE, rows, count=len(places), modseq=0, time=time)


def pack_ranges(ranges: Ranges) -> bytes:
    """Pairs of bounds as octets."""
    if len(ranges) == 1:
        return _RANGE.pack(*ranges[0])
    return np.asarray(ranges, dtype="<u4").tobytes()


def unpack_flags(record: Record) -> tuple[FlagMasks, Ranges]:
    """What L{flags_record} packed."""
    masks = FlagMasks(*_FLAGS.unpack_from(record.payload))
    if record.count == 1:
        return masks, [_RANGE.unpack_from(record.payload, _FLAGS.size)]
    return masks, _bounds(record, _FLAGS.size)


def unpack_ranges(record: Record) -> list[tuple[int, int]]:
    """What L{ranges_record} packed."""
    return [(low, high) for low, high in _bounds(record).tolist()]


def unpack_bounds(record: Record) -> NDArray[np.uint32]:
    """As L{unpack_ranges}, in rows of an array."""
    return _bounds(record)


def _bounds(record: Record, offset: int = 0) -> NDArray[np.uint32]:
    return np.frombuffer(record.payload, dtype="<u4", count=2 * record.count, offset=offset).reshape(-1, 2)


def unpack_rows(record: Record, dtype: np.dtype[np.void]) -> NDArray[np.void]:
    """The rows of a record, as a view of its payload."""
    return np.frombuffer(record.payload, dtype=dtype, count=record.count)


def unpack_cached(record: Record) -> tuple[int, int, int]:
    """The only row of a C{CACHE} record: UID, length and offset."""
    uid, length, offset = _CACHED.unpack_from(record.payload)
    return uid, length, offset


def unpack_reserve(record: Record) -> tuple[int, int, bytes]:
    """Limits of UIDs and modseqs, and the boot in which they were set."""
    uid_limit, modseq_limit, boot = _RESERVE.unpack_from(record.payload)
    return uid_limit, modseq_limit, boot


def unpack_numbers(record: Record) -> tuple[int, int, int, int]:
    """What L{numbers_record} packed."""
    uidnext, highest_modseq, floor, recent = _NUMBERS.unpack_from(record.payload)
    return uidnext, highest_modseq, floor, recent


def unpack_recent(record: Record) -> int:
    """The UID of a C{RECENT} record."""
    uid: int = _RECENT.unpack_from(record.payload)[0]
    return uid


def concatenate_rows(pieces: Sequence[NDArray[np.void]], dtype: np.dtype[np.void]) -> NDArray[np.void]:
    """Several arrays of rows as one; NumPy's own way would lose the room between fields."""
    rows = np.zeros(sum(len(piece) for piece in pieces), dtype=dtype)
    at = 0
    for piece in pieces:
        rows[at : at + len(piece)] = piece
        at += len(piece)
    return rows


def join_rows(records: Iterable[Record], dtype: np.dtype[np.void]) -> NDArray[np.void]:
    """The rows of several records, one after the other."""
    size = dtype.itemsize
    return np.frombuffer(b"".join(bytes(record.payload[: record.count * size]) for record in records), dtype=dtype)
