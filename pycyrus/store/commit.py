"""
Group commit: one committer per file system makes whole batches durable.

Those who wrote something wait here.  While the thread syncs, others queue;
when it is done they are the next batch, so nothing is ever delayed to make a
batch larger.
"""

from __future__ import annotations

import enum
import errno
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from pycyrus.disk_waits import DISK_WAITS
from pycyrus.errors import StoreFull, StoreUnavailable
from pycyrus.store import files
from pycyrus.store.threads import StoreReactor


class SyncMode(enum.Enum):
    """How a batch is made durable."""

    AUTO = "auto"
    SYNCFS = "syncfs"
    FDATASYNC = "fdatasync"


SLOW = 0.008
"""Seconds: a C{syncfs} that takes longer pays for other programs' writes."""
PROBE_EVERY = 32
"""Batches between two trials of the way that is not in use."""
_ENOUGH = 64
"""Waiters for whom a batch starts without another look for more."""
_ALONE = 4
"""Batches of one after which the next is not expected to have company, so that nobody looks for any."""
_PARALLEL = 8
_WEIGHT = 0.1


@dataclass(slots=True)
class _Batch:
    waiters: list[Deferred[None]] = field(default_factory=list)
    paths: dict[str, bool] = field(default_factory=dict)
    whole: bool = False


class Committer:
    """
    Makes one file system's writes durable.

    All methods are called on the reactor thread.

    @param directory: Any directory of the file system.
    @param interval: Seconds after which at the latest everything is durable
        that nobody waits for.
    @raise OSError: The directory cannot be opened.
    """

    log = Logger()

    def __init__(
        self, directory: Path, reactor: StoreReactor, *, interval: float = 1.0, mode: SyncMode = SyncMode.AUTO
    ) -> None:
        self._reactor = reactor
        self._interval = interval
        self._next = _Batch()
        self._busy = False
        self._timer: IDelayedCall | None = None
        self._soon: IDelayedCall | None = None
        self._closed = False
        self._alone = 0
        self._idle: list[Deferred[None]] = []
        self._work: SimpleQueue[_Batch | None] = SimpleQueue()
        self._way = _Sync(directory, mode)
        self._thread = threading.Thread(target=self._run, name="pycyrus-commit", daemon=True)
        self._thread.start()
        self.batches = 0

    def commit(self, paths: Sequence[str] = (), *, whole: bool = False) -> Deferred[None]:
        """
        Make everything written until now durable.

        @param paths: Files and directories that were written; only they are
            synced where the whole file system is not.
        @param whole: Sync all of it: what other processes wrote matters, too.
        @return: Fires with L{StoreUnavailable} or L{StoreFull} if it could not
            be done; then nothing written since the last success is certain.
        """
        done: Deferred[None] = Deferred()
        self._next.waiters.append(done)
        self._next.whole |= whole
        for path in paths:
            self._next.paths[path] = True
        if self._busy or self._soon is not None:
            return done
        if self._closed or self._alone >= _ALONE:
            self._start()
        else:
            self._soon = self._reactor.callLater(0, self._turn_is_over, 0)
        return done

    def commit_soon(self, paths: Sequence[str] = ()) -> None:
        """Make what was written durable with the next batch, or when the interval is over."""
        for path in paths:
            self._next.paths[path] = True
        if self._timer is None and not self._closed:
            self._timer = self._reactor.callLater(self._interval, self._time_is_up)

    async def close(self) -> None:
        """Make everything durable and stop."""
        if self._closed:
            return
        try:
            await self.commit()
        finally:
            self._closed = True
            for call in (self._timer, self._soon):
                if call is not None:
                    call.cancel()
            self._timer = self._soon = None
            if not self._busy:
                self._start()
            while self._busy:
                gone: Deferred[None] = Deferred()
                self._idle.append(gone)
                await gone
            self._work.put(None)
            self._thread.join()
            self._way.close()

    def _turn_is_over(self, before: int) -> None:
        """
        Start a batch when nobody came in the last turn of the reactor.

        Whoever is at hand joins it: a sync costs more than a turn, and its
        thread would take the interpreter from those who are about to come.

        @param before: How many there were a turn ago.
        """
        self._soon = None
        count = len(self._next.waiters)
        if before < count <= _ENOUGH:
            self._soon = self._reactor.callLater(0, self._turn_is_over, count)
        else:
            self._start()

    def _time_is_up(self) -> None:
        self._timer = None
        if not self._busy:
            self._start()

    def _start(self) -> None:
        if self._closed:
            waiters, self._next = self._next.waiters, _Batch()
            for waiter in waiters:
                waiter.errback(StoreUnavailable("the store is closing"))
            return
        self._busy = True
        batch, self._next = self._next, _Batch()
        for call in (self._timer, self._soon):
            if call is not None:
                call.cancel()
        self._timer = self._soon = None
        if batch.waiters:
            DISK_WAITS.count += 1
            self._alone = self._alone + 1 if len(batch.waiters) == 1 else 0
        self._work.put(batch)

    def _run(self) -> None:
        """The thread."""
        while True:
            batch = self._work.get()
            if batch is None:
                return
            error: OSError | None = None
            try:
                self._way.sync(batch.paths, demanded=batch.whole)
            except OSError as failed:
                error = failed
            self._reactor.callFromThread(self._done, batch, error)

    def _done(self, batch: _Batch, error: OSError | None) -> None:
        self._busy = False
        self.batches += 1
        waiters = batch.waiters
        if waiters:
            DISK_WAITS.count -= 1
        if error is not None:
            # A write error is told once.  What queued meanwhile may be among
            # that which could not be written, and the next sync would not say
            # so; hence it fails too.
            later, self._next = self._next, _Batch()
            waiters = waiters + later.waiters
            self.log.error(
                "Writes could not be made durable: {error}; {count} waiters are told",
                error=error.strerror, count=len(waiters),
            )  # fmt: skip
        elif self._next.waiters:
            self._start()
        elif self._next.paths and self._timer is None:
            self._timer = self._reactor.callLater(self._interval, self._time_is_up)
        for waiter in waiters:
            if waiter.called:
                continue
            if error is None:
                waiter.callback(None)
            elif error.errno in (errno.ENOSPC, errno.EDQUOT):
                waiter.errback(StoreFull(f"sync: {error.strerror}"))
            else:
                waiter.errback(StoreUnavailable(f"sync: {error.strerror}"))
        if not self._busy:
            idle, self._idle = self._idle, []
            for gone in idle:
                gone.callback(None)


