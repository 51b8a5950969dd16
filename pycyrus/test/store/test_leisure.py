"""Tests of L{pycyrus.store.leisure}."""

from __future__ import annotations

from typing import cast

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.store import leisure
from pycyrus.store.leisure import Leisure
from pycyrus.store.threads import StoreReactor


class LeisureTests(SynchronousTestCase):
    """When work begins that can wait."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.patch(leisure, "thread_time", lambda: 0.0)
        self.begun: list[float] = []
        self.leisure = Leisure(
            cast(StoreReactor, self.clock),
            lambda: self.begun.append(round(self.clock.seconds(), 6)),
            quiet=1.0,
            patience=5.0,
        )

    def wait(self, seconds: float) -> None:
        self.clock.pump([0.001] * round(seconds * 1000))

    def test_when_it_is_quiet(self) -> None:
        """So long after the last thing that came."""
        self.leisure.came()
        self.wait(0.9)
        self.leisure.came()
        self.wait(0.99)
        self.assertEqual(self.begun, [])
        self.wait(0.02)
        self.assertEqual(len(self.begun), 1)

    def test_rest_of_who_worked_in_a_thread(self) -> None:
        """While things come, it rests many times as long as it took, wherever that was."""
        self.leisure.came()
        self.wait(1.01)
        self.leisure.noticed()
        self.leisure.go_on(apart=0.01)
        self.wait(leisure.REST * 0.01 - 0.01)
        self.assertEqual(len(self.begun), 1)
        self.wait(0.02)
        self.assertEqual(len(self.begun), 2)

    def test_nothing_comes_any_more(self) -> None:
        """Then there is hardly any rest."""
        self.leisure.came()
        self.wait(1.01)
        self.wait(1.0)
        self.leisure.go_on(apart=0.01)
        self.wait(2 * leisure.PAUSE)
        self.assertEqual(len(self.begun), 2)
