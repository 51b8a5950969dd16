"""Tests of L{pycyrus.tasks}."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.tasks import Tasks


class TasksTests(SynchronousTestCase):
    """What becomes of a coroutine that nobody awaits."""

    def setUp(self) -> None:
        self.tasks = Tasks()
        self.failures: list[Failure] = []
        self.seen: list[object] = []

    def spawn(self, coroutine: Coroutine[Deferred[Any], Any, None]) -> None:
        self.tasks.spawn(coroutine, self.failures.append)

    async def record(self, *awaited: Deferred[object]) -> None:
        try:
            for deferred in awaited:
                self.seen.append(await deferred)
        except ValueError as error:
            self.seen.append(str(error))
        finally:
            self.seen.append("end")

    def test_runs_at_once(self) -> None:
        """What need not wait is done when spawn returns, and is kept nowhere."""
        fired: Deferred[object] = Deferred()
        fired.callback(1)
        self.spawn(self.record(fired))
        self.assertEqual((self.seen, len(self.tasks)), ([1, "end"], 0))

    def test_goes_on_after_each_wait(self) -> None:
        """Results arrive in the coroutine in the order of its awaits."""
        first: Deferred[object] = Deferred()
        second: Deferred[object] = Deferred()
        self.spawn(self.record(first, second))
        second.callback(2)
        self.assertEqual(self.seen, [])
        first.callback(1)
        self.assertEqual((self.seen, len(self.tasks)), ([1, 2, "end"], 0))

    def test_failure_is_raised_inside(self) -> None:
        """A failed Deferred raises where it was awaited."""
        waited: Deferred[object] = Deferred()
        self.spawn(self.record(waited))
        waited.errback(ValueError("broken"))
        self.assertEqual((self.seen, self.failures), (["broken", "end"], []))

    def test_crash_reaches_the_owner(self) -> None:
        """An exception that the coroutine lets out is handed to the owner."""
        waited: Deferred[object] = Deferred()
        self.spawn(self.record(waited))
        waited.errback(KeyError("gone"))
        self.assertEqual([failure.type for failure in self.failures], [KeyError])
        self.assertEqual(len(self.tasks), 0)

    def test_cancel_all(self) -> None:
        """Cancelling ends what waits, silently, and lets nothing new begin."""
        self.spawn(self.record(Deferred()))
        self.tasks.cancel_all()
        self.spawn(self.record(Deferred()))
        self.assertEqual((self.seen, self.failures, len(self.tasks)), (["end"], [], 0))
