"""
SQLite beside the message path: short reads here and now, writes in a thread.

Reads see the page cache and are called on the reactor thread.  A write waits
for the disk (write-ahead log, synchronous=FULL), so it is a function that runs
within one transaction on a thread; when it has returned, it is durable.
"""

from __future__ import annotations

import sqlite3
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import DeferredLock
from typing_extensions import override

from pycyrus.errors import StoreFull, StoreUnavailable
from pycyrus.store.threads import StoreReactor, in_thread

T = TypeVar("T")

LONGEST_WAIT = 30.0
"""Seconds that a writer waits for those of other processes."""
_READ_WAIT = 2.0
_PAUSE = 0.005

_FULL = frozenset((sqlite3.SQLITE_FULL,))
CHECKSUM = "row_checksum"
"""A function in SQL, and the column that has its value for all others of a row."""
CHECKSUM_OF = f"{CHECKSUM} INTEGER NOT NULL GENERATED ALWAYS AS ({CHECKSUM}(%s)) STORED"
"""The declaration of that column, given the names of the others, in their order."""


def row_checksum(*values: str | bytes | int | None) -> int:
    """CRC-32 of the values of a row, each with its kind and length."""
    crc = 0
    for value in values:
        if isinstance(value, str):
            octets, kind = value.encode("utf-8", "surrogateescape"), b"t"
        elif isinstance(value, bytes):
            octets, kind = value, b"b"
        else:
            octets, kind = str(value).encode("ascii"), b"n"
        crc = zlib.crc32(octets, zlib.crc32(b"%b%d " % (kind, len(octets)), crc))
    return crc


def define_checksum(connection: sqlite3.Connection) -> None:
    """Have a connection know the function of checksums, without which it cannot write."""
    connection.create_function(CHECKSUM, -1, row_checksum, deterministic=True)


def connect(path: Path) -> sqlite3.Connection:
    """
    Open a database as it is.

    @raise sqlite3.Error: It cannot be used.
    """
    connection = sqlite3.connect(path, timeout=LONGEST_WAIT, isolation_level=None)
    define_checksum(connection)
    return connection


class _ReadConnection(sqlite3.Connection):
    """A connection whose failures are the domain's."""

    @override
    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        try:
            return super().execute(sql, parameters)
        except sqlite3.Error as error:
            raise StoreUnavailable(str(error)) from error


def _connect(path: Path, wait: float, factory: type[sqlite3.Connection]) -> sqlite3.Connection:
    deadline = time.monotonic() + wait
    while True:
        try:
            return _connect_once(path, wait, factory)
        except sqlite3.OperationalError as error:
            # SQLite does not wait for another process that makes the same file
            # a write-ahead log just now.
            if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(_PAUSE)


def _connect_once(path: Path, wait: float, factory: type[sqlite3.Connection]) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=wait, isolation_level=None, check_same_thread=False, factory=factory, cached_statements=256
    )
    try:
        define_checksum(connection)
        # Not through the factory's execute, which has other exceptions.
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA cache_size=-16384")
    except BaseException:
        connection.close()
        raise
    return connection


def make(path: Path, schema: str, version: int) -> sqlite3.Connection:
    """
    Open a database for writing; make its tables if it is new.

    @raise sqlite3.Error: It cannot be used.
    @raise StoreUnavailable: A newer version made it.
    """
    connection = _connect(path, LONGEST_WAIT, sqlite3.Connection)
    try:
        path.chmod(0o600)
        connection.execute("BEGIN IMMEDIATE")
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        if found > version:
            raise StoreUnavailable(f"{path.name} was made by a newer version")
        if found < version:
            _upgrade(connection, schema)
            connection.execute(f"PRAGMA user_version={version:d}")
        connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection


def _upgrade(connection: sqlite3.Connection, schema: str) -> None:
    """Make the tables, with what there is in those of an older version, within a transaction."""
    old = connection.execute("SELECT type, name FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    tables = [name for kind, name in old if kind == "table"]
    for kind, name in old:
        if kind == "index":
            connection.execute(f"DROP INDEX {name}")
    for name in tables:
        connection.execute(f"ALTER TABLE {name} RENAME TO old_{name}")
    for statement in schema.split(";"):
        connection.execute(statement)
    for name in tables:
        before, now = (
            {column for (column,) in connection.execute(f"SELECT name FROM pragma_table_info('{table}')")}
            for table in (f"old_{name}", name)
        )
        if columns := ", ".join(sorted(before & now)):
            connection.execute(f"INSERT INTO {name} ({columns}) SELECT {columns} FROM old_{name}")
        connection.execute(f"DROP TABLE old_{name}")


class Database:
    """
    One database file.

    @param schema: Statements that make the tables; run when the file's version
        is older, and what was in its tables is kept.
    @param version: Of the schema; a newer file is refused.
    @ivar read: For short reads on the reactor thread; it raises
        L{StoreUnavailable} and writes nothing.
    """

    def __init__(self, path: Path, schema: str, version: int, reactor: StoreReactor) -> None:
        self._path = path
        self._reactor = reactor
        self._turn = DeferredLock()
        self._busy = threading.Lock()
        try:
            self._writer = make(path, schema, version)
            self.read = _connect(path, _READ_WAIT, _ReadConnection)
            self.read.execute("PRAGMA query_only=1")
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{path.name}: {error}") from error

    async def write(self, change: Callable[[sqlite3.Connection], T], committed: Callable[[], None] | None = None) -> T:
        """
        Run a function on a thread within a transaction.

        @param change: It must touch nothing that the reactor thread touches,
            but for the connection.
        @param committed: Called, on the thread, when others can see the change.
        @return: What it returned, when the transaction is durable.
        @raise StoreUnavailable: The database failed; nothing was changed.
        """
        result: T = await self._turn.run(in_thread, self._reactor, self.transaction, change, committed)
        return result

    def transaction(self, change: Callable[[sqlite3.Connection], T], committed: Callable[[], None] | None = None) -> T:
        """
        Run a function within a transaction; waits for the disk.

        @raise StoreUnavailable: As L{write}.
        """
        # A cancelled wait leaves its thread running, so turns alone do not keep writers apart.
        with self._busy:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                try:
                    result = change(self._writer)
                    self._writer.execute("COMMIT")
                except BaseException:
                    if self._writer.in_transaction:
                        self._writer.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                full = getattr(error, "sqlite_errorcode", None) in _FULL
                raise (StoreFull if full else StoreUnavailable)(f"{self._path.name}: {error}") from error
            if committed is not None:
                committed()
        return result

    def close(self) -> None:
        """Give the file back; waits for a writer."""
        with self._busy:
            self.read.close()
            self._writer.close()
