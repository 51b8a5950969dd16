"""Tests of L{pycyrus.tasks}."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.tasks import Tasks, gather


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


class GatherTests(SynchronousTestCase):
    """Coroutines side by side."""

    @staticmethod
    async def _after(waited: Deferred[int] | None, number: int) -> int:
        if waited is None:
            return number
        result = await waited
        if result < 0:
            raise ValueError(result)
        return number + result

    def test_outcomes_in_the_order_given(self) -> None:
        """Whoever ends first, and however: each outcome has its place."""
        waits: list[Deferred[int]] = [Deferred() for _ in range(3)]
        gathered = Deferred.fromCoroutine(gather([self._after(each, 10) for each in (*waits, None)]))
        waits[2].callback(3)
        waits[0].callback(-1)
        self.assertNoResult(gathered)
        waits[1].errback(KeyError("gone"))
        first, second, third, fourth = self.successResultOf(gathered)
        self.assertEqual((third, fourth), (13, 10))
        self.assertEqual([each.type for each in (first, second) if isinstance(each, Failure)], [ValueError, KeyError])
        self.flushLoggedErrors()

    def test_nothing(self) -> None:
        """Nothing to do is done."""
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(gather([]))), [])

    def test_cancelled_together(self) -> None:
        """When the caller is cancelled, all are, and what ended before keeps its result."""
        cancelled: list[Deferred[int]] = []
        waits: list[Deferred[int]] = [Deferred(cancelled.append) for _ in range(3)]
        gathered = Deferred.fromCoroutine(gather([self._after(each, 1) for each in waits]))
        waits[0].callback(1)
        gathered.cancel()
        self.assertEqual(cancelled, waits[1:])
        first, *others = self.successResultOf(gathered)
        ends = [each.type for each in others if isinstance(each, Failure)]
        self.assertEqual((first, ends), (2, [CancelledError] * 2))
