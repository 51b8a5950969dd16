"""When all objects are looked at for garbage."""

from __future__ import annotations

import gc
import time
from unittest.mock import Mock

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.app import allocator, collector
from pycyrus.app.collector import FEW, LOOK, MANY, PATIENCE, FullCollections


class FullCollectionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.work = Mock(return_value=0.0)
        self.collect = Mock()
        self.count = FEW
        self.patch(time, "process_time", self.work)
        self.patch(collector, "gc", Mock(collect=self.collect, get_count=lambda: (0, 0, self.count)))
        self.give_back = Mock()
        self.patch(allocator, "give_back", self.give_back)
        FullCollections(self.clock).start()

    def test_in_a_quiet_process(self) -> None:
        self.clock.advance(LOOK)
        self.collect.assert_called_once_with()
        self.give_back.assert_called_once_with()

    def test_where_nothing_is_new(self) -> None:
        self.count = FEW - 1
        self.clock.advance(LOOK)
        self.collect.assert_not_called()

    def test_in_a_busy_process(self) -> None:
        """It waits for a quiet time, but not for ever."""
        self.work.side_effect = lambda: self.clock.seconds() / 2
        self.clock.pump([LOOK] * int(PATIENCE / LOOK - 1))
        self.collect.assert_not_called()
        self.clock.pump([LOOK, LOOK])
        self.collect.assert_called_once_with()
        self.give_back.assert_not_called()

    def test_where_very_much_is_new(self) -> None:
        self.work.side_effect = lambda: self.clock.seconds() / 2
        self.count = MANY
        self.clock.advance(LOOK)
        self.collect.assert_called_once_with()


class SettleTests(SynchronousTestCase):
    def test_long_lived_ones_are_left_out(self) -> None:
        """However many new objects come, old ones are not looked at meanwhile."""
        self.addCleanup(gc.unfreeze)
        self.addCleanup(gc.set_threshold, *gc.get_threshold())
        generations: list[int] = []

        def noted(phase: str, told: dict[str, int]) -> None:
            generations.append(told["generation"])

        collector.settle(Clock())
        gc.callbacks.append(noted)
        self.addCleanup(gc.callbacks.remove, noted)
        kept = [[number] for number in range(100_000)]
        self.assertEqual(len(kept), 100_000)
        self.assertIn(0, generations)
        self.assertNotIn(2, generations)
