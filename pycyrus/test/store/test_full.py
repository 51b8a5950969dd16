"""No room where the mailbox list is: what was begun for it elsewhere is taken back."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from pycyrus.errors import StoreFull
from pycyrus.store.partitions import Partitions
from pycyrus.store.verify import open_list, verify_places
from pycyrus.test.store.test_store import ADMIN, FRED, StoreCase, name


class FullConnection:
    """A connection that finds no room when it commits."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        if sql == "COMMIT":
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        return self._connection.execute(sql, *arguments)

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._connection, attribute)


class FullTests(StoreCase):
    async def test_create(self) -> None:
        """Neither a mailbox nor one above it is left on the partition, and both can be made when there is room."""
        before = self.places()
        database = self.store.directory._database
        writer = database._writer
        database._writer = FullConnection(writer)  # type: ignore[assignment] # it acts as one
        for identity, wanted in ((FRED, "user.fred.a.b"), (ADMIN, "user.new"), (ADMIN, "shared.a")):
            with self.assertRaises(StoreFull):
                await self.store.create(identity, name(wanted))
        database._writer = writer
        self.assertEqual(self.places(), before)
        self.assertEqual(list(verify_places(self.settings, Partitions(self.settings), open_list(self.settings))), [])
        await self.store.create(FRED, name("user.fred.a.b"))
        self.assertEqual(self.places() - before, {"user/fred/a/b", "user/fred/a"})

    def places(self) -> set[str]:
        """Directories of mailboxes."""
        spool = self.root / "spool"
        return {str(Path(found.parent).relative_to(spool)) for found in spool.rglob("pycyrus.*") if found.is_file()}
