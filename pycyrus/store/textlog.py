"""
What the messages of a mailbox say, folded for searching: C{pycyrus.text}.

It grows when messages came, and with searches; it can be removed at any time.  All
numbers are little-endian::

    header       7 octets C{PYCTEX4}, 1 octet that tells how texts are folded, u64 where the records
                 end, u32 UID up to which messages were added as they came, u32 CRC-32 of all that
    records      u32 UID, u32 octets of text, u32 octets of body in it, the first 8 octets of the
                 message's SHA-1, u32 CRC-32 of all that and the text; the text in UTF-8: body, then header
                 length 0xFFFFFFFF: too long to be kept, so it may contain anything

A record tells of the message with its UID only if that has its SHA-1.  One that is
damaged ends what is read; the next writer cuts it off.  The header is written after
the records: what is behind their end was never finished, and is written over.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from twisted.logger import Logger

from pycyrus.mime.comparison import DEFAULT_COMPARISON
from pycyrus.model.view import View
from pycyrus.store import files
from pycyrus.store.scanning import Breathe, scan

NAME = "pycyrus.text"
MAGIC = b"PYCTEX4"
GUID = 8
_FIRST_FOLDING = ord("A")
MAX_TEXT = 1 << 20
"""Octets of text kept of one message."""
MAX_NEEDLE = 256
"""Characters; the texts overlap that far where they were cut into pieces."""
_HEAD = struct.Struct("<III8sI")
_HEADER = struct.Struct("<8sQII")
_SUMMED = struct.Struct("<III8s")
_REMEMBERED = 16
"""Strings whose places are remembered, so that only new texts are looked through."""
_TOO_LONG = 0xFFFFFFFF
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class TextLog:
    """
    The log of one mailbox; every use may be the first.

    Trouble with its file is no trouble for a search: it then narrows nothing.

    @param folding: C{Comparison.code}; what was written by another one counts for nothing.
    """

    log = Logger()

    def __init__(self, path: str, folding: int = DEFAULT_COMPARISON.code) -> None:
        self.path = path
        self._magic = MAGIC + b"%c" % (_FIRST_FOLDING + folding)
        self._map: mmap.mmap | None = None
        self._inode = 0
        self._size = 0
        self._records = _NO_RECORDS
        self._hits: OrderedDict[bytes, NDArray[np.int64]] = OrderedDict()
        # Of the last question: records and view they are of.
        self._found: tuple[NDArray[np.void], View, NDArray[np.intp]] | None = None

    # --- in threads -----------------------------------------------------

    def load(self) -> None:
        """Read what was added; for a thread."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            self._forget()
            return
        try:
            status = os.fstat(fd)
            head = _read_header(fd, status.st_size, self._magic)
            if status.st_ino != self._inode or head.end < self._size:
                self._forget()
            self._inode = status.st_ino
            if head.end > max(self._size, _HEADER.size):
                self._read(mmap.mmap(fd, head.end, access=mmap.ACCESS_READ))
            elif head.end:
                self._size = head.end
        except (OSError, ValueError) as error:
            self.log.warn("{path} cannot be read: {error}", path=self.path, error=error)
            self._forget()
        finally:
            os.close(fd)

    def _read(self, mapped: mmap.mmap) -> None:
        at = max(self._size, _HEADER.size)
        rows: list[tuple[int, int, int, int, bytes]] = []
        while at + _HEAD.size <= len(mapped):
            uid, length, body, guid, checksum = _HEAD.unpack_from(mapped, at)
            begin = at + _HEAD.size
            end = begin + (0 if length == _TOO_LONG else length)
            if end > len(mapped) or _checksum(uid, length, body, guid, mapped[begin:end]) != checksum:
                break
            rows.append((uid, begin, end, -1 if length == _TOO_LONG else begin + body, guid))
            at = end
        self._map, self._size = mapped, at
        self._records = np.concatenate((self._records, np.array(rows, dtype=_ROW)))

    def add(self, texts: Iterable[Text]) -> None:
        """Add texts, behind what others added meanwhile; for a thread."""
        records = [_record(text) for text in texts]
        try:
            fd = os.open(self.path, _FLAGS, files.PRIVATE)
        except OSError as error:
            self.log.warn("{path} cannot be written: {error}", path=self.path, error=error)
            return
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            self.load()
            if os.fstat(fd).st_ino != self._inode and os.fstat(fd).st_size:
                # Somebody put another one in its place meanwhile.
                return
            head = _read_header(fd, os.fstat(fd).st_size, self._magic)
            if self._size and head.end == self._size:
                _append(fd, head, records, head.fed, self._magic)
            else:
                # Never made shorter where it is: others may look into it just now.
                start = _HEADER.size
                whole = [os.pread(fd, self._size - start, start)] if self._size > start else []
                files.replace_file(self.path, _whole([*whole, *records], 0, self._magic), sync=False)
        except OSError as error:
            self.log.warn("{path} cannot be written: {error}", path=self.path, error=error)
        finally:
            os.close(fd)
        self.load()

    def fed(self) -> int:
        """The UID up to which messages were added as they came; for a thread."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return 0
        try:
            return _read_header(fd, os.fstat(fd).st_size, self._magic).fed
        except OSError:
            return 0
        finally:
            os.close(fd)

    def feed(self, texts: Iterable[Text], fed: int) -> bool:
        """
        Add texts of messages that came, without a look at those that are there; for a thread.

        @param fed: The UID up to which messages have been added then.
        @return: Whether it could be written.
        """
        records = [_record(text) for text in texts]
        try:
            fd = os.open(self.path, _FLAGS, files.PRIVATE)
        except OSError as error:
            self.log.warn("{path} cannot be written: {error}", path=self.path, error=error)
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if not os.fstat(fd).st_nlink:
                # Somebody put another one in its place meanwhile; the next message is told to that one.
                return False
            head = _read_header(fd, os.fstat(fd).st_size, self._magic)
            if head.end:
                _append(fd, head, records, max(fed, head.fed), self._magic)
            else:
                files.replace_file(self.path, _whole(records, fed, self._magic), sync=False)
        except OSError as error:
            self.log.warn("{path} cannot be written: {error}", path=self.path, error=error)
            return False
        finally:
            os.close(fd)
        return True

    def shrink(self, uids: NDArray[np.uint32]) -> None:
        """Begin anew if most of it tells of messages that are gone; for a thread."""
        if len(self._records) > 1000 and len(self._records) > 2 * max(len(uids), 1):
            try:
                Path(self.path).unlink()
            except OSError as error:
                self.log.warn("{path} cannot be removed: {error}", path=self.path, error=error)
            self._forget()

    def keep(self, uids: NDArray[np.uint32]) -> None:
        """Forget what messages said that are gone; for a thread."""
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        except OSError as error:
            self.log.warn("{path} cannot be written: {error}", path=self.path, error=error)
            return
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            self.load()
            stays = np.isin(self._records["uid"], uids)
            if os.fstat(fd).st_ino != self._inode or self._map is None or stays.all():
                return
            kept = self._records[stays]
            pieces = [
                self._map[begin - _HEAD.size : end] for begin, end in zip(kept["begin"], kept["end"], strict=True)
            ]
            fed = _read_header(fd, os.fstat(fd).st_size, self._magic).fed
            files.replace_file(self.path, _whole(pieces, fed, self._magic), sync=False)
        except OSError as error:
            self.log.warn("{path} cannot be written: {error}", path=self.path, error=error)
        finally:
            os.close(fd)
        self.load()

    def _forget(self) -> None:
        # The map stays open as long as somebody searches in it.
        self._map = None
        self._inode = self._size = 0
        self._records = _NO_RECORDS
        self._hits.clear()
        self._found = None

    def unknown(self, view: View) -> NDArray[np.bool_]:
        """Which messages it says nothing of; for a thread."""
        return self._rows(view) < 0

    # --- on the reactor thread ------------------------------------------

    def _rows(self, view: View) -> NDArray[np.intp]:
        """The last record of each message; -1 if there is none."""
        records, found = self._records, self._found
        if found is None or found[0] is not records or found[1] is not view:
            found = self._found = records, view, self._find(records, view)
        return found[2]

    @staticmethod
    def _find(records: NDArray[np.void], view: View) -> NDArray[np.intp]:
        if not len(records) or not len(view):
            return np.full(len(view), -1, dtype=np.intp)
        order = np.argsort(records["uid"], kind="stable")
        uids = records["uid"][order]
        places = np.searchsorted(uids, view.uids, side="right") - 1
        rows: NDArray[np.intp] = order[np.maximum(places, 0)]
        guids = np.ascontiguousarray(view.guids).view(np.uint8).reshape(len(view), -1)[:, :GUID]
        is_same = (uids[np.maximum(places, 0)] == view.uids) & (places >= 0)
        is_same &= (records["guid"][rows].view(np.uint8).reshape(len(view), -1) == guids).all(axis=1)
        rows[~is_same] = -1
        return rows

    async def matches(self, needle: bytes, view: View, breathe: Breathe, *, in_body: bool) -> Matches:
        """
        Which messages contain a string.

        @param needle: Not empty.
        @param in_body: A place in the header does not count.
        """
        records, mapped = self._records, self._map
        rows = self._rows(view)
        if mapped is None or not len(records):
            return Matches(np.zeros(len(view), dtype=np.bool_), np.ones(len(view), dtype=np.bool_))
        known = self._hits.get(needle, _NOWHERE)
        if len(known) < len(records):
            rest = records[len(known) :]
            new = await scan(mapped, rest["end"], needle, breathe, rest["begin"])
            known = np.concatenate((known, new))
            if records is self._records:
                self._hits[needle] = known
                while len(self._hits) > _REMEMBERED:
                    self._hits.popitem(last=False)
        is_unbounded = records["body_end"] < 0
        is_hit = (known >= 0) & ((known < records["body_end"]) if in_body else True)
        is_there = rows >= 0
        return Matches(is_there & is_hit[rows] & ~is_unbounded[rows], ~is_there | is_unbounded[rows])


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """
    What the log says of each message of a view.

    @ivar certain: The string is in it.
    @ivar undecided: It may be.
    """

    certain: NDArray[np.bool_]
    undecided: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Text:
    """
    What a message says, in UTF-8.

    @ivar guid: Its SHA-1.
    """

    uid: int
    guid: bytes
    header: bytes
    body: bytes


_ROW = np.dtype([("uid", "<u4"), ("begin", "<i8"), ("end", "<i8"), ("body_end", "<i8"), ("guid", f"V{GUID}")])
_NO_RECORDS = np.zeros(0, dtype=_ROW)
_NOWHERE = np.zeros(0, dtype=np.int64)


class _Header(NamedTuple):
    """
    What the head of a log says.

    @ivar end: Where its records end; 0 for none that can be used.
    @ivar fed: The UID up to which messages were added as they came.
    """

    end: int
    fed: int


def _encode_header(end: int, fed: int, magic: bytes) -> bytes:
    octets = _HEADER.pack(magic, end, fed, 0)
    return octets[:-4] + zlib.crc32(octets[:-4]).to_bytes(4, "little")


def _read_header(fd: int, size: int, magic: bytes) -> _Header:
    for _ in range(_TRIES):
        octets = os.pread(fd, _HEADER.size, 0)
        if len(octets) < _HEADER.size:
            break
        found, end, fed, checksum = _HEADER.unpack(octets)
        if found == magic and checksum == zlib.crc32(octets[:-4]):
            return _Header(end, fed) if _HEADER.size <= end <= size else _Header(0, 0)
        # It may be written just now.
    return _Header(0, 0)


_TRIES = 3


def _append(fd: int, head: _Header, records: Sequence[bytes], fed: int, magic: bytes) -> None:
    octets = b"".join(records)
    files.write_all(fd, octets, head.end)
    files.write_all(fd, _encode_header(head.end + len(octets), fed, magic), 0)


def _whole(pieces: Sequence[bytes], fed: int, magic: bytes) -> bytes:
    return b"".join((_encode_header(_HEADER.size + sum(map(len, pieces)), fed, magic), *pieces))


def _record(text: Text) -> bytes:
    # The body comes first: if its first place is in the header, there is none in the body.
    octets = text.body + b"\n" + text.header
    length, body = len(octets), len(text.body)
    if length > MAX_TEXT:
        length, body, octets = _TOO_LONG, 0, b""
    guid = text.guid[:GUID]
    return _HEAD.pack(text.uid, length, body, guid, _checksum(text.uid, length, body, guid, octets)) + octets


def _checksum(uid: int, length: int, body: int, guid: bytes, text: bytes) -> int:
    return zlib.crc32(text, zlib.crc32(_SUMMED.pack(uid, length, body, guid)))


def joined(pieces: Sequence[str]) -> bytes:
    """The text of a message from its pieces."""
    return "\n".join(pieces).encode("utf-8", "replace")
