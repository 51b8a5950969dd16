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
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from pycyrus.delivery.owners import Owners
from pycyrus.delivery.record import (
    FILE_NAME,
    LONGEST_WAIT,
    checkpoint,
    checksum,
    inode_of,
    is_damaged,
    open_again,
    open_record,
)
from pycyrus.errors import StoreUnavailable

T = TypeVar("T")

_CLAIM = "INSERT INTO deliveries VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
_LOOK = "SELECT time, uid, owner, row_checksum FROM deliveries WHERE id=? AND target=? AND date=?"
_TAKE_OVER = "INSERT OR REPLACE INTO deliveries VALUES (?, ?, ?, ?, ?, ?, ?)"
_SETTLE = (
    "INSERT INTO deliveries VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6)"
    " ON CONFLICT DO UPDATE SET time=excluded.time, uid=excluded.uid, owner=0, row_checksum=excluded.row_checksum"
)
_RELEASE = "DELETE FROM deliveries WHERE id=? AND target=? AND date=? AND owner=?"

_Row = tuple[bytes, bytes, bytes, int, int, int]
"""A key's parts, seconds, the UID, and the checksum of what is settled so."""

_ALONE = 4
"""Claims that came alone after which the next is written at once."""
_SPINS = 4
_SPIN = 0.00004
"""How often, and after how many seconds, a database that is being written is tried again before a thread waits."""
_LOOK_AGAIN = 0.05
_SETTLE_WITHIN = 0.02
_CHECKPOINT_AFTER = 5.0
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


class Key(NamedTuple):
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


class Claim(NamedTuple):
    """
    The answer to a claim.

    @ivar uid: Of the delivered message; of an abandoned one the lowest that
        it can have.
    """

    state: State
    uid: int = 0


class _Request(NamedTuple):
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
            self._inode = inode_of(self._path)
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
        deadline = time.monotonic() + LONGEST_WAIT
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
        now, ours = int(time.time()), self._owners.number
        row = (*parts, now, next_uid, ours, checksum(parts, now, next_uid, ours))
        if connection.execute(_CLAIM, row).rowcount == 1:
            return Claim(State.OURS)
        when, uid, owner, found = connection.execute(_LOOK, parts).fetchone()
        if checksum(parts, when, uid, owner) != found:
            # Nobody may be told that a message came because of a bit that flipped.
            self.log.error("A row of {file} is damaged; what it tells of may come twice", file=FILE_NAME)
            connection.execute(_TAKE_OVER, row)
            return Claim(State.OURS)
        if owner == 0:
            return Claim(State.DELIVERED, uid)
        # What is ours in the file, but was not held here, is of a delivery that failed half-way.
        if owner != self._owners.number and self._owners.is_alive(owner):
            return Claim(State.BUSY)
        connection.execute(_TAKE_OVER, (*parts, now, uid, ours, checksum(parts, now, uid, ours)))
        return Claim(State.ABANDONED, uid)

    def settle(self, key: Key, uid: int = 0) -> None:
        """
        Say that what was claimed is delivered.

        It is written within C{_SETTLE_WITHIN}; if that fails, the claim counts as
        abandoned, and whoever brings the same again looks whether it had arrived.
        """
        parts, now = key.parts(), int(time.time())
        self._settled.append((*parts, now, uid, checksum(parts, now, uid, 0)))
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

    def abandon(self, key: Key) -> None:
        """Say that nobody knows whether what was claimed is delivered: whoever brings it again looks."""
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
            if inode_of(self._path) != self._inode:
                # Another process found it damaged, and made it again.
                self._replace(open_record(self._path))
            results = _transaction_soon(self._connection, requests, settled)
        except (sqlite3.Error, StoreUnavailable) as failed:
            error = failed
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
                # Another process writes just now; that is waited for elsewhere.
                self._later_in_thread(requests, lambda: self._wait_and_write(requests, settled))
            elif isinstance(error, sqlite3.Error) and is_damaged(error):
                self._later_in_thread(requests, lambda: self._mend_and_write(error, requests, settled))
            else:
                self._fail(requests, error)
        else:
            self._written(requests, results)

    def _later_in_thread(self, requests: list[_Request], work: Callable[[], list[object]]) -> None:
        self._working = Deferred()
        waited = self._in_thread(work)
        waited.addCallbacks(  # type: ignore[unused-awaitable] # _written ends the waiting
            lambda results: self._written(requests, results), lambda failure: self._fail(requests, failure.value)
        )

    def _replace(self, connection: sqlite3.Connection) -> None:
        self._connection.close()
        self._connection = connection
        self._inode = inode_of(self._path)

    def _mend_and_write(self, error: sqlite3.Error, requests: list[_Request], settled: list[_Row]) -> list[object]:
        self._replace(open_again(self._path, self._inode, error))
        return self._wait_and_write(requests, settled)

    def _wait_and_write(self, requests: list[_Request], settled: list[_Row]) -> list[object]:
        self._connection.execute(f"PRAGMA busy_timeout={LONGEST_WAIT * 1000:.0f}")
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