class _Sync:
    """
    One C{syncfs}, or many C{fdatasync} side by side: whichever is faster here.

    C{syncfs} costs least where the store has the file system to itself.  Where
    another program writes much to it, each call would write that too.
    """

    def __init__(self, directory: Path, mode: SyncMode) -> None:
        # One descriptor for good: errors are told once for each.
        self._fd = files.open_file(str(directory), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if mode is SyncMode.AUTO and not files.have_syncfs:
            mode = SyncMode.FDATASYNC
        self._mode = mode
        self._whole = mode is not SyncMode.FDATASYNC
        self._batches = 0
        self._cost = {True: 0.0, False: 0.0}
        self._pool: ThreadPoolExecutor | None = None

    def sync(self, paths: dict[str, bool], *, demanded: bool = False) -> None:
        """
        Make a batch durable, in this thread.

        @param demanded: Sync the whole file system, whatever it costs.
        """
        if demanded:
            files.syncfs(self._fd)
            return
        whole = self._whole
        if self._mode is SyncMode.AUTO:
            self._batches += 1
            if self._batches % PROBE_EVERY == 0 and (not whole or self._cost[True] > SLOW):
                whole = not whole
        started = time.monotonic()
        if whole:
            files.syncfs(self._fd)
        else:
            self._sync_each(paths)
            files.refuse_abandoned(self._fd)
        if self._mode is SyncMode.AUTO:
            self._learn(whole, time.monotonic() - started)

    def _learn(self, whole: bool, took: float) -> None:
        before = self._cost[whole]
        self._cost[whole] = took if not before else before + _WEIGHT * (took - before)
        costs = self._cost
        if costs[True] and costs[False]:
            # Not for a little: syncfs needs less of the processor.
            self._whole = costs[True] <= max(1.5 * costs[False], SLOW)

    def _sync_each(self, paths: dict[str, bool]) -> None:
        names = list(paths)
        if len(names) <= 2:
            results = [_sync_path(name) for name in names]
        else:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_PARALLEL, thread_name_prefix="pycyrus-fdatasync")
            results = list(self._pool.map(_sync_path, names))
        if not all(results):
            # A directory was renamed under us: only the file system knows where.
            files.syncfs(self._fd)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
        files.close(self._fd)


def _sync_path(path: str) -> bool:
    """Sync a file or directory; False if the name is not there any more."""
    try:
        fd = files.open_file(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        files.fsync(fd)
    finally:
        files.close(fd)
    return True


class Committers:
    """
    The committers of this process, one per file system.

    @param interval: As for L{Committer}.
    """

    def __init__(self, reactor: StoreReactor, *, interval: float = 1.0, mode: SyncMode = SyncMode.AUTO) -> None:
        self._reactor = reactor
        self._interval = interval
        self._mode = mode
        self._by_device: dict[int, Committer] = {}

    def for_device(self, device: int, directory: Path) -> Committer:
        """
        The committer of a file system.

        @param device: C{st_dev}
        @param directory: Any directory on it.
        """
        committer = self._by_device.get(device)
        if committer is None:
            committer = Committer(directory, self._reactor, interval=self._interval, mode=self._mode)
            self._by_device[device] = committer
        return committer

    async def close(self) -> None:
        """Make everything durable and stop all."""
        committers, self._by_device = list(self._by_device.values()), {}
        for committer in committers:
            await committer.close()
