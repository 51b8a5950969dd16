"""Duplicates: at most once by key, and never lost."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from pycyrus.delivery.duplicates import FILE_NAME, Duplicates, Key, State, entries, prune
from pycyrus.delivery.suppression import Fingerprint, fingerprint_of
from pycyrus.tasks import gather

KEY = Key(b"<1@x>", b"mailbox", b"today")

DIE = """
import os, sys
from pathlib import Path
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from pycyrus.delivery.duplicates import Duplicates, Key

async def main():
    record = Duplicates(Path(sys.argv[1]), reactor)
    await record.claim(Key(b"<1@x>", b"mailbox", b"today"), 7)
    os.kill(os.getpid(), 9)

reactor.callWhenRunning(lambda: ensureDeferred(main()))
reactor.run()
"""


class DuplicatesTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)

    def open(self) -> Duplicates:
        record = Duplicates(self.directory, reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(record.close()))
        return record

    async def test_a_key_is_delivered_once(self) -> None:
        record = self.open()
        self.assertIs((await record.claim(KEY)).state, State.OURS)
        record.settle(KEY, 5)
        again = await record.claim(KEY)
        self.assertEqual((again.state, again.uid), (State.DELIVERED, 5))
        for other in (
            Key(b"<2@x>", b"mailbox", b"today"),
            Key(b"<1@x>", b"other", b"today"),
            Key(b"<1@x>", b"mailbox"),
        ):
            self.assertIs((await record.claim(other)).state, State.OURS)
            await record.release(other)

    async def test_who_comes_at_the_same_time_waits(self) -> None:
        """Of many only one delivers; if it fails, the next does."""
        records = [self.open(), self.open()]
        delivered = []

        async def deliver(number: int) -> None:
            record = records[number % 2]
            if (await record.claim(KEY)).state is State.DELIVERED:
                return
            if number < 2:
                await record.release(KEY)
                return
            delivered.append(number)
            record.settle(KEY, number)

        self.assertEqual(await gather([deliver(number) for number in range(10)]), [None] * 10)
        self.assertEqual(len(delivered), 1)

    async def test_who_died_over_it_is_known(self) -> None:
        done = subprocess.run([sys.executable, "-c", DIE, str(self.directory)], check=False, timeout=60)
        self.assertEqual(done.returncode, -9)
        record = self.open()
        claim = await record.claim(KEY)
        self.assertEqual((claim.state, claim.uid), (State.ABANDONED, 7))
        record.settle(KEY, 7)
        self.assertIs((await record.claim(KEY)).state, State.DELIVERED)

    async def test_what_is_delivered_is_soon_written(self) -> None:
        """Another process is let go on without a further delivery in this one."""
        first, second = self.open(), self.open()
        await first.claim(KEY)
        first.settle(KEY, 3)
        self.assertIs((await second.claim(KEY)).state, State.DELIVERED)

    async def test_what_was_written_is_there_after_a_restart(self) -> None:
        first = Duplicates(self.directory, reactor)
        await first.claim(KEY)
        first.settle(KEY, 3)
        await first.close()
        self.assertIs((await self.open().claim(KEY)).state, State.DELIVERED)

    async def test_a_damaged_record_is_set_aside(self) -> None:
        (self.directory / FILE_NAME).write_bytes(b"no database at all" * 100)
        self.assertIs((await self.open().claim(KEY)).state, State.OURS)
        self.assertEqual(len(list(self.directory.glob("*.damaged-*"))), 1)
        # It was said in the log, which is how it comes to somebody's eyes.

    async def test_pruning_and_dumping(self) -> None:
        record = Duplicates(self.directory, reactor)
        for number in range(3):
            key = Key(b"<%d@x>" % number, b"mailbox")
            await record.claim(key)
            record.settle(key, number + 1)
        await record.close()
        record = self.open()
        path = self.directory / FILE_NAME
        found = list(entries(path))
        self.assertEqual(
            [(key.identifier, uid) for key, _, uid in found], [(b"<0@x>", 1), (b"<1@x>", 2), (b"<2@x>", 3)]
        )
        self.assertEqual(prune(path, found[0][1]), (0, 3))
        self.assertEqual(prune(path, found[0][1] + 3600), (3, 3))
        self.assertIs((await record.claim(Key(b"<0@x>", b"mailbox"))).state, State.OURS)

    def test_fingerprints(self) -> None:
        header = b"Subject: x\r\nMessage-Id:\r\n <a@b> (comment)\r\nDate:  Mon,\r\n\t1 Jan\r\n"
        self.assertEqual(fingerprint_of(header), Fingerprint(b"<a@b>", b"Mon, 1 Jan"))
        self.assertEqual(fingerprint_of(b"Subject: x\r\n"), Fingerprint())
        self.assertEqual(fingerprint_of(b"Message-ID: <>\r\nDate: x\r\n"), Fingerprint())
        self.assertEqual(fingerprint_of(b"X-Message-ID: <a@b>\r\n"), Fingerprint())
