"""Group commit: who waits for which sync, and what an error means to whom."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from types import SimpleNamespace

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.disk_waits import DISK_WAITS
from pycyrus.errors import StoreFull, StoreUnavailable
from pycyrus.model.flags import SEEN, FlagAction, FlagChange, Flags
from pycyrus.store import commit, files
from pycyrus.store.commit import Committer, SyncMode
from pycyrus.test.store.mailboxes import Place, text, uids
from pycyrus.testing.blocking import BlockingReactor

SYNCFS = files.syncfs


class CommitCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp())
        self.root.mkdir()
        self.reactor = BlockingReactor()
        self.syncs: list[str] = []
        self.gate = threading.Semaphore(0)
        self.error: int | None = None
        self.patch(files, "syncfs", self.sync)

    def sync(self, fd: int) -> None:
        self.gate.acquire()
        self.syncs.append("whole")
        if self.error is not None:
            raise OSError(self.error, "no")

    def committer(self, mode: SyncMode = SyncMode.SYNCFS, interval: float = 60.0) -> Committer:
        made = Committer(self.root, self.reactor, interval=interval, mode=mode)
        self.addCleanup(self.end, made)
        return made

    def end(self, committer: Committer) -> None:
        self.error = None
        self.patch(files, "fstatvfs", os.fstatvfs)
        self.patch(files, "removexattr", os.removexattr)
        for _ in range(10):
            self.gate.release()
        self.reactor.run(committer.close())

    def wait_for(self, *waiters: Deferred[None]) -> None:
        while not all(waiter.called for waiter in waiters):
            self.reactor._turn()


class BatchTests(CommitCase):
    def test_who_comes_during_a_sync_is_the_next_batch(self) -> None:
        """Twenty who wait cost two syncs, and nobody is answered by a sync that began before he wrote."""
        committer = self.committer()
        first = committer.commit()
        self.reactor.settle()
        rest = [committer.commit() for _ in range(19)]
        self.gate.release()
        self.wait_for(first)
        self.assertFalse(any(waiter.called for waiter in rest))
        self.gate.release()
        self.wait_for(*rest)
        self.assertEqual(self.syncs, ["whole"] * 2)

    def test_who_comes_in_the_same_turn_shares_a_sync(self) -> None:
        """And so does who comes in the next one, so that a busy server needs few syncs."""
        committer = self.committer()
        waiters = [committer.commit() for _ in range(3)]
        self.reactor.callLater(0, lambda: waiters.append(committer.commit()))
        self.gate.release()
        self.wait_for(*waiters)
        self.assertEqual((len(waiters), self.syncs), (4, ["whole"]))

    def test_alone_for_some_time(self) -> None:
        """Who has been alone is not kept waiting for company, until somebody comes."""
        committer = self.committer()
        for _ in range(4):
            self.gate.release()
            self.wait_for(committer.commit())
        last, others = committer.commit(), [committer.commit(), committer.commit()]
        # No turn of the reactor has passed.
        self.gate.release()
        while not committer.batches > 4:
            self.reactor._turn()
        self.assertEqual([last.called, *(other.called for other in others)], [True, False, False])
        self.gate.release()
        self.wait_for(*others)
        both = [committer.commit(), committer.commit()]
        self.gate.release()
        self.wait_for(*both)
        self.assertEqual(self.syncs, ["whole"] * 7)

    def test_told_as_waiting_for_the_disk(self) -> None:
        """While somebody waits for a sync, be it one that fails, and no longer."""
        committer = self.committer(interval=0.01)
        before = DISK_WAITS.count
        for self.error in (None, errno.EIO):
            waiting = committer.commit()
            self.reactor.settle()
            self.assertEqual(DISK_WAITS.count, before + 1)
            self.gate.release()
            waiting.addErrback(lambda failure: failure.trap(StoreUnavailable))
            self.wait_for(waiting)
            self.assertEqual(DISK_WAITS.count, before)
        self.flushLoggedErrors()

    def test_after_the_end(self) -> None:
        """Who comes when the last sync was made is told that it is too late."""
        committer = self.committer()
        self.gate.release()
        self.reactor.run(committer.close())
        self.failureResultOf(committer.commit(), StoreUnavailable)

    def test_nobody_waits(self) -> None:
        """What nobody waits for is synced when the interval is over."""
        committer = self.committer(interval=0.01)
        committer.commit_soon(["x"])
        self.gate.release()
        while not committer.batches:
            self.reactor._turn()
        self.assertEqual(self.syncs, ["whole"])

    def test_error(self) -> None:
        """All who wrote before the error was told fail; who comes later does not."""
        committer = self.committer()
        self.error = errno.EIO
        first, second = committer.commit(), committer.commit()
        self.gate.release()
        self.wait_for(first, second)
        self.failureResultOf(first, StoreUnavailable)
        self.failureResultOf(second, StoreUnavailable)
        self.error = None
        third = committer.commit()
        self.gate.release()
        self.wait_for(third)
        self.successResultOf(third)

    def test_read_only(self) -> None:
        """A file system that gave up writing says that a sync was done; it was not."""
        self.patch(files, "syncfs", SYNCFS)
        self.patch(files, "fstatvfs", lambda fd: SimpleNamespace(f_flag=os.ST_RDONLY))
        for mode in (SyncMode.SYNCFS, SyncMode.FDATASYNC):
            waiter = self.committer(mode).commit([str(self.root)])
            self.wait_for(waiter)
            self.failureResultOf(waiter, StoreUnavailable)

    def test_journal_that_failed(self) -> None:
        """ext4 gave up a moment ago, which only who begins to change something is told."""
        self.patch(files, "syncfs", SYNCFS)

        def refuse(fd: int, name: str) -> None:
            raise OSError(errno.EROFS, name)

        self.patch(files, "removexattr", refuse)
        for mode in (SyncMode.SYNCFS, SyncMode.FDATASYNC):
            waiter = self.committer(mode).commit([str(self.root)])
            self.wait_for(waiter)
            self.failureResultOf(waiter, StoreUnavailable)

    def test_full(self) -> None:
        """A full disk is told as such."""
        committer = self.committer()
        self.error = errno.ENOSPC
        waiter = committer.commit()
        self.gate.release()
        self.wait_for(waiter)
        self.failureResultOf(waiter, StoreFull)

    def test_cancelled_waiter(self) -> None:
        """One who does not wait any more disturbs nobody."""
        committer = self.committer()
        first, second = committer.commit(), committer.commit()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        for _ in range(2):
            self.gate.release()
        self.wait_for(second)
        self.successResultOf(second)


class WayTests(CommitCase):
    def test_each_file(self) -> None:
        """Without syncfs each file is synced; where a name is gone the whole file system is."""
        synced: list[int] = []
        self.patch(files, "fsync", synced.append)
        committer = self.committer(SyncMode.FDATASYNC)
        names = []
        for number in range(5):
            (self.root / str(number)).write_bytes(b"x")
            names.append(str(self.root / str(number)))
        waiter = committer.commit([*names, str(self.root)])
        self.wait_for(waiter)
        self.assertEqual((len(synced), self.syncs), (6, []))
        waiter = committer.commit([*names, str(self.root / "renamed")])
        self.gate.release()
        self.wait_for(waiter)
        self.assertEqual(self.syncs, ["whole"])

    def test_auto_leaves_a_slow_way(self) -> None:
        """Where syncfs pays for others' writes, it is left for the files' own syncs."""
        self.patch(commit, "SLOW", 0.0)
        self.patch(commit, "PROBE_EVERY", 2)
        self.patch(files, "fsync", lambda fd: None)
        self.patch(files, "syncfs", lambda fd: threading.Event().wait(0.005))
        committer = self.committer(SyncMode.AUTO)
        for _ in range(6):
            self.wait_for(committer.commit([str(self.root)]))
        self.assertFalse(committer._way._whole)

    def test_mailbox_by_files(self) -> None:
        """A mailbox names all that it wrote."""
        place = Place(self.root, mode=SyncMode.FDATASYNC)
        self.patch(files, "syncfs", lambda fd: None)
        box = place.create("a")
        synced: list[str] = []
        self.patch(files, "fsync", lambda fd: synced.append(str(Path(f"/proc/self/fd/{fd}").readlink().name)))
        place.append(box, text(1))
        self.assertEqual(sorted(synced), ["1.", "a", "pycyrus.cache", "pycyrus.journal"])
        synced.clear()
        place.run(box.store(uids(1), FlagChange(FlagAction.ADD, Flags(SEEN))))
        self.assertEqual(synced, [])
        place.close()
        self.assertEqual(synced, ["pycyrus.journal"])
