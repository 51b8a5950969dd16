"""
Cyrus's C{cyrus.header} and C{cyrus.index}, as its servers hand them to one another in dumps.

All numbers are big-endian.  Records of all versions since 2.1 begin alike; where they
begin, and how long they are, is told in the header of the file.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycyrus.errors import TransferFailed
from pycyrus.imap.wire.dlist import Reader
from pycyrus.imap.wire.grammar import BadSyntax
from pycyrus.model.flags import ANSWERED, DELETED, DRAFT, FLAGGED, SEEN, SYSTEM_FLAGS_BY_NAME
from pycyrus.store.imported import ImportedMailbox, ImportedMessage

MAGIC = b"\xa1\x02\x8b\x0dCyrus mailbox header\n"
_QUOTATION_LINES = 2
_WITH_MODSEQS = 8
_WITH_GUIDS = 10
_WITH_SEEN = 12
"""From this version on what the owner has seen, and what is expunged, is a flag."""
_WITH_SAVEDATES = 15
_NEWEST = 30
_SMALLEST_HEADER = 76
_LARGEST_HEADER = 4096
_EXPUNGED = 1 << 31
_FLAGS = ((1 << 0, ANSWERED), (1 << 1, FLAGGED), (1 << 2, DELETED), (1 << 3, DRAFT), (1 << 4, SEEN))
_USER_FLAGS = 128
_UNIQUE_ID = re.compile(r"[0-9A-Za-z-]{1,64}")


@dataclass(frozen=True, slots=True)
class CyrusHeader:
    """
    What a C{cyrus.header} tells.

    @ivar flags: Names of user flags, by bit; empty where there is none.
    """

    unique_id: str
    flags: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class CyrusIndex:
    """
    A C{cyrus.index}, or a C{cyrus.expunge}, which looks the same.

    @ivar recent: The highest UID that is not recent any more.
    """

    version: int
    uidvalidity: int
    last_uid: int
    highest_modseq: int
    recent: int
    records: NDArray[np.void]


def parse_header(octets: bytes) -> CyrusHeader:
    """
    Read a C{cyrus.header}, of 3.6 or before.

    @raise TransferFailed: It is none.
    """
    body = octets
    for _ in range(_QUOTATION_LINES + 1):
        body = body.partition(b"\n")[2]
    if not octets.startswith(MAGIC) or not body:
        raise TransferFailed("a cyrus.header that is none")
    if body.startswith(b"%"):
        unique_id, flags = _new_body(body)
    else:
        lines = body.split(b"\n")
        unique_id, flags = lines[0].partition(b"\t")[2], lines[1].split(b" ") if len(lines) > 1 else []
    text = unique_id.strip().decode("ascii", "replace")
    if not _UNIQUE_ID.fullmatch(text):
        raise TransferFailed("a cyrus.header without a unique id")
    return CyrusHeader(text, tuple(flags[:_USER_FLAGS]))


def _new_body(body: bytes) -> tuple[bytes, list[bytes]]:
    try:
        table = Reader([body.partition(b"\n")[0]]).value()
    except BadSyntax as error:
        raise TransferFailed("a cyrus.header that is none") from error
    unique_id = table.get("I") if isinstance(table, dict) else None
    flags = table.get("U") if isinstance(table, dict) else None
    if not isinstance(unique_id, bytes) or not isinstance(flags, list | None):
        raise TransferFailed("a cyrus.header that is none")
    return unique_id, [each if isinstance(each, bytes) else b"" for each in flags or []]


def parse_index(octets: bytes) -> CyrusIndex:
    """
    Read a C{cyrus.index}.

    @raise TransferFailed: It is none, or of a version that is not known.
    """
    if len(octets) < _SMALLEST_HEADER:
        raise TransferFailed("a cyrus.index that is too short")
    version, start, size, count = struct.unpack_from(">4I", octets, 8)
    if not 0 < version <= _NEWEST or not _SMALLEST_HEADER <= start <= _LARGEST_HEADER:
        raise TransferFailed("a cyrus.index of an unknown version")
    dtype = _record(version, size)
    if dtype is None or len(octets) < start + count * size:
        raise TransferFailed("a cyrus.index that is too short")
    (last_uid,), (uidvalidity,) = struct.unpack_from(">I", octets, 28), struct.unpack_from(">I", octets, 44)
    highest = struct.unpack_from(">Q", octets, 68)[0] if version >= _WITH_MODSEQS else 1
    # Before, each user's database had it.
    recent = struct.unpack_from(">I", octets, 104)[0] if version >= _WITH_SEEN and start >= 108 else last_uid
    return CyrusIndex(
        version, uidvalidity, last_uid, highest, recent, np.frombuffer(octets, dtype=dtype, count=count, offset=start)
    )


def _record(version: int, size: int) -> np.dtype[np.void] | None:
    """How its records lie; None if they are too short for that."""
    fields: dict[str, tuple[str, int]] = {
        "uid": (">u4", 0),
        "internaldate": (">u4", 4),
        "size": (">u4", 12),
        "updated": (">u4", 28),
        "flags": (">u4", 32),
        "keywords": ("(4,)>u4", 36),
        "savedate": (">u4", 52),
    }
    if version >= _WITH_MODSEQS:
        fields["modseq"] = (">u8", 80 if version >= _WITH_GUIDS else 72)
    if version >= _WITH_GUIDS:
        fields["guid"] = ("(20,)u1", 60)
    end = max(offset + np.dtype(kind).itemsize for kind, offset in fields.values())
    if not end <= size <= _LARGEST_HEADER:
        return None
    names = list(fields)
    return np.dtype(
        {
            "names": names,
            "formats": [fields[name][0] for name in names],
            "offsets": [fields[name][1] for name in names],
            "itemsize": size,
        }
    )


def imported(
    header: CyrusHeader, index: CyrusIndex, expunged: CyrusIndex | None, guids: dict[int, bytes]
) -> ImportedMailbox:
    """
    A mailbox as its index had it.

    @param expunged: Where older versions have what was expunged.
    @param guids: SHA-1 of the files that came, by UID.
    """
    messages = [_message(record, header, index.version, guids, is_expunged=False) for record in index.records]
    if expunged is not None:
        messages += [_message(record, header, index.version, guids, is_expunged=True) for record in expunged.records]
    return ImportedMailbox(
        header.unique_id, index.uidvalidity, index.last_uid, index.highest_modseq, index.recent, messages
    )


def _message(
    record: Any, header: CyrusHeader, version: int, guids: dict[int, bytes], *, is_expunged: bool
) -> ImportedMessage:
    uid, flags, updated = int(record["uid"]), int(record["flags"]), int(record["updated"])
    words = [int(word) for word in record["keywords"]]
    keywords = tuple(
        name
        for bit, name in enumerate(header.flags)
        if name and words[bit // 32] >> bit % 32 & 1 and name.lower() not in SYSTEM_FLAGS_BY_NAME
    )
    guid = record["guid"].tobytes() if version >= _WITH_GUIDS else b""
    is_expunged = is_expunged or bool(version >= _WITH_SEEN and flags & _EXPUNGED)
    return ImportedMessage(
        uid,
        int(record["modseq"]) if version >= _WITH_MODSEQS else 1,
        sum(ours for theirs, ours in _FLAGS if flags & theirs and (ours != SEEN or version >= _WITH_SEEN)),
        keywords,
        int(record["internaldate"]),
        int(record["savedate"]) if version >= _WITH_SAVEDATES else updated,
        int(record["size"]),
        guid if any(guid) else guids.get(uid, bytes(20)),
        updated if is_expunged else None,
    )
