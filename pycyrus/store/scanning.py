"""
Many texts in one run of octets, searched at C's speed.

A search for a string costs one pass over all texts, and nothing for each text
that does not have it.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from mmap import mmap
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

WINDOW = 1 << 20
"""Octets looked at between two turns of other sessions."""

_HITS = 128
"""Places found between two turns."""

_MOST_OWNERS = 4096

Breathe = Callable[[], Awaitable[None]]


async def scan(
    octets: bytes | bytearray | mmap,
    ends: NDArray[np.int64],
    needle: bytes,
    breathe: Breathe,
    begins: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """
    Find the texts that contain a string.

    @param octets: All texts, one behind the other.
    @param ends: Where each text ends, ascending.
    @param needle: Not empty.
    @param begins: Where each text begins, if other octets stand before it.
    @return: Where in C{octets} it first stands in each text; -1 where it does not.
    """
    # A field of records is no array by itself: each look into it would copy it.
    ends = np.ascontiguousarray(ends)
    found = np.full(len(ends), -1, dtype=np.int64)
    size = int(ends[-1]) if len(ends) else 0
    at = int(begins[0]) if begins is not None and len(begins) else 0
    window = at + WINDOW
    hits = 0
    while at < size:
        stop = min(window + len(needle) - 1, size)
        hit = octets.find(needle, at, stop)
        if hit < 0:
            at = max(at, stop - len(needle) + 1)
            if stop == size:
                break
            window = at + WINDOW
            await breathe()
            continue
        hits += 1
        text = int(ends.searchsorted(hit, "right"))
        end = int(ends[text])
        if begins is not None and hit < begins[text]:
            at = hit + 1
        elif hit + len(needle) <= end:
            found[text] = hit
            # One hit in a text is enough.
            at = end
        else:
            at = hit + 1
        if at >= window or hits == _HITS:
            window, hits = at + WINDOW, 0
            await breathe()
    return found


class FormsBudget:
    """
    How much all joined texts of a process may take: those that were not used for the longest time go.

    @ivar most: Octets.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._used: OrderedDict[tuple[int, object], tuple[weakref.ref[FormsOwner], int]] = OrderedDict()

    def note(self, owner: FormsOwner, item: object, octets: int) -> None:
        """Something was used just now, and has so many octets."""
        key = (id(owner), item)
        self._used.pop(key, None)
        self._used[key] = weakref.ref(owner), octets
        total = sum(size for _, size in self._used.values())
        while (total > self.most or len(self._used) > _MOST_OWNERS) and len(self._used) > 1:
            (_, oldest), (reference, size) = self._used.popitem(last=False)
            total -= size
            other = reference()
            if other is not None:
                other.forget_forms(oldest)


class FormsOwner(Protocol):
    """Who has joined texts."""

    def forget_forms(self, item: object) -> None:
        """Have them made again when they are needed."""


class JoinedForms:
    """Short texts of the messages of a view, one behind the other; grows with its mailbox."""

    __slots__ = ("_ends", "_octets", "_uids")

    LARGEST = 1 << 26
    """Octets that are kept for one field of one mailbox."""

    def __init__(self) -> None:
        self._uids: NDArray[np.uint32] = np.zeros(0, dtype=np.uint32)
        self._octets = bytearray()
        self._ends: NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._octets) + self._ends.nbytes

    def missing_from(self, uids: NDArray[np.uint32]) -> int | None:
        """
        From which position on the texts of these messages are still to be added.

        Forgets everything where other messages went before; None if there is no room.
        """
        known = len(self._uids)
        if known > len(uids) or (uids is not self._uids and not np.array_equal(self._uids, uids[:known])):
            self._octets = bytearray()
            self._ends = np.zeros(0, dtype=np.int64)
            self._uids = uids[:0]
            known = 0
        return known if len(self._octets) < self.LARGEST else None

    def add(self, uids: NDArray[np.uint32], texts: Sequence[bytes]) -> None:
        """Add the texts of the next messages."""
        lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts)) + 1
        self._ends = np.concatenate((self._ends, len(self._octets) + np.cumsum(lengths)))
        # No text has a line end in it.
        self._octets += b"\n".join(texts) + b"\n" if texts else b""
        self._uids = uids[: len(self._ends)]

    async def containing(self, needle: bytes, breathe: Breathe) -> NDArray[np.bool_]:
        """Which texts contain a string."""
        return await scan(self._octets, self._ends, needle, breathe) >= 0
