"""
Who has seen what in other people's and in shared mailboxes.

The owner's seen flags lie in the mailbox; everybody else's are a set of UIDs
here.  A change is seen by this process at once, and becomes durable with the
next batch.
"""

from __future__ import annotations

import sqlite3
import time
import weakref

from twisted.internet.defer import DeferredLock
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from pycyrus.errors import StoreUnavailable
from pycyrus.model.ranges import Ranges, difference, parse_ranges, union, write_ranges
from pycyrus.model.uids import UidArray, number_ranges
from pycyrus.store.database import Database
from pycyrus.store.signal import Signal
from pycyrus.store.threads import StoreReactor
from pycyrus.tasks import Tasks

Change = tuple[Ranges, bool]
"""UIDs that were taken as seen, or as not."""


class SeenState:
    """
    What one user has seen of one mailbox; shared by all sessions of a process.

    @ivar changes: What is not in the database yet, in order.
    """

    def __init__(self, owner: SeenStates, user_id: str, unique_id: str) -> None:
        self.user_id = user_id
        self.unique_id = unique_id
        self._owner = owner
        self._uids: Ranges = ()
        self._recent = 0
        self._counter = 0
        self._token = -1
        self.changes: list[Change] = []
        self.refresh()

    @property
    def counter(self) -> int:
        """Changes whenever what was seen did; looks for other processes' changes."""
        self.refresh()
        return self._counter

    @property
    def recent_uid(self) -> int:
        """The highest UID that is not recent for this user any more."""
        return self._recent

    def seen_uids(self) -> Ranges:
        """Ascending ranges of UIDs."""
        return self._uids

    def set(self, uids: UidArray, seen: bool) -> None:
        """Take note of UIDs as seen, or as not."""
        ranges = tuple(number_ranges(uids))
        after = union(self._uids, ranges) if seen else difference(self._uids, ranges)
        if after == self._uids:
            return
        self._uids = after
        self._counter += 1
        self.changes.append((ranges, seen))
        self._owner.save_soon(self)

    def set_recent(self, uid: int) -> None:
        """Say that messages up to this UID are not recent any more."""
        if uid > self._recent:
            self._recent = uid
            self._owner.save_soon(self)

    async def save(self) -> None:
        """
        Let other processes see it.

        @raise StoreUnavailable: Not now; it will be tried again.
        """
        await self._owner.save()

    def refresh(self) -> None:
        """Read what other processes wrote, if any wrote something."""
        token = self._owner.signal.value()
        if token == self._token:
            return
        self._token = token
        uids, recent = self._owner.load(self)
        for ranges, seen in self.changes:
            uids = union(uids, ranges) if seen else difference(uids, ranges)
        self._recent = max(self._recent, recent)
        if uids != self._uids:
            self._uids = uids
            self._counter += 1


class SeenStates:
    """
    The seen state of all users, as far as they do not own the mailbox.

    @param interval: Seconds until a change is durable.
    """

    log = Logger()

    def __init__(self, database: Database, signal: Signal, clock: StoreReactor, interval: float) -> None:
        self.signal = signal
        self._database = database
        self._clock = clock
        self._interval = interval
        self._states: weakref.WeakValueDictionary[tuple[str, str], SeenState] = weakref.WeakValueDictionary()
        self._dirty: dict[tuple[str, str], SeenState] = {}
        self._timer: IDelayedCall | None = None
        self._saving = DeferredLock()
        self._tasks = Tasks()

    def open(self, user_id: str, unique_id: str) -> SeenState:
        """The state of one user in one mailbox."""
        state = self._states.get((user_id, unique_id))
        if state is None:
            state = self._states[user_id, unique_id] = SeenState(self, user_id, unique_id)
        return state

    def load(self, state: SeenState) -> tuple[Ranges, int]:
        """What the database has."""
        return _read(self._database.read, state.user_id, state.unique_id)

    def save_soon(self, state: SeenState) -> None:
        """Write a state with the next batch."""
        self._dirty[state.user_id, state.unique_id] = state
        if self._timer is None:
            self._timer = self._clock.callLater(self._interval, self._time_is_up)

    def _time_is_up(self) -> None:
        self._timer = None
        self._tasks.spawn(self.save(), lambda failure: self.log.failure("Seen state was not saved", failure))

    async def save(self) -> None:
        """Make all changes durable now."""
        async with self._saving:
            await self._save()

    async def _save(self) -> None:
        # What is being saved stays in the states until it is committed: they may read the database meanwhile.
        batch = [(state, state.changes[:], state.recent_uid) for state in self._dirty.values()]
        self._dirty = {}
        if not batch:
            return
        try:
            await self._database.write(lambda connection: _write(connection, batch), self.signal.change)
        except StoreUnavailable:
            for state, _, _ in batch:
                self.save_soon(state)
            raise
        for state, changes, _ in batch:
            del state.changes[: len(changes)]

    async def close(self) -> None:
        """Save, and stop."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self.save()


def _read(connection: sqlite3.Connection, user_id: str, unique_id: str) -> tuple[Ranges, int]:
    row = connection.execute(
        "SELECT uids, recent FROM seen WHERE user_id = ? AND unique_id = ?", (user_id, unique_id)
    ).fetchone()
    if row is None:
        return (), 0
    try:
        return parse_ranges(row[0]), row[1]
    except ValueError:
        SeenStates.log.error("Seen state of {user} in {mailbox} is damaged", user=user_id, mailbox=unique_id)
        return (), row[1]


def _write(connection: sqlite3.Connection, batch: list[tuple[SeenState, list[Change], int]]) -> None:
    for state, changes, newest in batch:
        uids, recent = _read(connection, state.user_id, state.unique_id)
        for ranges, seen in changes:
            uids = union(uids, ranges) if seen else difference(uids, ranges)
        connection.execute(
            "INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?, ?)",
            (state.user_id, state.unique_id, write_ranges(uids), max(recent, newest), int(time.time())),
        )
