"""Turns of those who have more to do than may be done at once."""

from __future__ import annotations

import gc
import weakref

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.net.turns import SHARE, Turns, turns_of


class TurnsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.turns = Turns(self.clock)
        self.done: list[str] = []

    def look_at_network(self) -> None:
        """What the reactor does between two looks: calls made meanwhile come after the next one."""
        due, self.clock.calls = self.clock.calls, []
        for call in due:
            call.func(*call.args)

    def ask(self, name: str, takes: float, times: int = 1) -> None:
        def work() -> None:
            self.done.append(name)
            self.clock.rightNow += takes
            if times > 1:
                self.ask(name, takes, times - 1)

        self.turns.ask(work)

    def test_in_the_order_in_which_they_were_asked_for(self) -> None:
        """One each: who asks again comes after the others, and after the network."""
        for name in "abc":
            self.ask(name, SHARE / 10, times=2)
        self.look_at_network()
        self.assertEqual(self.done, ["a", "b", "c"])
        self.look_at_network()
        self.assertEqual(self.done, ["a", "b", "c"] * 2)
        self.assertFalse(self.turns.are_awaited)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_network_is_looked_at_in_between(self) -> None:
        """However many there are."""
        for number in range(1000):
            self.ask(str(number), SHARE / 4, times=1000)
        rounds = 0
        while len(set(self.done)) < 1000:
            begun = self.clock.seconds()
            self.look_at_network()
            self.assertLess(self.clock.seconds() - begun, SHARE * 1.3)
            rounds += 1
        self.assertEqual(len(self.done), 1000)
        self.assertGreater(rounds, 200)

    def test_cancelled(self) -> None:
        """Who does without a turn costs the others none."""
        turn = self.turns.ask(lambda: self.done.append("cancelled"))
        waiting = self.turns.wait()
        self.ask("last", 0)
        turn.cancel()
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.look_at_network()
        self.assertEqual(self.done, ["last"])

    def test_waited_for(self) -> None:
        waiting = self.turns.wait()
        self.assertNoResult(waiting)
        self.look_at_network()
        self.assertIsNone(self.successResultOf(waiting))

    def test_one_that_fails(self) -> None:
        """The others have theirs all the same."""

        def fail() -> None:
            raise ValueError

        self.turns.ask(fail)
        self.ask("next", 0)
        self.assertRaises(ValueError, self.look_at_network)
        self.look_at_network()
        self.assertEqual(self.done, ["next"])

    def test_one_for_each_reactor(self) -> None:
        """And none for one that is gone."""
        turns = turns_of(self.clock)
        self.assertIs(turns_of(self.clock), turns)
        other = Clock()
        self.assertIsNot(turns_of(other), turns)
        gone = weakref.ref(turns_of(other))
        del other
        gc.collect()
        self.assertIsNone(gone())
