"""
UIDs, modification sequences and sets of numbers.

RFC 9051 section 2.3.1 (message numbers) and the C{sequence-set} of section 9.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NewType

import numpy as np
from numpy.typing import NDArray

Uid = NewType("Uid", int)
ModSeq = NewType("ModSeq", int)
UidValidity = NewType("UidValidity", int)

UidArray = NDArray[np.uint32]
NO_UIDS: UidArray = np.empty(0, dtype=np.uint32)
Positions = NDArray[np.intp]
"""Indexes into the columns of a view, ascending; position + 1 is the sequence number."""

MAX_NUMBER = 0xFFFFFFFF
LARGEST = 0
"""C{*} within a L{SequenceSet}; 0 is no message number."""


class BadSequenceSet(ValueError):
    """The octets are not a sequence-set, or have too many ranges."""


@dataclass(frozen=True, slots=True)
class SequenceSet:
    """
    A C{sequence-set} as the client wrote it.

    @ivar ranges: Pairs of bounds, both included, in the order given and not
        yet sorted; either bound may be L{LARGEST}.
    """

    ranges: tuple[tuple[int, int], ...]

    @classmethod
    def parse(cls, text: bytes, *, max_ranges: int = 100_000) -> SequenceSet:
        """
        Read C{1:3,7,9:*}.

        @raise BadSequenceSet: Not a sequence-set, a number out of range, or
            more than C{max_ranges} ranges.
        """
        if text.isdigit():
            number = _parse_number(text)
            return cls(((number, number),))
        if text.count(b",") >= max_ranges:
            raise BadSequenceSet("too many ranges")
        return cls(tuple(_parse_range(piece) for piece in text.split(b",")))

    def resolve(self, largest: int) -> list[tuple[int, int]]:
        """
        Sort and merge the ranges, C{*} being C{largest}.

        An empty mailbox has C{largest} 0: then C{*} means nothing.

        @return: Disjoint ascending pairs of bounds, both included.
        """
        if len(self.ranges) == 1:
            low, high = self.ranges[0]
            if low and high:
                return [(low, high) if low <= high else (high, low)]
        bounds = []
        for first, last in self.ranges:
            low = first or largest
            high = last or largest
            if low > high:
                low, high = high, low
            if high:
                bounds.append((low or 1, high))
        bounds.sort()
        merged: list[tuple[int, int]] = []
        for low, high in bounds:
            if merged and low <= merged[-1][1] + 1:
                if high > merged[-1][1]:
                    merged[-1] = (merged[-1][0], high)
            else:
                merged.append((low, high))
        return merged

    def uid_positions(self, uids: UidArray) -> Positions:
        """Positions of the messages whose UID is in the set; others are ignored."""
        largest = int(uids[-1]) if len(uids) else 0
        return positions_of_ranges(self.resolve(largest), uids)

    def encode(self) -> bytes:
        """The octets, as parsed."""
        return b",".join(
            _encode_number(first) if first == last else b"%b:%b" % (_encode_number(first), _encode_number(last))
            for first, last in self.ranges
        )


def _parse_range(piece: bytes) -> tuple[int, int]:
    first, colon, last = piece.partition(b":")
    low = _parse_number(first)
    return low, _parse_number(last) if colon else low


def _parse_number(text: bytes) -> int:
    if text == b"*":
        return LARGEST
    # A leading zero is no nz-number (RFC 9051 section 9).
    if not text.isdigit() or text[0] == 0x30 or len(text) > 10:
        raise BadSequenceSet("not a number")
    number = int(text)
    if number > MAX_NUMBER:
        raise BadSequenceSet("number too large")
    return number


def _encode_number(number: int) -> bytes:
    return b"%d" % number if number else b"*"


def positions_of_ranges(ranges: Iterable[tuple[int, int]], uids: UidArray) -> Positions:
    """
    Positions of the UIDs that lie in sorted disjoint ranges.

    @param ranges: As from L{SequenceSet.resolve}.
    @param uids: Ascending UIDs.
    """
    bounds = np.array(list(ranges), dtype=np.int64).reshape(-1, 2)
    starts = np.searchsorted(uids, bounds[:, 0], "left")
    stops = np.searchsorted(uids, bounds[:, 1], "right")
    if len(bounds) == 1:
        return np.arange(starts[0], stops[0], dtype=np.intp)
    pieces = [np.arange(a, b, dtype=np.intp) for a, b in zip(starts.tolist(), stops.tolist(), strict=True) if a < b]
    return np.concatenate(pieces) if pieces else np.empty(0, dtype=np.intp)


def number_ranges(numbers: NDArray[np.integer]) -> list[tuple[int, int]]:
    """Collapse ascending distinct numbers into pairs of bounds, both included."""
    if not len(numbers):
        return []
    wide = numbers.astype(np.int64, copy=False)
    breaks = np.flatnonzero(np.diff(wide) != 1)
    starts = wide[np.concatenate(([0], breaks + 1))]
    stops = wide[np.concatenate((breaks, [len(wide) - 1]))]
    return list(zip(starts.tolist(), stops.tolist(), strict=True))


def encode_numbers(numbers: NDArray[np.integer]) -> bytes:
    """
    Write ascending distinct numbers as the shortest sequence-set.

    @return: Empty for no numbers; the caller must not send that.
    """
    return b",".join(b"%d" % low if low == high else b"%d:%d" % (low, high) for low, high in number_ranges(numbers))
