"""
UIDs, modification sequences and sets of numbers.

RFC 9051 section 2.3.1 (message numbers) and the C{sequence-set} of section 9.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

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
        if _SET.fullmatch(text) is None:
            raise BadSequenceSet("not a sequence-set")
        # One operation for all of them: clients send sets of ten thousand.
        numbers = list(map(int, text.replace(b"*", b"0").replace(b":", b",").split(b",")))
        if max(numbers) > MAX_NUMBER:
            raise BadSequenceSet("number too large")
        if b":" not in text:
            return cls(tuple(zip(numbers, numbers, strict=True)))
        # What stands between the numbers tells which of them are ends of a range.
        signs = b"," + text.translate(None, b"0123456789*") + b","
        firsts = [number for number, before in zip(numbers, signs[:-1], strict=True) if before == _COMMA]
        lasts = [number for number, after in zip(numbers, signs[1:], strict=True) if after == _COMMA]
        return cls(tuple(zip(firsts, lasts, strict=True)))

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
        return [(low, high) for low, high in self.bounds(largest).tolist()]

    def bounds(self, largest: int) -> NDArray[np.int64]:
        """As L{resolve}, in rows of an array: for sets of thousands of ranges."""
        bounds = bounds_of(self.ranges)
        bounds[bounds == LARGEST] = largest
        bounds.sort(axis=1)
        bounds = bounds[bounds[:, 1] > 0]
        bounds[:, 0] = np.maximum(bounds[:, 0], 1)
        if len(bounds) <= 1:
            return bounds
        if not (bounds[1:, 0] > bounds[:-1, 1] + 1).all():
            bounds = bounds[np.argsort(bounds[:, 0], kind="stable")]
            ends = np.maximum.accumulate(bounds[:, 1])
            begins = np.flatnonzero(np.concatenate(([True], bounds[1:, 0] > ends[:-1] + 1)))
            bounds = np.stack((bounds[begins, 0], ends[np.append(begins[1:] - 1, len(ends) - 1)]), axis=1)
        return bounds

    def uid_positions(self, uids: UidArray) -> Positions:
        """Positions of the messages whose UID is in the set; others are ignored."""
        largest = int(uids[-1]) if len(uids) else 0
        if len(self.ranges) == 1:
            return positions_of_ranges(self.resolve(largest), uids)
        return _positions_of_bounds(self.bounds(largest), uids)

    def encode(self) -> bytes:
        """The octets, as parsed."""
        return b",".join(
            _encode_number(first) if first == last else b"%b:%b" % (_encode_number(first), _encode_number(last))
            for first, last in self.ranges
        )


_COMMA = ord(",")
# No leading zeros (RFC 9051 section 9).
_SET = re.compile(
    rb"(?:[1-9][0-9]{0,9}|\*)(?::(?:[1-9][0-9]{0,9}|\*))?(?:,(?:[1-9][0-9]{0,9}|\*)(?::(?:[1-9][0-9]{0,9}|\*))?)*+"
)


def _parse_number(text: bytes) -> int:
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
    return _positions_of_bounds(bounds_of(ranges), uids)


def _positions_of_bounds(bounds: NDArray[np.int64], uids: UidArray) -> Positions:
    bounds = np.minimum(bounds, MAX_NUMBER).astype(np.uint32)
    return spans(np.searchsorted(uids, bounds[:, 0], "left"), np.searchsorted(uids, bounds[:, 1], "right"))


def bounds_of(ranges: Iterable[tuple[int, int]]) -> NDArray[np.int64]:
    """Pairs of bounds as rows of an array."""
    return np.fromiter(chain.from_iterable(ranges), dtype=np.int64).reshape(-1, 2)


def spans(starts: NDArray[np.integer], stops: NDArray[np.integer]) -> Positions:
    """All positions of half-open ranges, one range behind the other; empty ones have none."""
    if len(starts) == 1:
        return np.arange(starts[0], stops[0], dtype=np.intp)
    lengths = np.maximum(stops - starts, 0)
    if not len(lengths):
        return np.empty(0, dtype=np.intp)
    # Each is its place among all, moved by what its range begins with.
    shifts = starts - (np.cumsum(lengths) - lengths)
    found: Positions = np.repeat(shifts, lengths) + np.arange(int(lengths.sum()), dtype=np.intp)
    return found


_SPARSE = 16
"""One UID of so many is looked for by itself rather than all together."""


def positions_in(uids: UidArray, wanted: UidArray) -> Positions:
    """Where ascending UIDs are among others; those that are not there are left out."""
    if not len(uids) or not len(wanted):
        return np.empty(0, dtype=np.intp)
    low = int(uids[0])
    width = int(uids[-1]) - low + 1
    if len(wanted) * _SPARSE > len(uids) and width <= _SPARSE * len(uids):
        # A table costs a fifth of as many searches.
        inside = wanted[np.searchsorted(wanted, uids[0]) : np.searchsorted(wanted, uids[-1], "right")]
        is_wanted = np.zeros(width, dtype=np.bool_)
        is_wanted[inside - np.uint32(low)] = True
        return np.flatnonzero(is_wanted[uids - np.uint32(low)])
    places = np.searchsorted(uids, wanted)
    places[places == len(uids)] = 0
    found: Positions = places[uids[places] == wanted]
    return found


def number_ranges(numbers: NDArray[np.integer]) -> list[tuple[int, int]]:
    """Collapse ascending distinct numbers into pairs of bounds, both included."""
    starts, stops = runs(numbers)
    return list(zip(starts.tolist(), stops.tolist(), strict=True))


def runs(numbers: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last of each run of neighbours."""
    wide = numbers.astype(np.int64, copy=False)
    if not len(wide):
        return wide, wide
    breaks = np.flatnonzero(np.diff(wide) != 1)
    return wide[np.concatenate(([0], breaks + 1))], wide[np.concatenate((breaks, [len(wide) - 1]))]


def encode_numbers(numbers: NDArray[np.integer]) -> bytes:
    """
    Write ascending distinct numbers as the shortest sequence-set.

    @return: Empty for no numbers; the caller must not send that.
    """
    starts, stops = runs(numbers)
    is_range = starts != stops
    bounds = np.stack((starts, stops), axis=1)[np.stack((np.ones_like(is_range), is_range), axis=1)]
    text = b"".join([b",%d:%d" if each else b",%d" for each in is_range.tolist()]) % tuple(bounds.tolist())
    return text[1:]
