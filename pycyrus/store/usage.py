"""
What each mailbox uses, where all processes see it at once: C{usage.map}.

A slot of fixed size for each mailbox, at the number of its row in the mailbox
list.  Whoever has the mailbox's lock writes the whole truth there, not a
difference, so nothing ever adds up wrong.  A slot is marked while its mailbox is
being written: who dies then leaves the mark, and after a restart of the machine
a slot counts only if the journal is as long as it says.  What does not count is
counted again from the mailbox itself.  So the file may be lost at any time.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pycyrus.store import files

FILE_NAME = "usage.map"
_SLOT = np.dtype(
    [
        ("octets", "<u8"),
        ("journal", "<u8"),
        ("inode", "<u8"),
        ("messages", "<u4"),
        ("mailbox", "<u4"),
        ("boot", "<u4"),
        ("noted", "<u4"),
        ("checksum", "<u4"),
        ("busy", "<u4"),
    ]
)
_FACTS = struct.Struct("<QQQIIII")
_CHECKSUM_AT = _FACTS.size
_BUSY_AT = _CHECKSUM_AT + 4
_WORD = struct.Struct("<I")
_STEP = 4096
"""Slots by which the file grows."""


def mark_of(unique_id: str) -> int:
    """What tells whose slot it is: numbers of rows may be used again."""
    return zlib.crc32(unique_id.encode("ascii")) or 1


class Sums(NamedTuple):
    """
    What some mailboxes use together.

    @ivar noted: Octets of messages' annotations.
    """

    octets: int
    messages: int
    noted: int


def _added(slots: NDArray[np.void]) -> Sums:
    return Sums(*(int(slots[name].sum(dtype=np.int64)) for name in ("octets", "messages", "noted")))


class UsageMap:
    """
    The slots.

    Everything may raise OSError: the file cannot be made, or not grow.
    """

    def __init__(self, configdirectory: Path) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = files.open_file(str(configdirectory / FILE_NAME), flags, files.PRIVATE)
        self._boot = zlib.crc32(files.boot_id())
        self._map: mmap.mmap | None = None
        self._slots: NDArray[np.void] = np.empty(0, dtype=_SLOT)

    def begin(self, number: int) -> None:
        """The mailbox is about to be written."""
        _WORD.pack_into(self._mapped(number), number * _SLOT.itemsize + _BUSY_AT, 1)

    def put(self, number: int, mark: int, octets: int, messages: int, journal: int, inode: int, noted: int = 0) -> None:
        """
        Say what a mailbox uses; its lock is held.

        @param mark: L{mark_of} its unique id.
        @param journal: Length of its journal, whose inode is C{inode}.
        @param noted: Octets of its messages' annotations.
        """
        at = number * _SLOT.itemsize
        mapped = self._mapped(number)
        _FACTS.pack_into(mapped, at, octets, journal, inode, messages, mark, self._boot, noted)
        _WORD.pack_into(mapped, at + _CHECKSUM_AT, zlib.crc32(mapped[at : at + _CHECKSUM_AT]))
        # Last: until now nobody believes it.
        _WORD.pack_into(mapped, at + _BUSY_AT, 0)

    def sums(self, numbers: NDArray[np.int64], marks: NDArray[np.uint32]) -> tuple[Sums, NDArray[np.int64]]:
        """
        Add up slots.

        @param numbers: Which.
        @param marks: Whose they should be.
        @return: The sums, and the indexes of slots that do not count yet;
            of such the last known values are added where there are any.
        """
        if not len(numbers):
            return Sums(0, 0, 0), numbers
        self._mapped(int(numbers.max()))
        slots = self._slots[numbers]
        known = slots["mailbox"] == marks
        sure = known & (slots["busy"] == 0) & (slots["boot"] == self._boot)
        if sure.all():
            return _added(slots), numbers[:0]
        return _added(slots[known]), np.flatnonzero(~sure)

    def confirm(self, number: int, mark: int, journal: int, inode: int) -> bool:
        """
        Trust a slot from before a restart of the machine, if the journal is as it says.

        @return: Whether it counts now.
        """
        at = number * _SLOT.itemsize
        mapped = self._mapped(number)
        octets, length, node, messages, owner, boot, noted = _FACTS.unpack_from(mapped, at)
        checksum, busy = struct.unpack_from("<II", mapped, at + _CHECKSUM_AT)
        if (length, node, owner, busy) != (journal, inode, mark, 0):
            return False
        if boot != self._boot:
            if checksum != zlib.crc32(mapped[at : at + _CHECKSUM_AT]):
                return False
            self.put(number, mark, octets, messages, journal, inode, noted)
        return True

    def _mapped(self, number: int) -> mmap.mmap:
        if self._map is None or number >= len(self._slots):
            self._grow(number)
        assert self._map is not None
        return self._map

    def _grow(self, number: int) -> None:
        wanted = (number // _STEP + 1) * _STEP * _SLOT.itemsize
        size = files.fstat(self._fd).st_size
        if size < wanted:
            # With its blocks: a full disk would otherwise kill whoever writes to the mapping.
            os.posix_fallocate(self._fd, size, wanted - size)
            size = files.fstat(self._fd).st_size
        # The old mapping goes when nobody has an array of it any more.
        self._map = mmap.mmap(self._fd, size)
        self._slots = np.frombuffer(self._map, dtype=_SLOT, count=size // _SLOT.itemsize)

    def close(self) -> None:
        """Give the file back."""
        self._slots = np.empty(0, dtype=_SLOT)
        self._map = None
        files.close(self._fd)


def array_of(numbers: Sequence[int]) -> NDArray[np.int64]:
    """Numbers of slots, for L{UsageMap.sums}."""
    return np.array(numbers, dtype=np.int64)
