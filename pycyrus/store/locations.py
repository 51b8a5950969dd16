"""
Where the mailboxes of all servers of a Murder are: C{mupdate.db}.

A master's is the truth, a slave's a copy.  Each entry has the number of its last
change, so whoever follows needs to remember one number only, and nothing is
queued for it.  Changes that come while others are being synced are the next
transaction together.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from twisted.internet.interfaces import IDelayedCall
from zope.interface import implementer

from pycyrus.errors import MailStoreError
from pycyrus.interfaces import ILocations, Location, LocationChange, LocationState
from pycyrus.sqlite.damage import KeptDatabase, hold
from pycyrus.sqlite.opening import CHECKSUM_OF
from pycyrus.store import files, location_changes
from pycyrus.store.database import Database
from pycyrus.store.files import store_error
from pycyrus.store.location_changes import Change, ChangeQueue
from pycyrus.store.signal import Signal
from pycyrus.store.threads import StoreReactor

FILE_NAME = "mupdate.db"
SIGNAL_NAME = "mupdate.signal"
SCHEMA_VERSION = 3
_FIRST = "substr(acl, 1, instr(acl, char(9)) - 1)"
_LOCAL = f"replace(substr({_FIRST}, 1, instr({_FIRST} || '@', '@') - 1), '.', '^')"
_DOMAIN = f"iif(instr({_FIRST}, '@'), substr({_FIRST}, instr({_FIRST}, '@') + 1) || '!', '')"
_OWN = f"{_DOMAIN} || 'user.' || {_LOCAL} || '.'"
_SHARED = (
    "active AND acl <> '' AND NOT (length(acl) - length(replace(acl, char(9), '')) = 2"
    f" AND substr(mailbox || '.', 1, length({_OWN})) = {_OWN})"
)
"""What others than the owner may see, as far as it can be told; most mailboxes are in no such list."""
SCHEMA = f"""
CREATE TABLE locations (
    mailbox TEXT PRIMARY KEY,
    server TEXT NOT NULL,
    partition TEXT NOT NULL,
    acl TEXT NOT NULL,
    active INTEGER NOT NULL,
    number INTEGER NOT NULL UNIQUE,
    was_at TEXT NOT NULL,
    {CHECKSUM_OF % "mailbox, server, partition, acl, active, number, was_at"}
) WITHOUT ROWID;
CREATE INDEX locations_by_server ON locations (server, mailbox);
CREATE INDEX locations_shared ON locations (mailbox) WHERE {_SHARED};
CREATE TABLE gone (
    mailbox TEXT PRIMARY KEY,
    was_at TEXT NOT NULL,
    number INTEGER NOT NULL UNIQUE,
    {CHECKSUM_OF % "mailbox, was_at, number"}
) WITHOUT ROWID
"""
KEPT = KeptDatabase(
    FILE_NAME, SCHEMA, SCHEMA_VERSION,
    "where the mailboxes of all servers are: have the backends push theirs (ctl_mboxlist -m), and restart frontends",
    always=False,
)  # fmt: skip
GONE_KEPT = 100_000
"""Mailboxes that are gone and remembered, for those who follow and lag behind."""
_LOOK_EVERY = 0.04
"""Seconds between two looks for other processes' changes, while somebody listens."""
_TOLD_AT_ONCE = 16
"""Listeners called in one turn of the reactor."""
_MOST_KNOWN = 10_000
_KNOWN_FOR = 1.0
"""Seconds after which what was found is looked for again: a process may end between a change and its signal."""
_COLUMNS = "mailbox, server, partition, acl, active"

_Row = tuple[str, str, str, str, int]
_Work = Callable[[sqlite3.Connection], None]


