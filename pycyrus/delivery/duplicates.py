"""
What was delivered where, so that nothing is delivered twice.

A delivery claims its key before it writes, and settles it when the message is
durable.  A claim whose process has died is taken over by the next delivery of
that key, which looks whether the message had arrived.  So a key is delivered
at most once, and a message that was acknowledged is there.

All claims of one turn of the reactor are one transaction, in the page cache:
the write-ahead log reaches the disk with the spool's next sync, where they
share a file system, and with a checkpoint after some seconds anyway.  Settling
has time: it goes with the next claims, or soon after.  Until then the claim
stands for it.
"""

from __future__ import annotations

import enum
import hashlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from pycyrus.delivery.owners import Owners
from pycyrus.errors import StoreUnavailable

FILE_NAME = "deliver.sqlite"

T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS deliveries (
    id BLOB NOT NULL, target BLOB NOT NULL, date BLOB NOT NULL,
    time INTEGER NOT NULL, uid INTEGER NOT NULL, owner INTEGER NOT NULL,
    PRIMARY KEY (id, target, date)
) WITHOUT ROWID
"""
_CLAIM = "INSERT INTO deliveries VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
_LOOK = "SELECT time, uid, owner FROM deliveries WHERE id=? AND target=? AND date=?"
_TAKE_OVER = "UPDATE deliveries SET owner=?4, time=?5 WHERE id=?1 AND target=?2 AND date=?3"
_SETTLE = (
    "INSERT INTO deliveries VALUES (?1, ?2, ?3, ?4, ?5, 0)"
    " ON CONFLICT DO UPDATE SET time=excluded.time, uid=excluded.uid, owner=0"
)
_RELEASE = "DELETE FROM deliveries WHERE id=? AND target=? AND date=? AND owner=?"

_Row = tuple[bytes, bytes, bytes, int, int]
"""A key's parts, seconds, and the UID."""

_ALONE = 4
"""Claims that came alone after which the next is written at once."""
_SPINS = 4
_SPIN = 0.00004
"""How often, and after how many seconds, a database that is being written is tried again before a thread waits."""
_LONGEST_WAIT = 30.0
"""Seconds for writers of other processes, and for a delivery of the same key in one."""
_LOOK_AGAIN = 0.05
_SETTLE_WITHIN = 0.02
_CHECKPOINT_AFTER = 5.0
_PRUNE_AT_ONCE = 1000
_MAX_PART = 512


class State(enum.Enum):
    """What a claim found."""

    OURS = "ours"
    """Nobody delivered this; the claim must be settled or released."""
    DELIVERED = "delivered"
    ABANDONED = "abandoned"
    """As L{OURS}, but somebody died over it, before or after the message arrived."""
    BUSY = "busy"
    """Another process is at it."""


@dataclass(frozen=True, slots=True)
class Key:
    """
    What is delivered once.

    @ivar identifier: A Message-ID, or what else tells one thing from another.
    @ivar target: Unique id of the mailbox, or who else is concerned.
    @ivar date: The Date field.
    """

    identifier: bytes
    target: bytes
    date: bytes = b""

    def parts(self) -> tuple[bytes, bytes, bytes]:
        """As they are stored; of what is very long, a digest."""
        return _short(self.identifier), _short(self.target), _short(self.date)


def _short(part: bytes) -> bytes:
    return part if len(part) <= _MAX_PART else b"sha256:" + hashlib.sha256(part).hexdigest().encode("ascii")


@dataclass(frozen=True, slots=True)
class Claim:
    """
    The answer to a claim.

    @ivar uid: Of the delivered message; of an abandoned one the lowest that
        it can have.
    """

    state: State
    uid: int = 0


@dataclass(frozen=True, slots=True)
class _Request:
    """A function to run within the transaction, and who waits for its result."""

    work: Callable[[sqlite3.Connection], object]
    done: Deferred[Any]


