"""
How often something happened of late, per key: in one process, or in memory that all workers inherit.

The shared table has slots of one size and no locks.  Two processes that count at the
same moment may count once, and a slot that was read while another process wrote it
fails its check and counts as empty: neither lets anybody in.
"""

from __future__ import annotations

import mmap
import struct
from hashlib import blake2b
from hmac import compare_digest
from typing import Protocol

_SLOT = struct.Struct("<16s24sdI")
SLOT_SIZE = 64
WAYS = 4
"""Slots that an entry may be in: the oldest of them is the one that goes."""


class Counts(Protocol):
    """Counts events per key, and forgets those that are long ago."""

    def add(self, key: str, now: float) -> int:
        """Count one more; @return: how many there were of late."""

    def count(self, key: str, now: float) -> int:
        """How many there were of late."""

    def forget(self, key: str) -> None:
        """Begin anew."""


class LocalCounts:
    """Counts of one process; what was not touched for longest goes first."""

    def __init__(self, memory: float, entries: int) -> None:
        """
        @param memory: Seconds after the last event, when the count begins anew.
        @param entries: Keys that are remembered.
        """
        self._memory = memory
        self._entries = entries
        self._counts: dict[str, tuple[float, int]] = {}

    def add(self, key: str, now: float) -> int:
        """See L{Counts}."""
        count = self.count(key, now) + 1
        self._counts.pop(key, None)
        self._counts[key] = (now, count)
        if len(self._counts) > self._entries:
            del self._counts[next(iter(self._counts))]
        return count

    def count(self, key: str, now: float) -> int:
        """See L{Counts}."""
        time, count = self._counts.get(key, (now, 0))
        return count if now - time <= self._memory else 0

    def forget(self, key: str) -> None:
        """See L{Counts}."""
        self._counts.pop(key, None)

    def __len__(self) -> int:
        return len(self._counts)


class SharedCounts:
    """Counts that all processes see which inherited the table."""

    def __init__(self, table: mmap.mmap, secret: bytes, memory: float) -> None:
        """
        @param table: Zeros at first, of C{SLOT_SIZE} times the number of slots.
        @param secret: Keys the digests, so that nobody can choose what shares slots with what.
        @param memory: As L{LocalCounts}.
        """
        self._table = table
        self._slots = len(table) // SLOT_SIZE
        self._secret = secret
        self._memory = memory

    def add(self, key: str, now: float) -> int:
        """See L{Counts}."""
        digest = self._digest(key)
        offset, count = self._find(digest, now)
        if offset is None:
            offset = min(self._places(digest), key=self._time)
        count = min(count + 1, 0xFFFFFFFF)
        body = _SLOT.pack(b"", digest, now, count)[16:]
        self._table[offset : offset + _SLOT.size] = self._check(body) + body
        return count

    def count(self, key: str, now: float) -> int:
        """See L{Counts}."""
        return self._find(self._digest(key), now)[1]

    def forget(self, key: str) -> None:
        """See L{Counts}."""
        offset, _ = self._find(self._digest(key), 0.0)
        if offset is not None:
            self._table[offset : offset + _SLOT.size] = bytes(_SLOT.size)

    def _find(self, digest: bytes, now: float) -> tuple[int | None, int]:
        """The slot of a key, and its count of late."""
        for offset in self._places(digest):
            data = self._table[offset : offset + _SLOT.size]
            check, found, time, count = _SLOT.unpack(data)
            if found == digest and compare_digest(check, self._check(data[16:])):
                return offset, count if now - time <= self._memory else 0
        return None, 0

    def _time(self, offset: int) -> float:
        """When a slot was written; empty ones come first."""
        time: float = _SLOT.unpack_from(self._table, offset)[2]
        return time

    def _places(self, digest: bytes) -> list[int]:
        first = int.from_bytes(digest[:8], "little")
        return [SLOT_SIZE * ((first + way) % self._slots) for way in range(WAYS)]

    def _digest(self, key: str) -> bytes:
        return blake2b(
            key.encode("utf-8", "surrogateescape"), digest_size=24, key=self._secret, person=b"count"
        ).digest()

    def _check(self, body: bytes) -> bytes:
        return blake2b(body, digest_size=16, key=self._secret, person=b"slot").digest()
