"""
Which mailboxes are on their way to and from other servers: C{transfers.db}.

What is written here is what whoever comes after a crash goes by.
"""

from __future__ import annotations

import enum
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from pycyrus.errors import MailboxMoving, TransferFailed
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.sqlite.opening import CHECKSUM_OF
from pycyrus.store import files
from pycyrus.store.database import Database
from pycyrus.store.rows import key_of, name_of
from pycyrus.store.threads import StoreReactor

FILE_NAME = "transfers.db"
LOCKS = "transfers"
SCHEMA_VERSION = 2
SCHEMA = f"""
CREATE TABLE outgoing (
    transfer_id TEXT PRIMARY KEY,
    root TEXT NOT NULL,
    server TEXT NOT NULL,
    partition TEXT NOT NULL,
    state TEXT NOT NULL,
    octets INTEGER NOT NULL,
    total INTEGER NOT NULL,
    begun INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    error TEXT NOT NULL,
    {CHECKSUM_OF % "transfer_id, root, server, partition, state, octets, total, begun, changed, error"}
) WITHOUT ROWID;
CREATE TABLE departed (
    unique_id TEXT PRIMARY KEY,
    changed INTEGER NOT NULL,
    {CHECKSUM_OF % "unique_id, changed"}
) WITHOUT ROWID;
CREATE TABLE incoming (
    transfer_id TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    partition TEXT NOT NULL,
    manifest BLOB NOT NULL,
    changed INTEGER NOT NULL,
    {CHECKSUM_OF % "transfer_id, state, partition, manifest, changed"}
) WITHOUT ROWID
"""
CANCELLED = "cancelled"
"""Why a transfer failed that somebody did not want to go on."""
_KEPT = 30 * 86400
"""Seconds for which ended transfers are remembered."""
_ANSWERED = 365 * 86400
"""Seconds for which another server may ask whether mailboxes were taken over."""
_FREE = "state IN ('done', 'undone', 'failed')"


