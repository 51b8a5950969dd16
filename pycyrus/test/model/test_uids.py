"""Tests of L{pycyrus.model.uids}."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.model.uids import BadSequenceSet, SequenceSet, encode_numbers, number_ranges

bounds = st.integers(min_value=0, max_value=40)
sets = st.lists(st.tuples(bounds, bounds), min_size=1, max_size=8).map(lambda ranges: SequenceSet(tuple(ranges)))
uid_lists = st.sets(st.integers(min_value=1, max_value=45), max_size=30).map(
    lambda uids: np.array(sorted(uids), dtype=np.uint32)
)
quick = settings(max_examples=200, deadline=None, database=None)


def members(wanted: SequenceSet, largest: int) -> set[int]:
    """What the set means, by RFC 9051 section 9, the slow way."""
    found: set[int] = set()
    for first, last in wanted.ranges:
        low, high = sorted((first or largest, last or largest))
        found.update(range(low, high + 1))
    return found - {0}


class SequenceSetTests(SynchronousTestCase):
    """Sets of numbers as clients write them."""

    def test_parse_and_encode(self) -> None:
        for text in (b"1", b"*", b"1:3", b"5:1,7,9:*", b"4294967295:*"):
            self.assertEqual(SequenceSet.parse(text).encode(), text)

    def test_refuses_what_is_no_set(self) -> None:
        for text in (b"", b"0", b"01", b"1:", b":1", b"1,,2", b"-1", b"1:2:3", b"4294967296", b"a", b"1 ", b"9" * 40):
            self.assertRaises(BadSequenceSet, SequenceSet.parse, text)

    def test_refuses_too_many_ranges(self) -> None:
        self.assertRaises(BadSequenceSet, SequenceSet.parse, b"1:*," * 10 + b"1", max_ranges=10)

    @quick
    @given(sets, uid_lists)
    def test_uid_positions(self, wanted: SequenceSet, uids: np.ndarray) -> None:
        """UIDs that do not exist are ignored, the rest found in order."""
        expected = members(wanted, int(uids[-1]) if len(uids) else 0)
        self.assertEqual(uids[wanted.uid_positions(uids)].tolist(), [uid for uid in uids.tolist() if uid in expected])

    @quick
    @given(uid_lists)
    def test_encode_numbers(self, uids: np.ndarray) -> None:
        """The shortest set says the same, and ranges do not touch."""
        ranges = number_ranges(uids)
        self.assertEqual([n for low, high in ranges for n in range(low, high + 1)], uids.tolist())
        self.assertTrue(all(after[0] > before[1] + 1 for before, after in itertools.pairwise(ranges)))
        if len(uids):
            self.assertEqual(uids[SequenceSet.parse(encode_numbers(uids)).uid_positions(uids)].tolist(), uids.tolist())
