"""
Quota roots and their limits: C{quotas.db}.

A root is a name in the tree of mailboxes, whether there is a mailbox of that
name or not.  It holds for what lies below it, as far as no nearer root does.
The last resort is the root of a domain, which is a name without owner and path.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from twisted.logger import Logger

from pycyrus.model.mailbox_name import MailboxName
from pycyrus.model.quota import RESOURCES, Limit
from pycyrus.sqlite.opening import CHECKSUM, CHECKSUM_OF, row_checksum
from pycyrus.store.database import Database
from pycyrus.store.rows import key_of, live_range, name_of
from pycyrus.store.signal import Signal
from pycyrus.store.threads import StoreReactor

FILE_NAME = "quotas.db"
SIGNAL_NAME = "quotas.signal"
SCHEMA_VERSION = 2
SCHEMA = f"""
CREATE TABLE quotas (
    key TEXT PRIMARY KEY,
    limits TEXT NOT NULL,
    {CHECKSUM_OF % "key, limits"}
) WITHOUT ROWID
"""
_MOST_KNOWN = 50_000
_PAGE = 1000

Limits = tuple[Limit, ...]


def domain_root(domain: str) -> MailboxName:
    """The root that holds for a whole domain."""
    return MailboxName(domain, None, ())


class QuotaRoots:
    """All quota roots, as this process knows them."""

    log = Logger()

    def __init__(self, configdirectory: Path, reactor: StoreReactor) -> None:
        """@raise pycyrus.errors.StoreUnavailable: The database cannot be used."""
        self._database = Database(configdirectory / FILE_NAME, SCHEMA, SCHEMA_VERSION, reactor)
        self._signal = Signal(configdirectory / SIGNAL_NAME)
        self._token = -1
        self._any = False
        self._nearest: dict[MailboxName, tuple[MailboxName, Limits] | None] = {}
        self.version = 0
        self.refresh()

    def refresh(self) -> int:
        """
        Forget what another process changed.

        @return: C{version}, which changes whenever a root may have.
        """
        token = self._signal.value()
        if token != self._token:
            self._token = token
            self.version += 1
            self._nearest.clear()
            self._any = self._database.read.execute("SELECT 1 FROM quotas LIMIT 1").fetchone() is not None
        return self.version

    def exist(self) -> bool:
        """Whether there are any."""
        self.refresh()
        return self._any

    def holds_for(self, name: MailboxName) -> tuple[MailboxName, Limits] | None:
        """The nearest root above a mailbox, and its limits."""
        self.refresh()
        if not self._any or name.deleted is not None:
            return None
        if name in self._nearest:
            return self._nearest[name]
        if len(self._nearest) >= _MOST_KNOWN:
            self._nearest.clear()
        found = next(((root, limits) for root in _chain(name) if (limits := self.limits(root)) is not None), None)
        self._nearest[name] = found
        return found

    def limits(self, root: MailboxName) -> Limits | None:
        """The limits of a root; None if it is none."""
        row = self._database.read.execute(
            f"SELECT key, limits, {CHECKSUM} FROM quotas WHERE key = ?", (key_of(root),)
        ).fetchone()
        return None if row is None else self._limits_of(row)

    def within(self, low: str, high: str) -> Iterator[tuple[MailboxName, Limits]]:
        """Roots whose keys are in a range, in order."""
        while rows := self._database.read.execute(
            f"SELECT key, limits, {CHECKSUM} FROM quotas WHERE key >= ? AND key < ? ORDER BY key LIMIT ?",
            (low, high, _PAGE),
        ).fetchall():
            for row in rows:
                limits = self._limits_of(row)
                if limits is not None:
                    yield name_of(row[0]), limits
            low = rows[-1][0] + "\0"

    def _limits_of(self, row: tuple[str, str, int]) -> Limits | None:
        key, text, checksum = row
        if row_checksum(key, text) != checksum:
            # No limit at all is the lesser evil: mail comes in.
            self.log.error("The quota of {root} is damaged, set it again", root=str(name_of(key)))
            return None
        return tuple(Limit(name, value) for name, value in json.loads(text) if name in RESOURCES)

    async def set(self, root: MailboxName, limits: Sequence[Limit] | None) -> None:
        """
        Set all limits of a root, durably.

        @param limits: None to remove the root.
        @raise StoreUnavailable: Nothing was changed.
        """
        key = key_of(root)

        def change(connection: sqlite3.Connection) -> None:
            if limits is None:
                connection.execute("DELETE FROM quotas WHERE key = ?", (key,))
            else:
                _put(connection, key, json.dumps([[limit.name, limit.value] for limit in limits]))

        await self._change(change)

    def put_all(self, roots: Sequence[tuple[MailboxName, Sequence[tuple[str, int]]]]) -> None:
        """Take over roots and limits that come from another server; waits for the disk."""

        def change(connection: sqlite3.Connection) -> None:
            for root, limits in roots:
                _put(connection, key_of(root), json.dumps([list(limit) for limit in limits]))

        self._database.transaction(change, self._signal.change)

    def rename_user(self, old: MailboxName, new: MailboxName) -> None:
        """Have a user's roots follow the user; those that the new one has stay.  Waits for the disk."""
        low, high = live_range(old)

        def change(connection: sqlite3.Connection) -> None:
            rows = connection.execute("SELECT key, limits FROM quotas WHERE key >= ? AND key < ?", (low, high))
            for key, text in rows.fetchall():
                path = name_of(key).path
                target = key_of(MailboxName(new.domain, new.owner, path))
                if connection.execute("SELECT 1 FROM quotas WHERE key = ?", (target,)).fetchone() is None:
                    _put(connection, target, text)
                connection.execute("DELETE FROM quotas WHERE key = ?", (key,))

        self._database.transaction(change, self._signal.change)

    def forget_user(self, inbox: MailboxName) -> None:
        """Remove the roots of a user who is gone; waits for the disk."""
        self._database.transaction(
            lambda connection: connection.execute("DELETE FROM quotas WHERE key >= ? AND key < ?", live_range(inbox)),
            self._signal.change,
        )

    async def _change(self, change: object) -> None:
        await self._database.write(change, self._signal.change)  # type: ignore[arg-type] # a function of the connection
        self.refresh()

    def close(self) -> None:
        """Give the files back."""
        self._database.close()
        self._signal.close()


def _chain(name: MailboxName) -> Iterator[MailboxName]:
    above: MailboxName | None = name
    while above is not None:
        yield above
        above = above.parent
    if name.path or name.owner is not None:
        yield domain_root(name.domain)


def _put(connection: sqlite3.Connection, key: str, text: str) -> None:
    connection.execute("INSERT OR REPLACE INTO quotas VALUES (?, ?)", (key, text))
