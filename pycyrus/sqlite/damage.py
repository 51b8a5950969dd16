"""
Databases that are damaged: what is wrong is found, they are set aside, and made again of what can be read.

Only a process that has the database to itself may do that, which a lock tells.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import struct
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from twisted.logger import Logger

from pycyrus.sqlite.opening import connect, define_checksum
from pycyrus.sqlite.salvage import damaged_rows, salvage, sync_directory

_log = Logger()

QUARANTINE = "quarantine"
"""The directory beside a database to which it is moved."""
_LOCK = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class KeptDatabase:
    """
    A database that nothing else tells of.

    @ivar name: Of the file.
    @ivar holds: What is in it.
    @ivar always: Whether each server has it.
    """

    name: str
    schema: str
    version: int
    holds: str
    always: bool = True

    def problem_of(self, path: Path) -> str | None:
        """What is wrong with it, as L{problem_of}."""
        return problem_of(path, self.schema, self.version)


def mend(path: Path, kept: KeptDatabase, problem: str | None = None) -> bool:
    """
    Set a database aside if it is damaged, and make one of what can be read of it.

    @param problem: What is known to be wrong; None to look for it.
    @return: Whether something of it is lost.
    """
    lost = has_lost_tail(path)
    problem = problem or kept.problem_of(path)
    if problem:
        count = salvage(set_aside(path, problem), path, kept.schema, kept.version)
        _log.error(
            "{count} entries of {path} could be read, and were kept; others are lost.  It holds {holds}",
            count=count, path=str(path), holds=kept.holds,
        )  # fmt: skip
    elif lost:
        _log.warn("The last changes of {path} may be lost.  It holds {holds}", path=str(path), holds=kept.holds)
    return bool(problem) or lost


def problem_of(path: Path, schema: str, version: int) -> str | None:
    """
    What is wrong with a database.

    @return: None if it is sound, or not there.
    """
    if not path.exists():
        return None
    problem = _problem_of_file(path)
    if problem is not None:
        return problem
    try:
        with closing(connect(path)) as connection:
            found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(3)")]
            (found_version,) = connection.execute("PRAGMA user_version").fetchone()
            tables = connection.execute(_TABLES).fetchall()
            damaged = damaged_rows(connection) if found == ["ok"] else 0
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", None) in _ELSEWHERE:
            # The disk, or somebody who has it open: that is not damage.
            return None
        return str(error)
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        return str(error)
    if found != ["ok"]:
        return "; ".join(found)
    if tables and found_version == 0:
        return "its version is missing"
    if found_version == version and tables != _tables_of(schema):
        return "its tables have other columns than they should"
    if damaged:
        return f"{damaged} rows are not as they were written"
    return None


_TABLES = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"


def _tables_of(schema: str) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(":memory:")) as connection:
        define_checksum(connection)
        connection.executescript(schema)
        return connection.execute(_TABLES).fetchall()


def _problem_of_file(path: Path) -> str | None:
    """What SQLite would pass over: see its file format, section 1.3."""
    with path.open("rb") as file:
        head = file.read(100)
    if not head:
        return None
    if len(head) < 100 or head[:16] != b"SQLite format 3\0" or not set(head[18:20]) <= {1, 2}:
        # Of an unknown version it would be read and not written.
        return "its header is damaged"
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size > _WAL_HEADER:
        # It may be what is to make the file longer.
        return None
    page = int.from_bytes(head[16:18], "big")
    page = 65536 if page == 1 else page
    size = path.stat().st_size
    count = int.from_bytes(head[28:32], "big") if head[24:28] == head[92:96] else 0
    if page < 512 or size % page or size < page * count:
        return "it was cut off"
    return None


def has_lost_tail(path: Path) -> bool:
    """
    Whether the write-ahead log of a database has frames that SQLite will not take for whole.

    It passes them over without a word, be they torn or damaged, and all that follow.
    See C{https://www.sqlite.org/fileformat2.html}, section 4.
    """
    try:
        octets = path.with_name(f"{path.name}-wal").read_bytes()
    except OSError:
        return False
    if len(octets) < _WAL_HEADER + _WAL_FRAME:
        return False
    order: Literal["big", "little"] = "big" if octets[3] & 1 else "little"
    sums = _wal_sums(octets[:24], (0, 0), order)
    size = int.from_bytes(octets[8:12], "big")
    if octets[24:32] != _packed(sums) or octets[:3] != _WAL_MAGIC or not 512 <= size <= 65536:
        return True
    frames = range(_WAL_HEADER, len(octets) - _WAL_FRAME - size + 1, _WAL_FRAME + size)
    is_whole = True
    for at in frames:
        head = octets[at : at + _WAL_FRAME]
        current = head[8:16] == octets[16:24]
        if is_whole and current:
            sums = _wal_sums(head[:8], sums, order)
            sums = _wal_sums(octets[at + _WAL_FRAME : at + _WAL_FRAME + size], sums, order)
            is_whole = head[16:24] == _packed(sums)
            if not is_whole:
                return True
        elif current:
            return True
        else:
            # The end, unless a frame of this log follows: others are of an earlier one.
            is_whole = False
    return False


_WAL_HEADER, _WAL_FRAME = 32, 24
_WAL_MAGIC = b"\x37\x7f\x06"


def _wal_sums(octets: bytes, sums: tuple[int, int], order: Literal["big", "little"]) -> tuple[int, int]:
    one, two = sums
    words = struct.unpack(f"{'>' if order == 'big' else '<'}{len(octets) // 4}I", octets)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        one = (one + even + two) & 0xFFFFFFFF
        two = (two + odd + one) & 0xFFFFFFFF
    return one, two


def _packed(sums: tuple[int, int]) -> bytes:
    return struct.pack(">II", *sums)


_ELSEWHERE = frozenset(
    (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY)
)


def set_aside(path: Path, problem: str) -> Path:
    """
    Move a database out of the way, loudly.

    @return: What it is called now.
    """
    kept = path.parent / QUARANTINE
    kept.mkdir(0o700, exist_ok=True)
    number = time.time_ns() // 1000
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(kept / f"{path.name}.{number}{suffix}")
    sync_directory(kept)
    sync_directory(path.parent)
    _log.error(
        "Database {path} is damaged ({problem}) and was moved to {kept}",
        path=str(path), problem=problem, kept=str(kept / f"{path.name}.{number}"),
    )  # fmt: skip
    return kept / f"{path.name}.{number}"


def hold(path: Path, kept: KeptDatabase) -> int:
    """
    Mend a database if no process has it open, and keep others from mending it.

    @param path: Beside it there is a file of its name with C{.lock}.
    @return: A descriptor, to be closed when the database is.
    @raise OSError: The lock cannot be made.
    @raise StoreUnavailable: The database cannot be made again.
    """
    lock = path.with_name(f"{path.name}.lock")
    if lock.exists() and not (path.exists() and path.stat().st_size):
        # Whoever made the lock made the database next, unless he was killed in between.
        _log.error("{path} was there, and is missing or empty.  It holds {holds}", path=str(path), holds=kept.holds)
    fd = os.open(lock, _LOCK, 0o600)
    try:
        share(fd, partial(mend, path, kept))
    except BaseException:
        os.close(fd)
        raise
    return fd


def share(fd: int, mend_all: Callable[[], object], flock: Callable[[int, int], None] = fcntl.flock) -> None:
    """
    Mend what is behind a lock if nobody else holds it; then hold it with others.

    @param fd: Of the lock.
    @raise OSError: The lock cannot be had.
    """
    try:
        flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pass
    else:
        mend_all()
    # Whoever mends ends first.
    flock(fd, fcntl.LOCK_SH)
