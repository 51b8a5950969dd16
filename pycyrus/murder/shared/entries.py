"""
The directory's tables in PostgreSQL.  All here blocks.

Each change has a number.  Whoever changes something holds the one row of C{pycyrus_head} until
the end, so numbers become visible in their order, and who has seen one has seen all below.  Each
transaction leaves a token beside its last number: where a copy's token is not there any more, as
after a failover to a standby that had not heard of all, the copy compares everything.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from psycopg.rows import TupleRow

from pycyrus.errors import MailStoreError, StoreUnavailable
from pycyrus.interfaces import Location, LocationState
from pycyrus.murder.shared.postgresql import Connection
from pycyrus.store.location_changes import Change

CHANNEL = "pycyrus_directory"
VERSION = 1
KEPT = 100_000
"""Changes after which what is gone is remembered no more; copies that lag further behind compare everything."""
BATCHES_AT_ONCE = 50
_PRUNE_EVERY = 1_000
_LOCK = 0x7079_6379
"""Number of the lock that whoever makes the tables holds."""
_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS pycyrus_locations (
        mailbox TEXT COLLATE "C" PRIMARY KEY,
        server TEXT NOT NULL,
        partition TEXT NOT NULL,
        acl TEXT NOT NULL,
        active BOOLEAN NOT NULL,
        number BIGINT NOT NULL
    )""",
    "CREATE INDEX IF NOT EXISTS pycyrus_locations_by_number ON pycyrus_locations (number)",
    """CREATE TABLE IF NOT EXISTS pycyrus_gone (
        mailbox TEXT COLLATE "C" PRIMARY KEY,
        number BIGINT NOT NULL
    )""",
    "CREATE INDEX IF NOT EXISTS pycyrus_gone_by_number ON pycyrus_gone (number)",
    "CREATE TABLE IF NOT EXISTS pycyrus_batches (number BIGINT PRIMARY KEY, token TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS pycyrus_head (version INTEGER PRIMARY KEY, number BIGINT NOT NULL)",
    f"INSERT INTO pycyrus_head VALUES ({VERSION}, 0) ON CONFLICT DO NOTHING",
    "INSERT INTO pycyrus_batches VALUES (0, '') ON CONFLICT DO NOTHING",
)
_COLUMNS = "mailbox, server, partition, acl, active"


@dataclass(frozen=True, slots=True)
class Mark:
    """
    How far a copy has come.

    @ivar number: Of the last change that it knows.
    @ivar token: Of the transaction that made it.
    """

    number: int
    token: str


@dataclass(frozen=True, slots=True)
class News:
    """
    What changed after a mark.

    @ivar changes: What is there now, and names of what is gone.
    @ivar mark: Up to where.
    @ivar is_all: There was no more when it was looked for.
    """

    changes: Sequence[Location | str]
    mark: Mark
    is_all: bool


def prepare(connection: Connection) -> None:
    """
    Make the tables where they are missing.

    @raise StoreUnavailable: A newer version made them.
    """
    found = connection.execute("SELECT to_regclass('pycyrus_head') IS NOT NULL").fetchone()
    if found is None or not found[0]:
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            for statement in _SCHEMA:
                connection.execute(statement)
    row = connection.execute("SELECT version FROM pycyrus_head").fetchone()
    if row is None or row[0] != VERSION:
        raise StoreUnavailable("PostgreSQL: the directory's tables are those of another version")


# --- changing -----------------------------------------------------------------


def apply(connection: Connection, changes: Sequence[Change]) -> tuple[list[MailStoreError | None], Mark | None]:
    """
    Do all of them in one transaction, each by itself.

    @return: What each was refused with, and the mark after it; None if nothing changed.
    """
    mark = None
    refusals: list[MailStoreError | None] = []
    with connection.transaction():
        number = _lock(connection)
        names = list({change.mailbox for change in changes})
        rows = connection.execute(f"SELECT {_COLUMNS} FROM pycyrus_locations WHERE mailbox = ANY(%s)", (names,))
        held: dict[str, Location | None] = {location.mailbox: location for location in map(_location, rows)}
        before = dict(held)
        for change in changes:
            try:
                held[change.mailbox] = change.rule(held.get(change.mailbox))
            except MailStoreError as error:
                refusals.append(error)
            else:
                refusals.append(None)
        different = [(name, now) for name, now in held.items() if before.get(name) != now]
        if different:
            _write(connection, different, number)
            mark = _end(connection, number + len(different))
    return refusals, mark


def _lock(connection: Connection) -> int:
    row = connection.execute("SELECT number FROM pycyrus_head FOR UPDATE").fetchone()
    if row is None:
        raise StoreUnavailable("PostgreSQL: the directory's tables are damaged")
    return int(str(row[0]))


