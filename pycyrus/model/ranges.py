"""Sets of UIDs as sorted disjoint ranges: union, difference, text."""

from __future__ import annotations

from collections.abc import Iterable

Ranges = tuple[tuple[int, int], ...]
"""Ascending pairs of bounds, both included, that neither touch nor overlap."""


def union(left: Ranges, right: Ranges) -> Ranges:
    """What is in either."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted((*left, *right)):
        if merged and low <= merged[-1][1] + 1:
            if high > merged[-1][1]:
                merged[-1] = (merged[-1][0], high)
        else:
            merged.append((low, high))
    return tuple(merged)


def difference(left: Ranges, right: Ranges) -> Ranges:
    """What is in the first and not in the second."""
    rest: list[tuple[int, int]] = []
    cuts = iter(right)
    cut = next(cuts, None)
    for low, high in left:
        start = low
        while cut is not None and cut[1] < start:
            cut = next(cuts, None)
        while cut is not None and cut[0] <= high:
            if cut[0] > start:
                rest.append((start, cut[0] - 1))
            start = cut[1] + 1
            if cut[1] >= high:
                break
            cut = next(cuts, None)
        if start <= high:
            rest.append((start, high))
    return tuple(rest)


def write_ranges(ranges: Iterable[tuple[int, int]]) -> str:
    """As in C{1:3,7}; empty for none."""
    return ",".join(str(low) if low == high else f"{low}:{high}" for low, high in ranges)


def parse_ranges(text: str) -> Ranges:
    """
    The reverse of L{write_ranges}, in any order.

    @raise ValueError: It is none.
    """
    found: list[tuple[int, int]] = []
    for piece in text.split(",") if text else ():
        low, colon, high = piece.partition(":")
        bounds = (int(low), int(high if colon else low))
        if not 0 < bounds[0] <= bounds[1]:
            raise ValueError("not a range")
        found.append(bounds)
    return union(tuple(found), ())
