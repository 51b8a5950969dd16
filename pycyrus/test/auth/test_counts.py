"""Failures that all workers count."""

from __future__ import annotations

import mmap
import os

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.auth.counts import SLOT_SIZE, LocalCounts, SharedCounts
from pycyrus.auth.delays import DelaySettings, FailureDelays
from pycyrus.auth.shared_answers import SharedMemory
from pycyrus.errors import AuthenticationUnavailable


class CountsTests(SynchronousTestCase):
    def shared(self, slots: int = 64) -> SharedCounts:
        self.table = mmap.mmap(-1, slots * SLOT_SIZE)
        return SharedCounts(self.table, b"secret", 100)

    def test_counting(self) -> None:
        for counts in (LocalCounts(100, 10), self.shared()):
            self.assertEqual([counts.add("a", 5), counts.add("a", 6), counts.add("b", 7)], [1, 2, 1])
            self.assertEqual([counts.count("a", 100), counts.count("a", 107), counts.count("c", 7)], [2, 0, 0])
            self.assertEqual(counts.add("a", 107), 1)
            counts.forget("a")
            counts.forget("nobody")
            self.assertEqual([counts.count("a", 108), counts.count("b", 8)], [0, 1])

    def test_seen_by_a_forked_process(self) -> None:
        counts = self.shared()
        pid = os.fork()
        if pid == 0:
            counts.add("a", 5)
            os._exit(0)
        os.waitpid(pid, 0)
        self.assertEqual(counts.add("a", 5), 2)

    def test_full_table_drops_the_oldest(self) -> None:
        counts = self.shared(8)
        for number in range(100):
            counts.add(f"user{number}", number)
        kept = [number for number in range(100) if counts.count(f"user{number}", 99)]
        self.assertLessEqual(len(kept), 8)
        self.assertIn(99, kept)

    @settings(max_examples=50, deadline=None, database=None)
    @given(st.integers(0, 8 * SLOT_SIZE - 1), st.binary(min_size=1, max_size=80))
    def test_torn_slots_are_empty(self, offset: int, rubbish: bytes) -> None:
        """Whatever is there, a count is never more than was counted."""
        counts = self.shared(8)
        for _ in range(3):
            counts.add("a", 5)
        self.table[offset : offset + len(rubbish)] = rubbish[: len(self.table) - offset]
        self.assertIn(counts.count("a", 5), (0, 3))
        self.assertIn(counts.add("a", 5), (1, 4))


class WorkersTests(SynchronousTestCase):
    """Two processes, as far as delays know."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        memory = SharedMemory(slots=64)
        settings = DelaySettings(pause=2, longest=16).shared_by(2)
        self.workers = [FailureDelays(self.clock, settings, memory) for _ in range(2)]

    def waits(self, worker: FailureDelays, address: str, account: str) -> float:
        start = self.clock.seconds()
        result = Deferred.fromCoroutine(worker.failed(address, account))
        while not result.called:
            self.clock.advance(1)
        return self.clock.seconds() - start

    def test_delays_grow_together(self) -> None:
        one, other = self.workers
        waits = [self.waits((one, other)[number % 2], "192.0.2.1", "fred") for number in range(7)]
        self.assertEqual(waits, [2, 2, 2, 4, 4, 4, 8])
        # The account is guessed at from elsewhere, at the other worker.
        self.assertEqual(self.waits(other, "198.51.100.1", "fred"), 8)
        one.succeeded("203.0.113.1", "fred")
        self.assertEqual(self.waits(other, "198.51.100.2", "fred"), 2)

    def test_familiar_addresses_are_known_everywhere(self) -> None:
        one, other = self.workers
        one.succeeded("203.0.113.1", "fred")
        waiting = [Deferred.fromCoroutine(other.failed(f"192.0.2.{number}", "fred")) for number in range(20)]
        other.admit("203.0.113.1", "fred")
        other.admit("203.0.113.2", "mary")
        with self.assertRaises(AuthenticationUnavailable):
            other.admit("203.0.113.2", "fred")
        self.clock.advance(100)
        for result in waiting:
            self.successResultOf(result)
