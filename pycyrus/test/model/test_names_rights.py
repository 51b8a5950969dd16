"""Rights as text, and sets of UIDs as ranges."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.model.acl import Acl
from pycyrus.model.acl_text import BadAcl, parse_acl, parse_default_acl, parse_rights, write_acl, write_rights
from pycyrus.model.ranges import Ranges, difference, parse_ranges, union, write_ranges

sets = st.sets(st.integers(1, 60), max_size=30)


def ranges(numbers: set[int]) -> Ranges:
    return union(tuple((number, number) for number in numbers), ())


def numbers(found: Ranges) -> set[int]:
    return {number for low, high in found for number in range(low, high + 1)}


class Text(SynchronousTestCase):
    def test_round_trip(self) -> None:
        acl = Acl((("fred@example.com", frozenset("lrs")), ("-group:x", frozenset("te09"))))
        self.assertEqual(write_acl(acl), "fred@example.com\tlrs\t-group:x\tte09\t")
        self.assertEqual(parse_acl(write_acl(acl)), acl)
        self.assertEqual(parse_acl(""), Acl())

    def test_old_letters(self) -> None:
        """RFC 4314 section 2.1.1: an old letter counts where none of its new ones is given."""
        self.assertEqual(parse_rights("lrc"), frozenset("lrkx"))
        self.assertEqual(parse_rights("d"), frozenset("te"))
        self.assertEqual(parse_rights("dt"), frozenset("t"))
        self.assertEqual(write_rights(frozenset("etxkp")), "pkxte")

    def test_default(self) -> None:
        self.assertEqual(
            parse_default_acl("anyone lrs  fred d"), Acl((("anyone", frozenset("lrs")), ("fred", frozenset("te"))))
        )
        for text in ["anyone", "anyone Q", "a l a r"]:
            self.assertRaises(BadAcl, parse_default_acl, text)

    def test_garbage(self) -> None:
        for text in ["x", "a\tl", "\tl\t", "a\tz\t", "a\tl\ta\tr\t"]:
            self.assertRaises(BadAcl, parse_acl, text)


class RangeSets(SynchronousTestCase):
    @settings(max_examples=300, deadline=None, database=None)
    @given(sets, sets)
    def test_like_sets(self, left: set[int], right: set[int]) -> None:
        self.assertEqual(union(ranges(left), ranges(right)), ranges(left | right))
        self.assertEqual(difference(ranges(left), ranges(right)), ranges(left - right))
        self.assertEqual(numbers(ranges(left)), left)
        self.assertEqual(parse_ranges(write_ranges(ranges(left))), ranges(left))

    def test_garbage(self) -> None:
        for text in ["x", "0", "3:1", "1:", "-1"]:
            self.assertRaises(ValueError, parse_ranges, text)
