"""The partition of a new mailbox, in every mode of C{partition_select_mode}."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.errors import StoreUnavailable
from pycyrus.store.partition_choice import ChoiceSettings, PartitionChoice, Roots, SelectMode, Space
from pycyrus.store.partition_choice import look as look_at_disks

SPACES = [Space("big", 900, 30.0), Space("full", 10, 1.0), Space("small", 500, 60.0)]
ROOTS = {space.name: Path("/") / space.name for space in SPACES}


class ChoiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.looks = 0

    def look(self, roots: Roots) -> list[Space]:
        self.looks += 1
        return [space for space in SPACES if space.name in roots]

    def choice(
        self, mode: SelectMode, draw: Callable[[], float] = lambda: 0.0, roots: Roots = ROOTS, **more: object
    ) -> PartitionChoice:
        return PartitionChoice(roots, ChoiceSettings(mode, **more), self.look, draw)  # type: ignore[arg-type] # by name

    def counted(self, mode: SelectMode) -> Counter[str]:
        """How often each is chosen, by a thousand evenly spread draws."""
        draws = itertools.count()
        choice = self.choice(mode, lambda: next(draws) / 1000)
        return Counter(choice.choose() for _ in range(1000))

    def test_most(self) -> None:
        self.assertEqual(self.choice(SelectMode.FREESPACE_MOST).choose(), "big")
        self.assertEqual(self.choice(SelectMode.FREESPACE_PERCENT_MOST).choose(), "small")

    def test_by_chance(self) -> None:
        """As often as there is room."""
        for mode, expected in {
            SelectMode.RANDOM: (333, 333, 333),
            SelectMode.FREESPACE_PERCENT_WEIGHTED: (330, 11, 659),
            SelectMode.FREESPACE_PERCENT_WEIGHTED_DELTA: (329, 6, 665),
        }.items():
            found = self.counted(mode)
            for name, number in zip(("big", "full", "small"), expected, strict=True):
                self.assertLessEqual(abs(found[name] - number), 3, (mode, name, found[name]))

    def test_excluded(self) -> None:
        choice = self.choice(SelectMode.FREESPACE_MOST, excluded=frozenset({"big"}))
        self.assertEqual(choice.choose(), "small")
        # If nothing else is left, mail goes somewhere all the same.
        self.assertEqual(self.choice(SelectMode.FREESPACE_MOST, excluded=frozenset(ROOTS)).choose(), "big")

    def test_soft_limit(self) -> None:
        """What is fuller is passed over, unless all are."""
        for limit, expected in ((50, "small"), (80, "big"), (10, "big")):
            self.assertEqual(self.choice(SelectMode.FREESPACE_MOST, soft_limit=limit).choose(), expected, limit)
        self.assertEqual(self.choice(SelectMode.RANDOM, lambda: 0.9, soft_limit=80).choose(), "small")
        self.assertEqual(self.choice(SelectMode.RANDOM, lambda: 0.4, soft_limit=80).choose(), "big")

    def test_usage_is_remembered(self) -> None:
        choice = self.choice(SelectMode.FREESPACE_MOST, kept_for=3)
        for _ in range(7):
            choice.choose()
        self.assertEqual(self.looks, 3)
        choice = self.choice(SelectMode.FREESPACE_MOST)
        for _ in range(4):
            choice.choose()
        self.assertEqual(self.looks, 7)

    def test_missing(self) -> None:
        """A partition that is gone is not chosen; with all gone there is nothing."""
        here = Path(self.mktemp())
        here.mkdir()
        roots = {"gone": here / "gone", "here": here}
        self.assertEqual([space.name for space in look_at_disks(roots)], ["here"])
        self.assertEqual(PartitionChoice(roots, ChoiceSettings(SelectMode.RANDOM)).choose(), "here")
        with self.assertRaises(StoreUnavailable):
            PartitionChoice({"gone": here / "gone"}, ChoiceSettings()).choose()

    def test_real_disk(self) -> None:
        (space,) = look_at_disks({"here": Path()})
        self.assertGreater(space.available, 0)
        self.assertTrue(0 < space.percent <= 100)
