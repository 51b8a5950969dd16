"""Opening SQLite's files, with checksums of their rows, and making their tables."""

from __future__ import annotations

import sqlite3
import time
import zlib
from collections.abc import Iterable
from pathlib import Path

from pycyrus.errors import StoreUnavailable

LONGEST_WAIT = 30.0
"""Seconds that a writer waits for those of other processes."""
_PAUSE = 0.005

CHECKSUM = "row_checksum"
"""A function in SQL, and the column that has its value for all others of a row."""
CHECKSUM_OF = f"{CHECKSUM} INTEGER NOT NULL GENERATED ALWAYS AS ({CHECKSUM}(%s)) STORED"
"""The declaration of that column, given the names of the others, in their order."""


def row_checksum(*values: str | bytes | int | None) -> int:
    """CRC-32 of the values of a row, each with its kind and length."""
    words = []
    for value in values:
        # Most are such, and all rows are looked at when a server starts.
        if type(value) is str and value.isascii():
            words.append(f"t{len(value)} {value}")
        elif type(value) is int:
            digits = str(value)
            words.append(f"n{len(digits)} {digits}")
        else:
            return _checksum_of_any(values)
    return zlib.crc32("".join(words).encode("ascii"))


def _checksum_of_any(values: Iterable[str | bytes | int | None]) -> int:
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


def connect_until(path: Path, wait: float, factory: type[sqlite3.Connection]) -> sqlite3.Connection:
    """
    Open a database that has a write-ahead log, or gets one; its transactions wait for the disk.

    @param wait: Seconds for other processes.
    @raise sqlite3.Error: It cannot be used.
    """
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
    connection = connect_until(path, LONGEST_WAIT, sqlite3.Connection)
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
    old = connection.execute(
        "SELECT type, name FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    ).fetchall()
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
    # Not before all was copied: rows of others may go with those of a table.
    for name in tables:
        connection.execute(f"DROP TABLE old_{name}")