@implementer(ILocations)
class Locations:
    """
    The directory, shared by all processes of this server.

    @param strict: A mailbox can be reserved in one place only; false for C{mupdate_config:
        replicated}, where it is in many.
    @param is_copy: A slave's, which gets everything from the master whenever it connects.
    @raise StoreUnavailable: The database cannot be used.
    """

    def __init__(self, directory: Path, reactor: StoreReactor, *, strict: bool = True, is_copy: bool = False) -> None:
        try:
            self._lock = hold(directory / FILE_NAME, KEPT)
        except OSError as error:
            raise store_error(error, f"{FILE_NAME} cannot be locked") from error
        self._database = Database(directory / FILE_NAME, SCHEMA, SCHEMA_VERSION, reactor, is_copy=is_copy)
        self._signal = Signal(directory / SIGNAL_NAME)
        self._reactor = reactor
        self._strict = strict
        self._token = self._signal.value()
        self._listeners: list[Callable[[], None]] = []
        self._known: dict[str, Location] = {}
        self._known_by, self._known_until = self._token, 0.0
        self._looking: IDelayedCall | None = None
        self._untold: list[Callable[[], None]] = []
        self._telling: IDelayedCall | None = None
        self._remembered: tuple[int, int, int, Sequence[LocationChange]] | None = None
        self._queue: ChangeQueue[_Work] = ChangeQueue(self._write)

    # --- reading ----------------------------------------------------------------

    def find(self, mailbox: str) -> Location | None:
        """See L{ILocations.find}."""
        token, now = self._signal.value(), self._reactor.seconds()
        if token != self._known_by or now > self._known_until or len(self._known) >= _MOST_KNOWN:
            self._known.clear()
            self._known_by, self._known_until = token, now + _KNOWN_FOR
        found = self._known.get(mailbox)
        if found is None:
            found = _find(self._database.read, mailbox)
            if found is not None:
                self._known[mailbox] = found
        return found

    def page(
        self, prefix: str, after: str, limit: int, server: str | None = None, *, shared: bool = False
    ) -> Sequence[Location]:
        """See L{ILocations.page}."""
        low, relation = (after, ">") if after else (prefix, ">=")
        where, arguments = f"mailbox {relation} ? AND mailbox < ?", [low, f"{prefix}\U0010ffff"]
        if server is not None:
            where += " AND server = ?"
            arguments.append(server)
        table = "locations"
        if shared:
            table, where = "locations INDEXED BY locations_shared", f"{_SHARED} AND {where}"
        rows = self._database.read.execute(
            f"SELECT {_COLUMNS} FROM {table} WHERE {where} ORDER BY mailbox LIMIT ?", (*arguments, limit)
        )
        return [_location(row) for row in rows]

    def count(self) -> dict[str, int]:
        """How many mailboxes each server has."""
        return dict(self._database.read.execute("SELECT server, count(*) FROM locations GROUP BY server").fetchall())

    def last_change(self) -> int:
        """See L{ILocations.last_change}."""
        return _last(self._database.read)

    def changes(self, after: int, limit: int) -> Sequence[LocationChange]:
        """See L{ILocations.changes}."""
        # All who follow ask the same, after each change.
        token, remembered = self._signal.value(), self._remembered
        if remembered is not None and remembered[:3] == (token, after, limit):
            return remembered[3]
        found = self._changes(after, limit)
        self._remembered = token, after, limit, found
        return found

    def _changes(self, after: int, limit: int) -> Sequence[LocationChange]:
        there = self._database.read.execute(
            f"SELECT number, was_at, {_COLUMNS} FROM locations WHERE number > ? ORDER BY number LIMIT ?",
            (after, limit),
        ).fetchall()
        gone = self._database.read.execute(
            "SELECT number, was_at, mailbox FROM gone WHERE number > ? ORDER BY number LIMIT ?", (after, limit)
        ).fetchall()
        found = [LocationChange(number, row[0], _location(row), was_at) for number, was_at, *row in there]
        found += [LocationChange(number, mailbox, None, was_at) for number, was_at, mailbox in gone]
        return sorted(found, key=lambda change: change.number)[:limit]

    # --- who listens ------------------------------------------------------------

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """See L{ILocations.listen}."""
        self._listeners.append(listener)
        if self._looking is None:
            self._token = self._signal.value()
            self._looking = self._reactor.callLater(_LOOK_EVERY, self._look)

        def stop() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)
            if not self._listeners and self._looking is not None:
                self._looking.cancel()
                self._looking = None

        return stop

    def _look(self) -> None:
        self._looking = self._reactor.callLater(_LOOK_EVERY, self._look)
        self._tell()

    def _tell(self) -> None:
        token = self._signal.value()
        if token != self._token:
            self._token = token
            self._untold = list(self._listeners)
            if self._telling is None:
                self._tell_some()

    def _tell_some(self) -> None:
        """A hundred frontends at once would keep everybody else waiting."""
        self._telling = None
        some, self._untold = self._untold[:_TOLD_AT_ONCE], self._untold[_TOLD_AT_ONCE:]
        if self._untold:
            self._telling = self._reactor.callLater(0, self._tell_some)
        for listener in some:
            # One before may have ended it.
            if listener in self._listeners:
                listener()

    # --- changing ---------------------------------------------------------------

    async def reserve(self, location: Location) -> None:
        """See L{ILocations.reserve}."""
        await self._change(location_changes.reserve(location, strict=self._strict))

    async def activate(self, location: Location) -> None:
        """See L{ILocations.activate}."""
        await self._change(location_changes.activate(location))

    async def deactivate(self, location: Location) -> None:
        """See L{ILocations.deactivate}."""
        await self._change(location_changes.deactivate(location))

    async def delete(self, mailbox: str) -> None:
        """See L{ILocations.delete}."""
        await self._change(location_changes.delete(mailbox))

    async def _change(self, change: Change) -> None:
        def work(connection: sqlite3.Connection) -> None:
            location = change.rule(_find(connection, change.mailbox))
            if location is None:
                _remove(connection, change.mailbox)
            else:
                _put(connection, location)

        await self._queue.add(work)

    async def follow(self, changes: Sequence[Location | str]) -> None:
        """
        Take over what another directory told, in order.

        @param changes: What is there now, and names of what is gone.
        @raise StoreUnavailable: Nothing of it was.
        """

        def work(connection: sqlite3.Connection) -> None:
            for change in changes:
                if isinstance(change, str):
                    _remove(connection, change)
                elif _find(connection, change.mailbox) != change:
                    _put(connection, change)

        await self._queue.add(work)

    async def _write(self, works: Sequence[_Work]) -> list[MailStoreError | None]:
        refusals = await self._database.write(partial(_run, works), self._signal.change)
        self._tell()
        return refusals

    async def close(self) -> None:
        """End what was begun, and give the files back."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        self._listeners.clear()
        await self._queue.end()
        self._database.close()
        lock, self._lock = self._lock, -1
        if lock >= 0:  # closed twice, it would be somebody else's by now
            files.close(lock)
        self._signal.close()


def all_of(directory: Path) -> Iterator[Location]:
    """
    All entries of the file, in the order of their names' octets; waits for the disk.

    @raise sqlite3.Error: It cannot be read.
    """
    with closing(sqlite3.connect((directory / FILE_NAME).absolute().as_uri() + "?mode=ro", uri=True)) as connection:
        yield from map(_location, connection.execute(f"SELECT {_COLUMNS} FROM locations ORDER BY mailbox"))


def _run(works: Sequence[_Work], connection: sqlite3.Connection) -> list[MailStoreError | None]:
    """Do all of them in one transaction, each by itself; what each was refused with."""
    refusals: list[MailStoreError | None] = []
    for work in works:
        try:
            work(connection)
        except MailStoreError as error:
            # Whoever refuses has written nothing yet.
            refusals.append(error)
        else:
            refusals.append(None)
    return refusals


def _location(row: Sequence[object]) -> Location:
    mailbox, server, partition, acl, active = row
    state = LocationState.ACTIVE if active else LocationState.RESERVED
    return Location(str(mailbox), str(server), str(partition), str(acl), state)


def _find(connection: sqlite3.Connection, mailbox: str) -> Location | None:
    row: _Row | None = connection.execute(f"SELECT {_COLUMNS} FROM locations WHERE mailbox = ?", (mailbox,)).fetchone()
    return None if row is None else _location(row)


def _last(connection: sqlite3.Connection) -> int:
    (number,) = connection.execute(
        "SELECT max(coalesce((SELECT max(number) FROM locations), 0), coalesce((SELECT max(number) FROM gone), 0))"
    ).fetchone()
    return int(number)


def _put(connection: sqlite3.Connection, location: Location) -> None:
    number = _last(connection) + 1
    held = connection.execute(
        "SELECT server FROM locations WHERE mailbox = ?1 UNION SELECT was_at FROM gone WHERE mailbox = ?1",
        (location.mailbox,),
    ).fetchone()
    connection.execute("DELETE FROM gone WHERE mailbox = ?", (location.mailbox,))
    is_active = location.state is LocationState.ACTIVE
    connection.execute(
        "INSERT OR REPLACE INTO locations VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            location.mailbox,
            location.server,
            location.partition,
            location.acl if is_active else "",
            int(is_active),
            number,
            held[0] if held is not None else "",
        ),
    )


def _remove(connection: sqlite3.Connection, mailbox: str) -> bool:
    held = _find(connection, mailbox)
    if held is None:
        return False
    number = _last(connection) + 1
    connection.execute("DELETE FROM locations WHERE mailbox = ?", (mailbox,))
    connection.execute("INSERT OR REPLACE INTO gone VALUES (?, ?, ?)", (mailbox, held.server, number))
    if number % 1000 == 0:
        connection.execute(
            "DELETE FROM gone WHERE number <= (SELECT number FROM gone ORDER BY number DESC LIMIT 1 OFFSET ?)",
            (GONE_KEPT,),
        )
    return True
