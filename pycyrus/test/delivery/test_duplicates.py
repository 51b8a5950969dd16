"""Duplicates: at most once by key, and never lost."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from pycyrus.delivery.duplicates import Duplicates, Key, State
from pycyrus.delivery.record import FILE_NAME, checksum, entries, open_record, prune
from pycyrus.delivery.suppression import Fingerprint, fingerprint_of
from pycyrus.tasks import gather
from pycyrus.testing.logs import captured

KEY = Key(b"<1@x>", b"mailbox", b"today")
_WITHOUT_CHECKSUMS = """
CREATE TABLE deliveries (
    id BLOB NOT NULL, target BLOB NOT NULL, date BLOB NOT NULL,
    time INTEGER NOT NULL, uid INTEGER NOT NULL, owner INTEGER NOT NULL,
    PRIMARY KEY (id, target, date)
) WITHOUT ROWID
"""

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
        self.assertEqual(len(list(self.directory.glob(f"quarantine/{FILE_NAME}.*"))), 1)
        # It was said in the log, which is how it comes to somebody's eyes.

    async def fill(self, count: int) -> bytes:
        """Some pages of deliveries; gives the file."""
        record = Duplicates(self.directory, reactor)
        await record.claim(KEY)
        record.settle(KEY, 5)
        await record.close()
        path = self.directory / FILE_NAME
        with closing(open_record(path)) as connection:
            rows = [(b"<%d@x>" % number, b"mailbox %d" % number, b"", 1, 2, 0) for number in range(count)]
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "INSERT INTO deliveries VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(*row, checksum(row[:3], *row[3:])) for row in rows],
            )
            connection.execute("COMMIT")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return path.read_bytes()

    async def test_every_page(self) -> None:
        """Wherever it is damaged or cut, deliveries go on, and what can be read of it is still known."""
        whole = await self.fill(600)
        path = self.directory / FILE_NAME
        self.assertGreaterEqual(len(whole), 8 * 4096)
        for page in range(0, len(whole), 4096):
            zeroed = whole[: page + 8] + bytes(200) + whole[page + 208 :]
            for data in (zeroed, whole[: page + 2048], whole[:page]):
                for old in self.directory.glob(f"{FILE_NAME}*"):
                    old.unlink()
                path.write_bytes(data)
                with captured():
                    record = Duplicates(self.directory, reactor)
                    for number in range(0, 600, 20):
                        key = Key(b"<%d@x>" % number, b"mailbox %d" % number)
                        if (await record.claim(key)).state is not State.DELIVERED:
                            record.settle(key, 3)
                    for number in range(0, 600, 20):
                        key = Key(b"<%d@x>" % number, b"mailbox %d" % number)
                        self.assertIs((await record.claim(key)).state, State.DELIVERED)
                    await record.close()
                known = {parts[0] for parts, _, uid in entries(path) if uid == 2}
                if data is zeroed and page not in (0, 4096):
                    # The first two pages say where the others are.
                    self.assertGreater(len(known), 300, page)

    async def test_damage_at_work(self) -> None:
        """Of two processes the first that meets it makes the record again, and the other goes on with that one."""
        whole = await self.fill(600)
        path = self.directory / FILE_NAME
        first, second = self.open(), self.open()
        with path.open("r+b") as file:
            # All but the first page, which both know.
            file.seek(4096)
            file.write(b"\xff" * (len(whole) - 4096))
        with captured() as log:
            self.assertIs((await first.claim(KEY)).state, State.OURS)
            first.settle(KEY, 9)
            claim = await second.claim(KEY)
            self.assertEqual((claim.state, claim.uid), (State.DELIVERED, 9))
        self.assertIn("is damaged", "\n".join(log.texts()))
        self.assertEqual(len(list(self.directory.glob(f"quarantine/{FILE_NAME}.[0-9]*[0-9]"))), 1)

    async def test_a_bit_that_flipped(self) -> None:
        """Nothing is refused as a duplicate because of it."""
        await self.fill(3)
        path = self.directory / FILE_NAME
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("UPDATE deliveries SET uid = 77 WHERE uid = 5")
            connection.execute("UPDATE deliveries SET id = ? WHERE id = ?", (b"<7@x>", b"<1@x>"))
            self.assertEqual(connection.total_changes, 3)
            connection.commit()
        self.assertEqual(len(list(entries(path))), 2)
        record = self.open()
        with captured() as log:
            self.assertIs((await record.claim(KEY)).state, State.OURS)
            record.settle(KEY, 6)
            self.assertIs((await record.claim(Key(b"<7@x>", b"mailbox 1"))).state, State.OURS)
            self.assertEqual((await record.claim(KEY)).uid, 6)
        self.assertIn("damaged", "\n".join(log.texts()))

    def test_before_there_were_checksums(self) -> None:
        """What an older version wrote is known."""
        path = self.directory / FILE_NAME
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(_WITHOUT_CHECKSUMS)
            connection.execute("INSERT INTO deliveries VALUES (?, ?, ?, 7, 8, 0)", (b"<1@x>", b"mailbox", b"today"))
            connection.commit()
        self.assertEqual(list(entries(path)), [((b"<1@x>", b"mailbox", b"today"), 7, 8)])

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
        self.assertEqual([(parts[0], uid) for parts, _, uid in found], [(b"<0@x>", 1), (b"<1@x>", 2), (b"<2@x>", 3)])
        self.assertEqual(prune(path, found[0][1]), (0, 3))
        self.assertEqual(prune(path, found[0][1] + 3600), (3, 3))
        self.assertIs((await record.claim(Key(b"<0@x>", b"mailbox"))).state, State.OURS)

    def test_fingerprints(self) -> None:
        header = b"Subject: x\r\nMessage-Id:\r\n <a@b> (comment)\r\nDate:  Mon,\r\n\t1 Jan\r\n"
        self.assertEqual(fingerprint_of(header), Fingerprint(b"<a@b>", b"Mon, 1 Jan"))
        self.assertEqual(fingerprint_of(b"Subject: x\r\n"), Fingerprint())
        self.assertEqual(fingerprint_of(b"Message-ID: <>\r\nDate: x\r\n"), Fingerprint())
        self.assertEqual(fingerprint_of(b"X-Message-ID: <a@b>\r\n"), Fingerprint())
