"""
The lock of a mailbox: an advisory C{flock} on its journal.

It belongs to the open file description: openings in other processes, and
other openings in this one, are kept out alike, and a process that dies lets
go.  It is held across a few C{pwrite}, so it is free nearly always; who finds
it taken tries again, first at once, then by the clock.
"""

from __future__ import annotations

import fcntl
import random
import time

from pycyrus.errors import StoreUnavailable
from pycyrus.store import files
from pycyrus.store.files import store_error
from pycyrus.store.threads import StoreReactor, sleep

_EXCLUSIVE_NOW = fcntl.LOCK_EX | fcntl.LOCK_NB

SPINS = 4
"""Tries at once, a moment apart: most holders need less time than a turn of the reactor."""
SPIN = 0.00004
FIRST_WAIT = 0.001
LONGEST_WAIT = 0.02
GIVE_UP = 30.0
"""Seconds; a holder that long is a stopped process."""


def try_lock(fd: int) -> bool:
    """
    Take the lock if it is free now.

    @raise StoreUnavailable: The file system does not lock.
    """
    try:
        files.flock(fd, _EXCLUSIVE_NOW)
    except BlockingIOError:
        return False
    except OSError as error:
        raise store_error(error, "mailbox cannot be locked") from error
    return True


def spin_lock(fd: int, spins: int = SPINS) -> bool:
    """Take the lock if it becomes free within a fraction of a millisecond."""
    for _ in range(spins):
        if try_lock(fd):
            return True
        time.sleep(SPIN)
    return try_lock(fd)


async def wait_lock(fd: int, clock: StoreReactor) -> None:
    """
    Take the lock, letting the reactor run meanwhile.

    @raise StoreUnavailable: Somebody does not give it back.
    """
    deadline = clock.seconds() + GIVE_UP
    wait = FIRST_WAIT
    while True:
        if spin_lock(fd):
            return
        if clock.seconds() > deadline:
            raise StoreUnavailable("the mailbox is locked by another process")
        # Random, so that two who wait do not meet again and again.
        await sleep(clock, wait * random.uniform(0.5, 1.0))
        wait = min(wait * 1.5, LONGEST_WAIT)


def block_lock(fd: int) -> None:
    """Take the lock, however long it takes; for threads only."""
    files.flock(fd, fcntl.LOCK_EX)


def unlock(fd: int) -> None:
    """Give the lock back; this cannot fail while the descriptor is open."""
    fcntl.flock(fd, fcntl.LOCK_UN)
