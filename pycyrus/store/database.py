"""
SQLite beside the message path: short reads here and now, writes in a thread.

Reads see the page cache and are called on the reactor thread.  A write waits
for the disk (write-ahead log, synchronous=FULL), so it is a function that runs
within one transaction on a thread; when it has returned, it is durable.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import DeferredLock
from twisted.logger import Logger
from typing_extensions import override

from pycyrus.errors import StoreFull, StoreUnavailable
from pycyrus.sqlite.opening import connect_until, make
from pycyrus.store.threads import StoreReactor, in_thread

T = TypeVar("T")
_log = Logger()

_READ_WAIT = 2.0

_FULL = frozenset((sqlite3.SQLITE_FULL,))


class _ReadConnection(sqlite3.Connection):
    """A connection whose failures are the domain's."""

    @override
    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        try:
            return super().execute(sql, parameters)
        except sqlite3.Error as error:
            raise StoreUnavailable(str(error)) from error


class Database:
    """
    One database file.

    @param schema: Statements that make the tables; run when the file's version
        is older, and what was in its tables is kept.
    @param version: Of the schema; a newer file is refused.
    @param is_copy: What is lost by a power cut can be had again: no write waits for the disk.
    @ivar read: For short reads on the reactor thread; it raises
        L{StoreUnavailable} and writes nothing.
    @ivar when_full: Called within a transaction, in which it must not write, after another could not be
        written because there is no room: it takes back what that one did elsewhere.
    """

    def __init__(self, path: Path, schema: str, version: int, reactor: StoreReactor, *, is_copy: bool = False) -> None:
        self._path = path
        self._reactor = reactor
        self._turn = DeferredLock()
        self._busy = threading.Lock()
        self.when_full: Callable[[sqlite3.Connection], None] | None = None
        try:
            self._writer = make(path, schema, version)
            if is_copy:
                # Only checkpoints sync; after a power cut the last transactions may be missing, and none in part.
                self._writer.execute("PRAGMA synchronous=NORMAL")
            self.read = connect_until(path, _READ_WAIT, _ReadConnection)
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
                if full and self.when_full is not None:
                    self._take_back(self.when_full)
                raise (StoreFull if full else StoreUnavailable)(f"{self._path.name}: {error}") from error
            if committed is not None:
                committed()
        return result

    def _take_back(self, when_full: Callable[[sqlite3.Connection], None]) -> None:
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                when_full(self._writer)
            finally:
                self._writer.execute("ROLLBACK")
        except (sqlite3.Error, OSError, StoreUnavailable) as error:
            _log.warn("What was begun in vain is left: {error}", error=str(error))

    def close(self) -> None:
        """Give the file back; waits for a writer."""
        with self._busy:
            self.read.close()
            self._writer.close()