def _write(connection: Connection, different: Sequence[tuple[str, Location | None]], number: int) -> None:
    there: list[tuple[Location, int]] = []
    gone: list[tuple[str, int]] = []
    for name, location in different:
        number += 1
        if location is None:
            gone.append((name, number))
        else:
            there.append((location, number))
    if there:
        connection.execute(
            f"INSERT INTO pycyrus_locations ({_COLUMNS}, number)"
            " SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::boolean[], %s::bigint[])"
            " ON CONFLICT (mailbox) DO UPDATE SET server = EXCLUDED.server, partition = EXCLUDED.partition,"
            " acl = EXCLUDED.acl, active = EXCLUDED.active, number = EXCLUDED.number",
            (
                [location.mailbox for location, _ in there],
                [location.server for location, _ in there],
                [location.partition for location, _ in there],
                [location.acl for location, _ in there],
                [location.state is LocationState.ACTIVE for location, _ in there],
                [each for _, each in there],
            ),
        )
        connection.execute(
            "DELETE FROM pycyrus_gone WHERE mailbox = ANY(%s)", ([location.mailbox for location, _ in there],)
        )
    if gone:
        names, numbers = [name for name, _ in gone], [each for _, each in gone]
        connection.execute("DELETE FROM pycyrus_locations WHERE mailbox = ANY(%s)", (names,))
        connection.execute(
            "INSERT INTO pycyrus_gone SELECT * FROM unnest(%s::text[], %s::bigint[])"
            " ON CONFLICT (mailbox) DO UPDATE SET number = EXCLUDED.number",
            (names, numbers),
        )


def _end(connection: Connection, number: int) -> Mark:
    """Let the others know, when the transaction ends."""
    mark = Mark(number, secrets.token_hex(8))
    connection.execute("UPDATE pycyrus_head SET number = %s", (number,))
    connection.execute("INSERT INTO pycyrus_batches VALUES (%s, %s)", (mark.number, mark.token))
    if secrets.randbelow(_PRUNE_EVERY) == 0:
        # Tokens go with what they vouch for: who has one that is there misses nothing.
        connection.execute("DELETE FROM pycyrus_batches WHERE number < %s", (number - KEPT,))
        connection.execute("DELETE FROM pycyrus_gone WHERE number < %s", (number - KEPT,))
    connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, str(number)))
    return mark


def seed(connection: Connection, locations: Iterable[Location]) -> bool:
    """
    Begin a directory that nobody has written to yet with what one master had before.

    @return: Whether it was so.
    """
    with connection.transaction():
        number = _lock(connection)
        if number:
            return False
        with (
            connection.cursor() as cursor,
            cursor.copy(f"COPY pycyrus_locations ({_COLUMNS}, number) FROM STDIN") as copy,
        ):
            for location in locations:
                number += 1
                is_active = location.state is LocationState.ACTIVE
                copy.write_row((location.mailbox, location.server, location.partition, location.acl, is_active, number))
        if number:
            _end(connection, number)
    return bool(number)


# --- reading ------------------------------------------------------------------


def mark_now(connection: Connection) -> Mark:
    """Where somebody begins who reads everything from now on."""
    row = connection.execute("SELECT number, token FROM pycyrus_batches ORDER BY number DESC LIMIT 1").fetchone()
    if row is None:
        raise StoreUnavailable("PostgreSQL: the directory's tables are damaged")
    return Mark(int(str(row[0])), str(row[1]))


def news(connection: Connection, mark: Mark) -> News | None:
    """
    What changed after a mark, or the first part of it.

    @return: None where the mark says nothing here: everything must be compared.
    """
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        batches = connection.execute(
            "SELECT number, token FROM pycyrus_batches WHERE number >= %s ORDER BY number LIMIT %s",
            (mark.number, BATCHES_AT_ONCE + 1),
        ).fetchall()
        if not batches or _mark(batches[0]) != mark:
            return None
        upto = _mark(batches[-1])
        span = (mark.number, upto.number)
        there = connection.execute(
            f"SELECT {_COLUMNS} FROM pycyrus_locations WHERE number > %s AND number <= %s", span
        ).fetchall()
        gone = connection.execute(
            "SELECT mailbox FROM pycyrus_gone WHERE number > %s AND number <= %s", span
        ).fetchall()
    # Of each mailbox one thing is told, so their order does not matter.
    changes: list[Location | str] = [*map(_location, there), *(str(row[0]) for row in gone)]
    return News(changes, upto, len(batches) <= BATCHES_AT_ONCE)


def page(connection: Connection, after: str, limit: int) -> list[Location]:
    """Some entries, in the order of their octets."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM pycyrus_locations WHERE mailbox > %s ORDER BY mailbox LIMIT %s", (after, limit)
    )
    return [_location(row) for row in rows]


def _mark(row: TupleRow) -> Mark:
    return Mark(int(row[0]), str(row[1]))


def _location(row: TupleRow) -> Location:
    mailbox, server, partition, acl, active = row
    return Location(mailbox, server, partition, acl, LocationState.ACTIVE if active else LocationState.RESERVED)