class Leaving(enum.Enum):
    """How far a transfer to another server is."""

    COPYING = "copying"
    """Messages are copied, and everything goes on."""
    HELD = "held"
    """Nobody may use the mailboxes, or may soon: the rest is copied."""
    DECIDED = "decided"
    """The other server may have been told that the mailboxes are its own."""
    MOVED = "moved"
    """They are; what is here has to go."""
    LOST = "lost"
    """The mailboxes are held, and the record of this was damaged: the other server has to tell."""
    CANCELLED = "cancelled"
    """It is not to go on: nobody has undone it yet."""
    UNDONE = "undone"
    """All goes on here; the other server has yet to forget what it was sent."""
    DONE = "done"
    FAILED = "failed"

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to be done."""
        return self in (Leaving.DONE, Leaving.FAILED)


class Coming(enum.Enum):
    """How far a transfer from another server is."""

    PREPARED = "prepared"
    """All is here, and waits for the word of the other server."""
    ACTIVE = "active"
    """The mailboxes are this server's."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """
    A transfer to another server.

    @ivar root: The mailbox, or the INBOX of the user.
    @ivar partition: As asked for; empty if the other server may choose.
    @ivar octets: Sent so far.
    @ivar total: To be sent, as far as it is known.
    @ivar begun: Seconds since the epoch.
    @ivar changed: Likewise.
    @ivar error: Why it failed, or does not go on.
    """

    transfer_id: str
    root: MailboxName
    server: str
    partition: str
    state: Leaving
    octets: int = 0
    total: int = 0
    begun: int = 0
    changed: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Incoming:
    """
    A transfer from another server.

    @ivar manifest: Empty when the mailboxes are active.
    """

    transfer_id: str
    state: Coming
    partition: str
    manifest: bytes


_OUTGOING = ", ".join(each.name for each in fields(Outgoing))


class TransferLog:
    """All transfers of this server."""

    def __init__(self, configdirectory: Path, reactor: StoreReactor) -> None:
        """@raise pycyrus.errors.StoreUnavailable: The database cannot be used."""
        self._database = Database(configdirectory / FILE_NAME, SCHEMA, SCHEMA_VERSION, reactor)
        self._locks = configdirectory / LOCKS
        files.makedirs(self._locks, files.PRIVATE_DIRECTORY, exist_ok=True)

    # --- outgoing -------------------------------------------------------

    async def begin(self, transfer: Outgoing) -> None:
        """
        Take note of a new transfer, durably.

        @raise MailboxMoving: There is one already.
        """

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(f"DELETE FROM outgoing WHERE {_FREE} AND changed < ?", _old(_KEPT))
            found = connection.execute(
                f"SELECT 1 FROM outgoing WHERE root = ? AND NOT {_FREE}", (key_of(transfer.root),)
            )
            if found.fetchone() is not None:
                raise MailboxMoving("already on its way")
            now = int(time.time())
            connection.execute(
                f"INSERT INTO outgoing ({_OUTGOING}) VALUES (?, ?, ?, ?, ?, 0, 0, ?, ?, '')",
                (
                    transfer.transfer_id, key_of(transfer.root), transfer.server, transfer.partition,
                    transfer.state.value, now, now,
                ),
            )  # fmt: skip

        await self._database.write(write)

    async def note(self, transfer_id: str, state: Leaving, error: str = "") -> None:
        """
        Say, durably, how far a transfer is.

        @raise TransferFailed: It was cancelled, and goes no further.
        """

        def write(connection: sqlite3.Connection) -> int:
            return connection.execute(
                "UPDATE outgoing SET state = ?, error = ?, changed = ? WHERE transfer_id = ?"
                " AND NOT (state = 'cancelled' AND ? IN ('held', 'decided'))",
                (state.value, error[:500], int(time.time()), transfer_id, state.value),
            ).rowcount

        if not await self._database.write(write) and self.is_cancelled(transfer_id):
            raise TransferFailed(CANCELLED)

    async def cancel(self, transfer_id: str) -> bool:
        """
        Have a transfer go no further.

        @return: Whether that is so: else the other server decides already, it is over, or there is none.
        """
        return bool(
            await self._database.write(
                lambda connection: (
                    connection.execute(
                        "UPDATE outgoing SET state = 'cancelled', changed = ?"
                        " WHERE transfer_id = ? AND state IN ('copying', 'held', 'cancelled')",
                        (int(time.time()), transfer_id),
                    ).rowcount
                )
            )
        )

    def is_cancelled(self, transfer_id: str) -> bool:
        """Whether somebody wants a transfer to go no further."""
        return bool(
            self._database.read.execute(
                "SELECT 1 FROM outgoing WHERE transfer_id = ? AND state = 'cancelled'", (transfer_id,)
            ).fetchone()
        )

    async def note_progress(self, transfer_id: str, octets: int, total: int) -> None:
        """Say how much was sent."""
        await self._database.write(
            lambda connection: connection.execute(
                "UPDATE outgoing SET octets = ?, total = ?, changed = ? WHERE transfer_id = ?",
                (octets, total, int(time.time()), transfer_id),
            )
        )

    async def depart(self, unique_ids: Iterable[str]) -> None:
        """Say, durably, that mailboxes are on another server; sessions that have them here are told so."""
        now = int(time.time())

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM departed WHERE changed < ?", _old(_KEPT))
            connection.executemany(
                "INSERT OR REPLACE INTO departed VALUES (?, ?)", [(each, now) for each in unique_ids]
            )

        await self._database.write(write)

    def has_departed(self, unique_id: str) -> bool:
        """Whether a mailbox that was here is on another server."""
        found = self._database.read.execute("SELECT 1 FROM departed WHERE unique_id = ?", (unique_id,))
        return found.fetchone() is not None

    def outgoing(self) -> list[Outgoing]:
        """All that are known, the oldest first."""
        return self._outgoing("")

    def _outgoing(self, which: str) -> list[Outgoing]:
        rows = self._database.read.execute(f"SELECT {_OUTGOING} FROM outgoing {which} ORDER BY begun, transfer_id")
        return [
            Outgoing(transfer_id, name_of(root), server, partition, Leaving(state), *rest)
            for transfer_id, root, server, partition, state, *rest in rows
        ]

    def unfinished(self) -> list[Outgoing]:
        """Those for which something is left to be done."""
        return self._outgoing("WHERE state NOT IN ('done', 'failed')")

    # --- incoming -------------------------------------------------------

    def prepared(self, transfer: Incoming) -> None:
        """Take note, durably, that all is here; waits for the disk."""

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM incoming WHERE state = 'active' AND changed < ?", _old(_ANSWERED))
            connection.execute(
                "INSERT OR REPLACE INTO incoming VALUES (?, ?, ?, ?, ?)",
                (transfer.transfer_id, transfer.state.value, transfer.partition, transfer.manifest, int(time.time())),
            )

        self._database.transaction(write)

    def activated(self, transfer_id: str, unique_ids: Iterable[str]) -> None:
        """Take note, durably, that the mailboxes are this server's; waits for the disk."""

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE incoming SET state = 'active', manifest = x'', changed = ? WHERE transfer_id = ?",
                (int(time.time()), transfer_id),
            )
            # They may have been here before.
            connection.executemany("DELETE FROM departed WHERE unique_id = ?", [(each,) for each in unique_ids])

        self._database.transaction(write)

    def forget(self, transfer_id: str) -> None:
        """Forget a transfer that came in, or will not; waits for the disk."""
        self._database.transaction(
            lambda connection: connection.execute("DELETE FROM incoming WHERE transfer_id = ?", (transfer_id,))
        )

    def incoming(self, transfer_id: str) -> Incoming | None:
        """One transfer; None if it is not known."""
        row = self._database.read.execute(
            "SELECT transfer_id, state, partition, manifest FROM incoming WHERE transfer_id = ?", (transfer_id,)
        ).fetchone()
        return None if row is None else Incoming(row[0], Coming(row[1]), row[2], bytes(row[3]))

    def all_prepared(self) -> list[Incoming]:
        """Those that wait for a word, the last first."""
        rows = self._database.read.execute(
            "SELECT transfer_id, state, partition, manifest FROM incoming WHERE state = 'prepared'"
            " ORDER BY changed DESC, transfer_id"
        )
        return [Incoming(each[0], Coming(each[1]), each[2], bytes(each[3])) for each in rows]

    def is_prepared(self, transfer_id: str) -> bool:
        """Whether all of a transfer is here, and waits; waits for the disk."""
        return self._database.transaction(
            lambda connection: (
                connection.execute(
                    "SELECT 1 FROM incoming WHERE transfer_id = ? AND state = 'prepared'", (transfer_id,)
                ).fetchone()
                is not None
            )
        )

    # --- who is at it ---------------------------------------------------

    def take(self, transfer_id: str) -> int | None:
        """
        Be the one who works on a transfer.

        @return: A descriptor to close afterwards, by L{give_back}; None if another process is at it.
        @raise OSError: It cannot be told.
        """
        path = str(self._locks / transfer_id)
        fd = files.open_file(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, files.PRIVATE)
        try:
            files.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had it before may have removed it after it was opened here.
            if os.path.samestat(files.fstat(fd), files.stat(path)):
                return fd
        except (BlockingIOError, FileNotFoundError):
            pass
        except BaseException:
            files.close(fd)
            raise
        files.close(fd)
        return None

    def is_free(self, transfer_id: str) -> bool:
        """Whether nobody works on a transfer, as far as can be told."""
        try:
            fd = self.take(transfer_id)
        except OSError:
            return False
        if fd is None:
            return False
        self.give_back(transfer_id, fd)
        return True

    def give_back(self, transfer_id: str, fd: int, *, is_over: bool = False) -> None:
        """Let others work on a transfer."""
        if is_over:
            (self._locks / transfer_id).unlink(missing_ok=True)
        files.close(fd)

    def close(self) -> None:
        """Give the files back."""
        self._database.close()


def _old(seconds: int) -> tuple[int]:
    return (int(time.time()) - seconds,)
