"""
What the messages of a mailbox say, folded for searching: C{pycyrus.text}.

It is made when a text is first looked for, and grows with later searches; it can
be removed at any time.  All numbers are little-endian::

    octets 0-7   C{PYCTEXT2}
    records      u32 UID, u32 octets of text, u32 octets of body in it, the first 8 octets of the
                 message's SHA-1, u32 CRC-32 of all that and the text; the text in UTF-8: body, then header
                 length 0xFFFFFFFF: too long to be kept, so it may contain anything

A record tells of the message with its UID only if that has its SHA-1.  One that is
torn or damaged ends what is read; the next writer cuts it off.
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

import numpy as np
from numpy.typing import NDArray
from twisted.logger import Logger

from pycyrus.model.view import View
from pycyrus.store import files
from pycyrus.store.scanning import Breathe, scan

NAME = "pycyrus.text"
MAGIC = b"PYCTEXT2"
GUID = 8
MAX_TEXT = 1 << 20
"""Octets of text kept of one message."""
MAX_NEEDLE = 256
"""Characters; the texts overlap that far where they were cut into pieces."""
_HEAD = struct.Struct("<III8sI")
_SUMMED = struct.Struct("<III8s")
_REMEMBERED = 16
"""Strings whose places are remembered, so that only new texts are looked through."""
_TOO_LONG = 0xFFFFFFFF
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class TextLog:
    """
    The log of one mailbox; every use may be the first.

    Trouble with its file is no trouble for a search: it then narrows nothing.
    """

    log = Logger()

    def __init__(self, path: str) -> None:
        self.path = path
        self._map: mmap.mmap | None = None
        self._inode = 0
        self._size = 0
        self._records = _NO_RECORDS
        self._hits: OrderedDict[bytes, NDArray[np.int64]] = OrderedDict()

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
            if status.st_ino != self._inode or status.st_size < self._size:
                self._forget()
            self._inode = status.st_ino
            if status.st_size > max(self._size, len(MAGIC)):
                self._read(mmap.mmap(fd, status.st_size, access=mmap.ACCESS_READ))
        except (OSError, ValueError) as error:
            self.log.warn("{path} cannot be read: {error}", path=self.path, error=error)
            self._forget()
        finally:
            os.close(fd)

    def _read(self, mapped: mmap.mmap) -> None:
        if mapped[: len(MAGIC)] != MAGIC:
            mapped.close()
            return
        at = max(self._size, len(MAGIC))
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
            if self._size and os.fstat(fd).st_size == self._size:
                files.write_all(fd, b"".join(records), self._size)
            else:
                # Never made shorter where it is: others may look into it just now.
                whole = os.pread(fd, self._size, 0) if self._size else MAGIC
                files.replace_file(self.path, whole + b"".join(records), sync=False)
        except OSError as error:
            self.log.warn("{path} cannot be written: {error}", path=self.path, error=error)
        finally:
            os.close(fd)
        self.load()

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
            files.replace_file(self.path, MAGIC + b"".join(pieces), sync=False)
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

    # --- on the reactor thread ------------------------------------------

    def unknown(self, view: View) -> NDArray[np.bool_]:
        """Which messages it says nothing of."""
        return self._rows(view) < 0

    def _rows(self, view: View) -> NDArray[np.intp]:
        """The last record of each message; -1 if there is none."""
        records = self._records
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