class Duplicates:
    """
    The record of deliveries of all processes.

    All methods are called on the reactor thread.

    @param directory: Where its files are.
    @param reactor: Of a serving process, with threads.
    @raise StoreUnavailable: The record cannot be opened.
    """

    log = Logger()

    def __init__(self, directory: Path, reactor: Any) -> None:
        self._reactor = reactor
        self._path = directory / FILE_NAME
        self._held: dict[Key, list[Deferred[None]]] = {}
        self._queue: list[_Request] = []
        self._settled: list[_Row] = []
        self._alone = 0
        self._soon: IDelayedCall | None = None
        self._later: IDelayedCall | None = None
        self._working: Deferred[None] | None = None
        self._checkpoint: IDelayedCall | None = None
        try:
            self._owners = Owners(directory / "deliver.owners")
            self._connection = open_record(self._path)
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailable(f"{FILE_NAME}: {error}") from error

    async def claim(self, key: Key, next_uid: int = 0) -> Claim:
        """
        Say that something is about to be delivered.

        Whoever claims the same key waits until it was settled or released.

        @param next_uid: What is delivered now gets at least this UID.
        @raise StoreUnavailable: The record cannot be read or written, or another
            process has been at this key for long.
        """
        while (waiting := self._held.get(key)) is not None:
            turn: Deferred[None] = Deferred()
            waiting.append(turn)
            await turn
        self._held[key] = []
        try:
            claim = await self._claim(key, next_uid)
        except BaseException:
            self._let_go(key)
            raise
        if claim.state is State.DELIVERED:
            self._let_go(key)
        return claim

    async def _claim(self, key: Key, next_uid: int) -> Claim:
        deadline = time.monotonic() + _LONGEST_WAIT
        while True:
            claim = await self._ask(lambda connection: self._enter(connection, key, next_uid))
            if claim.state is not State.BUSY:
                return claim
            if time.monotonic() > deadline:
                raise StoreUnavailable("another process delivers the same message for long")
            pause: Deferred[None] = Deferred()
            self._reactor.callLater(_LOOK_AGAIN, pause.callback, None)
            await pause

    def _enter(self, connection: sqlite3.Connection, key: Key, next_uid: int) -> Claim:
        parts = key.parts()
        now = int(time.time())
        if connection.execute(_CLAIM, (*parts, now, next_uid, self._owners.number)).rowcount == 1:
            return Claim(State.OURS)
        _, uid, owner = connection.execute(_LOOK, parts).fetchone()
        if owner == 0:
            return Claim(State.DELIVERED, uid)
        # What is ours in the file, but was not held here, is of a delivery that failed half-way.
        if owner != self._owners.number and self._owners.is_alive(owner):
            return Claim(State.BUSY)
        connection.execute(_TAKE_OVER, (*parts, self._owners.number, now))
        return Claim(State.ABANDONED, uid)

    def settle(self, key: Key, uid: int = 0) -> None:
        """
        Say that what was claimed is delivered.

        It is written within C{_SETTLE_WITHIN}; if that fails, the claim counts as
        abandoned, and whoever brings the same again looks whether it had arrived.
        """
        self._settled.append((*key.parts(), int(time.time()), uid))
        if self._soon is None and self._later is None and self._working is None:
            self._later = self._reactor.callLater(_SETTLE_WITHIN, self._turn_is_over)
        self._let_go(key)

    async def release(self, key: Key) -> None:
        """
        Say that what was claimed could not be delivered.

        @raise StoreUnavailable: It cannot be written; the claim counts as abandoned.
        """
        row = (*key.parts(), self._owners.number)
        try:
            await self._ask(lambda connection: connection.execute(_RELEASE, row))
        finally:
            self._let_go(key)

    def _let_go(self, key: Key) -> None:
        for turn in self._held.pop(key, ()):
            turn.callback(None)

    async def close(self) -> None:
        """Write everything, and close the files."""
        while self._queue or self._settled or self._working is not None:
            if self._working is None:
                self._turn_is_over()
            else:
                written: Deferred[None] = Deferred()
                self._working.chainDeferred(written)  # type: ignore[unused-awaitable] # the other is awaited
                await written
        if self._checkpoint is not None:
            self._checkpoint.cancel()
            self._checkpoint = None
            await self._in_thread(lambda: checkpoint(self._path))
        self._connection.close()
        self._owners.close()

    # --- transactions ---------------------------------------------------------------

    async def _ask(self, work: Callable[[sqlite3.Connection], T]) -> T:
        done: Deferred[T] = Deferred()
        self._queue.append(_Request(work, done))
        if self._soon is None and self._working is None:
            if self._alone >= _ALONE:
                self._turn_is_over()
            else:
                self._soon = self._reactor.callLater(0, self._turn_is_over)
        return await done

    def _turn_is_over(self) -> None:
        for call in (self._soon, self._later):
            if call is not None and call.active():
                call.cancel()
        self._soon = self._later = None
        requests, self._queue = self._queue, []
        settled, self._settled = self._settled, []
        if requests:
            self._alone = self._alone + 1 if len(requests) == 1 else 0
        try:
            results = _transaction_soon(self._connection, requests, settled)
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_BUSY:
                self._fail(requests, error)
                return
            # Another process writes just now; that is waited for elsewhere.
            self._working = Deferred()
            waited = self._in_thread(lambda: self._wait_and_write(requests, settled))
            waited.addCallbacks(  # type: ignore[unused-awaitable] # _written ends the waiting
                lambda results: self._written(requests, results), lambda failure: self._fail(requests, failure.value)
            )
        except sqlite3.Error as error:
            self._fail(requests, error)
        else:
            self._written(requests, results)

    def _wait_and_write(self, requests: list[_Request], settled: list[_Row]) -> list[object]:
        self._connection.execute(f"PRAGMA busy_timeout={_LONGEST_WAIT * 1000:.0f}")
        try:
            return _transaction(self._connection, requests, settled)
        finally:
            self._connection.execute("PRAGMA busy_timeout=0")

    def _written(self, requests: list[_Request], results: list[object]) -> None:
        if self._checkpoint is None:
            self._checkpoint = self._reactor.callLater(_CHECKPOINT_AFTER, self._begin_checkpoint)
        self._go_on()
        for request, result in zip(requests, results, strict=True):
            request.done.callback(result)

    def _fail(self, requests: list[_Request], error: BaseException) -> None:
        self._go_on()
        self.log.error("The record of deliveries cannot be used: {error}", error=str(error))
        for request in requests:
            request.done.errback(StoreUnavailable(f"{FILE_NAME}: {error}"))

    def _go_on(self) -> None:
        working, self._working = self._working, None
        if (self._queue or self._settled) and self._soon is None:
            self._soon = self._reactor.callLater(0, self._turn_is_over)
        if working is not None:
            working.callback(None)

    def _begin_checkpoint(self) -> None:
        self._checkpoint = None
        done = self._in_thread(lambda: checkpoint(self._path))
        done.addErrback(  # type: ignore[unused-awaitable] # nobody waits for it
            lambda failure: self.log.error(
                "The record of deliveries could not be synced: {error}", error=str(failure.value)
            )
        )

    def _in_thread(self, work: Callable[[], T]) -> Deferred[T]:
        return cast("Deferred[T]", deferToThreadPool(self._reactor, self._reactor.getThreadPool(), work))


