"""Right answers shared by workers."""

from __future__ import annotations

import os

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.auth.cache import CachedChecker, CacheSettings
from pycyrus.auth.credentials import MailPassword
from pycyrus.auth.shared_answers import SLOT_SIZE, SharedAnswers, SharedMemory
from pycyrus.test.auth.parts import DictChecker

KEY = b"k" * 32


class SharedAnswersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.memory = SharedMemory(slots=8)
        self.answers = SharedAnswers(self.memory, 60)

    def test_lives_so_long(self) -> None:
        self.answers.put(KEY, b"fred", 100)
        self.assertEqual(self.answers.get(KEY, 159), b"fred")
        self.assertIsNone(self.answers.get(KEY, 160))
        self.assertIsNone(self.answers.get(b"o" * 32, 100))

    def test_seen_by_a_forked_process(self) -> None:
        pid = os.fork()
        if pid == 0:
            self.answers.put(KEY, b"fred", 100)
            os._exit(0)
        os.waitpid(pid, 0)
        self.assertEqual(self.answers.get(KEY, 100), b"fred")

    def test_torn_slot_is_empty(self) -> None:
        """An octet that changes while it is read makes a miss, never a wrong answer."""
        self.answers.put(KEY, b"fred", 100)
        table = self.memory.table
        used = [place for place in self.answers._places(KEY) if any(table[place : place + SLOT_SIZE])]
        for offset in range(used[0], used[0] + SLOT_SIZE - 1):
            before = table[offset]
            table[offset] = before ^ 1
            self.assertIsNone(self.answers.get(KEY, 100), offset - used[0])
            table[offset] = before
        self.assertEqual(self.answers.get(KEY, 100), b"fred")

    def test_full_table_drops_the_oldest(self) -> None:
        keys = [bytes([number]) * 32 for number in range(100)]
        for number, key in enumerate(keys):
            self.answers.put(key, b"user%d" % number, number)
        kept = [number for number, key in enumerate(keys) if self.answers.get(key, 50) is not None]
        self.assertLessEqual(len(kept), 8)
        self.assertIn(99, kept)

    def test_workers_share_and_forget_together(self) -> None:
        """One worker's hash serves the other, until one of them sees that accounts changed."""
        checker = DictChecker({"fred": b"secret"})
        clock = Clock()
        workers = [CachedChecker(checker, clock, CacheSettings(), checker.version, self.memory) for _ in range(2)]
        for worker in workers:
            self.successResultOf(worker.requestAvatarId(MailPassword("fred", b"secret", "imap")))
        self.assertEqual(len(checker.asked), 1)
        workers[0].forget()
        self.successResultOf(workers[1].requestAvatarId(MailPassword("fred", b"secret", "imap")))
        self.assertEqual(len(checker.asked), 2)

    def test_new_worker_trusts_nothing_from_before(self) -> None:
        """What is remembered may be older than the accounts that it has seen."""
        checker = DictChecker({"fred": b"secret"})
        for _ in range(2):
            worker = CachedChecker(checker, Clock(), CacheSettings(), checker.version, self.memory)
            self.successResultOf(worker.requestAvatarId(MailPassword("fred", b"secret", "imap")))
        self.assertEqual(len(checker.asked), 2)
