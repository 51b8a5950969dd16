"""
Right answers that all workers share, in memory that they inherit.

A password that one worker has checked needs no second hash in another.  The
memory is a table of slots of one size, without locks: a slot that was read while
another process wrote it fails its check, and counts as empty.
"""

from __future__ import annotations

import mmap
import secrets
import struct
from hashlib import blake2b
from hmac import compare_digest

from pycyrus.auth import counts

SLOT_SIZE = 256
SLOTS = 16384
WAYS = 4
"""Slots that an entry may be in: the oldest of them is the one that goes."""

_GENERATION = struct.Struct("<Q")
_SLOT = struct.Struct("<16s32sdQB191s")
_MAX_AVATAR = 191


class SharedMemory:
    """
    What is made once, before the workers are forked.

    @ivar secret: Key of all digests; it never leaves these processes.
    @ivar failures: For L{pycyrus.auth.counts.SharedCounts} of failed logins.
    @ivar successes: Likewise of who has logged in from where.
    """

    def __init__(self, slots: int = SLOTS) -> None:
        self.secret = secrets.token_bytes(32)
        self.slots = slots
        self.table = mmap.mmap(-1, SLOT_SIZE * (slots + 1))
        self.failures = mmap.mmap(-1, counts.SLOT_SIZE * slots)
        self.successes = mmap.mmap(-1, counts.SLOT_SIZE * slots * 4)

    @property
    def generation(self) -> int:
        """Counts how often everything was forgotten."""
        found: int = _GENERATION.unpack_from(self.table)[0]
        return found

    def next_generation(self) -> None:
        """
        Forget everything.

        Two processes that count at the same moment may count once: that forgets as well.
        """
        _GENERATION.pack_into(self.table, 0, self.generation + 1)


class SharedAnswers:
    """
    Answers of one kind, as L{pycyrus.auth.cache} wants them.

    @param lifetime: Seconds for which an answer is believed; 0 for not at all.
    """

    def __init__(self, memory: SharedMemory, lifetime: float) -> None:
        self._memory = memory
        self._lifetime = lifetime

    def get(self, key: bytes, now: float) -> bytes | None:
        """The answer for a digest of 32 octets."""
        for offset in self._places(key):
            entry = self._read(offset, key)
            if entry is not None and entry[0] > now and entry[1] == self._memory.generation:
                return entry[2]
        return None

    def put(self, key: bytes, avatar_id: bytes, now: float) -> None:
        """Keep an answer, in place of the one of its slots that is oldest."""
        if self._lifetime <= 0 or len(avatar_id) > _MAX_AVATAR:
            return
        places = self._places(key)
        offset = min(places, key=lambda place: self._age(place, key))
        generation = self._memory.generation
        body = _SLOT.pack(b"", key, now + self._lifetime, generation, len(avatar_id), avatar_id)[16:]
        self._memory.table[offset : offset + _SLOT.size] = self._check(body) + body

    def clear(self) -> None:
        """Believe nothing any more, in no process."""
        self._memory.next_generation()

    def _places(self, key: bytes) -> list[int]:
        first = int.from_bytes(key[:8], "little")
        return [SLOT_SIZE * (1 + (first + way) % self._memory.slots) for way in range(WAYS)]

    def _age(self, offset: int, key: bytes) -> float:
        """When a slot expires; its own entry and empty slots come first."""
        data = self._memory.table[offset : offset + _SLOT.size]
        _check, found, expires, generation, _length, _avatar = _SLOT.unpack(data)
        if found == key:
            return -1.0
        return float(expires) if generation == self._memory.generation else 0.0

    def _read(self, offset: int, key: bytes) -> tuple[float, int, bytes] | None:
        data = self._memory.table[offset : offset + _SLOT.size]
        check, found, expires, generation, length, avatar_id = _SLOT.unpack(data)
        if found != key or not compare_digest(check, self._check(data[16:])):
            return None
        return expires, generation, avatar_id[:length]

    def _check(self, body: bytes) -> bytes:
        return blake2b(body, digest_size=16, key=self._memory.secret, person=b"slot").digest()