def _transaction_soon(connection: sqlite3.Connection, requests: list[_Request], settled: list[_Row]) -> list[object]:
    """As L{_transaction}; another process that writes just now needs less time than a thread that waits for it."""
    for _ in range(_SPINS):
        try:
            return _transaction(connection, requests, settled)
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_BUSY:
                raise
        time.sleep(_SPIN)
    return _transaction(connection, requests, settled)


def _transaction(connection: sqlite3.Connection, requests: list[_Request], settled: list[_Row]) -> list[object]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        if settled:
            connection.executemany(_SETTLE, settled)
        results = [request.work(connection) for request in requests]
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return results


# --- the file -------------------------------------------------------------------------


def open_record(path: Path) -> sqlite3.Connection:
    """
    Open the record, or make it; one that is damaged is set aside.

    @raise sqlite3.Error: It cannot be opened.
    """
    try:
        return _open(path)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        aside = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
        path.rename(aside)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        Duplicates.log.error(
            "{path} was damaged ({error}) and is now {aside}; duplicates of earlier messages are not known",
            path=str(path), error=str(error), aside=aside.name,
        )  # fmt: skip
        return _open(path)


def _open(path: Path) -> sqlite3.Connection:
    deadline = time.monotonic() + _LONGEST_WAIT
    while True:
        try:
            return _open_once(path)
        except sqlite3.OperationalError as error:
            # SQLite does not wait for another process that makes the same file.
            if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.005)


def _open_once(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_LONGEST_WAIT, isolation_level=None, check_same_thread=False)
    try:
        path.chmod(0o600)
        connection.execute("PRAGMA journal_mode=WAL")
        # With this only checkpoints sync, and those are made in a thread.
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute(_SCHEMA)
        connection.execute("SELECT time FROM deliveries LIMIT 1").fetchone()
        connection.execute("PRAGMA busy_timeout=0")
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    connection = open_record(path)
    try:
        connection.execute(f"PRAGMA busy_timeout={_LONGEST_WAIT * 1000:.0f}")
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

    @param before: Seconds since the epoch.
    @return: How many were forgotten, and how many there were.
    """
    gone = total = 0
    with _opened(path) as connection:
        place = (b"", b"", b"")
        while rows := connection.execute(
            "SELECT id, target, date, time, owner FROM deliveries WHERE (id, target, date) > (?, ?, ?)"
            " ORDER BY id, target, date LIMIT ?",
            (*place, _PRUNE_AT_ONCE),
        ).fetchall():
            total += len(rows)
            place = rows[-1][:3]
            old = [row[:3] for row in rows if row[3] < before]
            if old:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany("DELETE FROM deliveries WHERE id=? AND target=? AND date=?", old)
                connection.execute("COMMIT")
                gone += len(old)
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return gone, total


def entries(path: Path) -> Iterator[tuple[Key, int, int]]:
    """All that was delivered: key, seconds since the epoch, UID (C{ctl_deliver -d})."""
    with _opened(path) as connection:
        query = "SELECT id, target, date, time, uid FROM deliveries WHERE owner=0 ORDER BY id, target, date"
        for identifier, target, date, when, uid in connection.execute(query):
            yield Key(identifier, target, date), when, uid
