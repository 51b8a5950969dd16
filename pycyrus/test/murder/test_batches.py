"""How messages are cut into batches."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.murder.batches import batches


@dataclass(frozen=True, slots=True)
class Message:
    size: int


class BatchesTests(SynchronousTestCase):
    @settings(max_examples=100, deadline=None, database=None)
    @given(st.lists(st.integers(0, 40).map(Message), max_size=30))
    def test_any(self, messages: list[Message]) -> None:
        """All are there, in order; no batch has more than it may, and none could have had the next message."""
        found = list(batches(messages, octets=20, most=4))
        self.assertEqual([each for batch in found for each in batch], messages)
        for batch in found:
            self.assertTrue(len(batch) == 1 or (sum(each.size for each in batch) <= 20 and len(batch) <= 4), batch)
        for batch, after in pairwise(found):
            self.assertTrue(len(batch) == 4 or sum(each.size for each in batch) + after[0].size > 20)
