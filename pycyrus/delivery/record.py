"""
The file of deliveries: its table, how it is opened, and what becomes of it when it is damaged.

Each row has a checksum, which is looked at when the row is read: one that is not as it was written does not count, for
a message that comes twice is the lesser evil.  Where SQLite itself finds damage, the file is set aside by the first
process that meets it, and made again of what can be read; the others find the new
file in its place, and go on with that.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twisted.logger import Logger

from pycyrus.sqlite.damage import KeptDatabase, mend
from pycyrus.sqlite.opening import define_checksum

FILE_NAME = "deliver.sqlite"
SCHEMA_VERSION = 2
SCHEMA = """
CREATE TABLE deliveries (
    id BLOB NOT NULL, target BLOB NOT NULL, date BLOB NOT NULL,
    time INTEGER NOT NULL, uid INTEGER NOT NULL, owner INTEGER NOT NULL,
    row_checksum INTEGER NOT NULL,
    PRIMARY KEY (id, target, date)
) WITHOUT ROWID
"""
# The checksum is a value as the others are: SQLite would call for it twice for each delivery.
KEPT = KeptDatabase(
    FILE_NAME, SCHEMA, SCHEMA_VERSION, "what was delivered: duplicates of what is lost are not known", always=False
)

LONGEST_WAIT = 30.0
"""Seconds for writers of other processes."""
_LOCK = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_PRUNE_AT_ONCE = 1000
_log = Logger()

Parts = tuple[bytes, bytes, bytes]
"""Identifier, target and date of what is delivered once."""


def checksum(parts: Parts, seconds: int, uid: int, owner: int) -> int:
    """As L{pycyrus.sqlite.opening.row_checksum}, for a row of this table."""
    one, two, three = parts
    when, number, process = b"%d" % seconds, b"%d" % uid, b"%d" % owner
    return zlib.crc32(
        b"b%d %bb%d %bb%d %bn%d %bn%d %bn%d %b"
        % (
            len(one), one, len(two), two, len(three), three,
            len(when), when, len(number), number, len(process), process,
        )
    )  # fmt: skip


def is_damaged(error: sqlite3.Error) -> bool:
    """Whether an error says that the file is not as SQLite wrote it."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def open_record(path: Path) -> sqlite3.Connection:
    """
    Open the record, or make it; one that is damaged is set aside.

    @raise sqlite3.Error: It cannot be opened.
    """
    try:
        return _open(path)
    except sqlite3.DatabaseError as error:
        if not is_damaged(error):
            raise
        return open_again(path, inode_of(path), error)


def inode_of(path: Path) -> int:
    """What tells a file from the one that took its place; 0 if there is none."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


def open_again(path: Path, inode: int, error: sqlite3.Error) -> sqlite3.Connection:
    """
    Have a damaged record made again, unless somebody did; waits for the disk.

    @param inode: Of the damaged one.
    @raise sqlite3.Error: It cannot be opened, either.
    @raise pycyrus.errors.StoreUnavailable: It cannot be made again.
    """
    fd = os.open(path.with_name(f"{path.name}.lock"), _LOCK, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        if inode_of(path) == inode:
            mend(path, KEPT, str(error))
        return _open(path)
    finally:
        os.close(fd)


def _open(path: Path) -> sqlite3.Connection:
    deadline = time.monotonic() + LONGEST_WAIT
    while True:
        try:
            return _open_once(path)
        except sqlite3.OperationalError as error:
            # SQLite does not wait for another process that makes the same file.
            if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.005)


def _open_once(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=LONGEST_WAIT, isolation_level=None, check_same_thread=False)
    try:
        path.chmod(0o600)
        connection.execute("PRAGMA journal_mode=WAL")
        # With this only checkpoints sync, and those are made in a thread.
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        _make_table(connection)
        connection.execute("SELECT time FROM deliveries LIMIT 1").fetchone()
        connection.execute("PRAGMA busy_timeout=0")
    except BaseException:
        connection.close()
        raise
    return connection


def _make_table(connection: sqlite3.Connection) -> None:
    if connection.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(deliveries)").fetchall()]
    if columns and "row_checksum" not in columns:
        connection.execute("ALTER TABLE deliveries RENAME TO before")
        connection.execute(SCHEMA)
        define_checksum(connection)
        values = "id, target, date, time, uid, owner"
        connection.execute(f"INSERT INTO deliveries SELECT {values}, row_checksum({values}) FROM before")
        connection.execute("DROP TABLE before")
    elif not columns:
        connection.execute(SCHEMA)
    connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
    connection.execute("COMMIT")


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    connection = open_record(path)
    try:
        connection.execute(f"PRAGMA busy_timeout={LONGEST_WAIT * 1000:.0f}")
        yield connection
    finally:
        connection.close()


def checkpoint(path: Path) -> None:
    """Bring the write-ahead log to the disk, and into the file; waits for the disk."""
    with _opened(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()


def prune(path: Path, before: float) -> tuple[int, int]:
    """
    Forget old deliveries (C{cyr_expire -E}); beside a running server, and in small steps.

    Rows that are not as they were written go, too.

    @param before: Seconds since the epoch.
    @return: How many were forgotten, and how many there were.
    """
    gone = total = damaged = 0
    with _opened(path) as connection:
        place = (b"", b"", b"")
        while rows := connection.execute(
            "SELECT id, target, date, time, uid, owner, row_checksum FROM deliveries"
            " WHERE (id, target, date) > (?, ?, ?) ORDER BY id, target, date LIMIT ?",
            (*place, _PRUNE_AT_ONCE),
        ).fetchall():
            total += len(rows)
            place = rows[-1][:3]
            broken = [row[:3] for row in rows if checksum(row[:3], *row[3:6]) != row[6]]
            old = [*broken, *(row[:3] for row in rows if row[3] < before)]
            damaged += len(broken)
            if old:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany("DELETE FROM deliveries WHERE id=? AND target=? AND date=?", old)
                connection.execute("COMMIT")
                gone += len(set(old))
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    if damaged:
        _log.error("{count} rows of {path} were damaged, and are forgotten", count=damaged, path=str(path))
    return gone, total


def entries(path: Path) -> Iterator[tuple[Parts, int, int]]:
    """All that was delivered: what it was, seconds since the epoch, UID (C{ctl_deliver -d})."""
    with _opened(path) as connection:
        query = (
            "SELECT id, target, date, time, uid, row_checksum FROM deliveries WHERE owner=0 ORDER BY id, target, date"
        )
        for identifier, target, date, when, uid, found in connection.execute(query):
            parts = identifier, target, date
            if checksum(parts, when, uid, 0) == found:
                yield parts, when, uid
