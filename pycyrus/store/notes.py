"""
What users and administrators note of mailboxes and of the server (RFC 5464): C{annotations.db}.

A mailbox is known by its unique id, so notes follow it when it is renamed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pycyrus.errors import LimitExceeded
from pycyrus.sqlite.opening import CHECKSUM_OF
from pycyrus.store.database import Database
from pycyrus.store.threads import StoreReactor

FILE_NAME = "annotations.db"
SCHEMA_VERSION = 2
SCHEMA = f"""
CREATE TABLE annotations (
    unique_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    entry TEXT NOT NULL,
    value BLOB NOT NULL,
    {CHECKSUM_OF % "unique_id, user_id, entry, value"},
    PRIMARY KEY (unique_id, user_id, entry)
) WITHOUT ROWID;
CREATE INDEX annotations_by_user ON annotations (user_id, unique_id)
"""

SERVER = ""
"""The unique id that stands for the server."""
EVERYBODY = ""
"""The user id that stands for all: shared values."""
MAX_VALUE = 65_536
_AT_ONCE = 500
MAX_ENTRIES = 1000
"""Entries of one mailbox and user."""


class Annotations:
    """All values that were set."""

    def __init__(self, configdirectory: Path, reactor: StoreReactor) -> None:
        """@raise pycyrus.errors.StoreUnavailable: The database cannot be used."""
        self._database = Database(configdirectory / FILE_NAME, SCHEMA, SCHEMA_VERSION, reactor)

    def version(self) -> int:
        """Changes whenever any process may have changed something."""
        (version,) = self._database.read.execute("PRAGMA data_version").fetchone()
        return int(version)

    def of(self, unique_id: str, user_id: str) -> dict[str, bytes]:
        """Values of a mailbox, or of the server, that are everybody's or one user's."""
        found = self._database.read.execute(
            "SELECT entry, value FROM annotations WHERE unique_id = ? AND user_id = ?", (unique_id, user_id)
        )
        return {entry: bytes(value) for entry, value in found}

    def value(self, unique_id: str, entry: str) -> bytes | None:
        """One of everybody's values of a mailbox, or of the server."""
        found = self._database.read.execute(
            "SELECT value FROM annotations WHERE unique_id = ? AND user_id = ? AND entry = ?",
            (unique_id, EVERYBODY, entry),
        ).fetchone()
        return None if found is None else bytes(found[0])

    def all_of(self, unique_id: str) -> list[tuple[str, str, bytes]]:
        """User id, entry and value of all that was set for a mailbox."""
        found = self._database.read.execute(
            "SELECT user_id, entry, value FROM annotations WHERE unique_id = ? ORDER BY user_id, entry", (unique_id,)
        )
        return [(user_id, entry, bytes(value)) for user_id, entry, value in found]

    def octets(self, unique_ids: Sequence[str]) -> int:
        """How long all values of some mailboxes are together."""
        total = 0
        for start in range(0, len(unique_ids), _AT_ONCE):
            some = unique_ids[start : start + _AT_ONCE]
            (octets,) = self._database.read.execute(
                "SELECT coalesce(sum(length(value)), 0) FROM annotations"
                f" WHERE unique_id IN ({','.join('?' * len(some))})",
                some,
            ).fetchone()
            total += octets
        return total

    async def change(self, unique_id: str, changes: Mapping[tuple[str, str], bytes | None]) -> None:
        """
        Set values, all or none, durably.

        @param changes: By user id and entry; None to remove.
        @raise LimitExceeded: A value is too long, or there would be too many.
        """
        for value in changes.values():
            if value is not None and len(value) > MAX_VALUE:
                raise LimitExceeded("Annotation value too long")

        def write(connection: sqlite3.Connection) -> None:
            for (user_id, entry), value in changes.items():
                if value is None:
                    connection.execute(
                        "DELETE FROM annotations WHERE unique_id = ? AND user_id = ? AND entry = ?",
                        (unique_id, user_id, entry),
                    )
                else:
                    connection.execute(
                        "INSERT OR REPLACE INTO annotations VALUES (?, ?, ?, ?)", (unique_id, user_id, entry, value)
                    )
            (most,) = connection.execute(
                "SELECT coalesce(max(many), 0) FROM (SELECT count(*) AS many FROM annotations"
                " WHERE unique_id = ? GROUP BY user_id)",
                (unique_id,),
            ).fetchone()
            if most > MAX_ENTRIES:
                raise LimitExceeded("Too many annotations")

        await self._database.write(write)

    async def forget_mailboxes(self, unique_ids: Iterable[str]) -> None:
        """Drop what was noted of mailboxes that are gone for good."""
        rows = [(unique_id,) for unique_id in unique_ids]
        if rows:
            await self._database.write(
                lambda connection: connection.executemany("DELETE FROM annotations WHERE unique_id = ?", rows)
            )

    def put_all(self, notes: Iterable[tuple[str, str, str, bytes]]) -> None:
        """
        Take over values of mailboxes that come from another server; waits for the disk.

        @param notes: Unique id, user id, entry and value of each.
        """
        self._database.transaction(
            lambda connection: connection.executemany("INSERT OR REPLACE INTO annotations VALUES (?, ?, ?, ?)", notes)
        )

    def rename_user(self, old: str, new: str) -> None:
        """Give a user's own values to another user id; waits for the disk."""
        self._database.transaction(
            lambda connection: connection.execute(
                "UPDATE OR REPLACE annotations SET user_id = ? WHERE user_id = ?", (new, old)
            )
        )

    def close(self) -> None:
        """Close the database."""
        self._database.close()
