"""What of a store those work with who move mailboxes to and from other servers."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from pycyrus.model.mailbox_name import MailboxName
from pycyrus.model.transfers import SeenBy
from pycyrus.store import rows
from pycyrus.store.database import Database
from pycyrus.store.directory import Directory
from pycyrus.store.notes import Annotations
from pycyrus.store.partitions import Partitions
from pycyrus.store.quota_roots import QuotaRoots
from pycyrus.store.rows import Entry
from pycyrus.store.seen import SeenStates
from pycyrus.store.settings import StoreSettings
from pycyrus.store.shield import Shield
from pycyrus.store.signal import Signal
from pycyrus.store.threads import StoreReactor
from pycyrus.store.tree import MailboxTree

_PAGE = 500


@dataclass(frozen=True, slots=True)
class TransferParts:
    """The store's own parts."""

    settings: StoreSettings
    reactor: StoreReactor
    directory: Directory
    tree: MailboxTree
    partitions: Partitions
    userstate: Database
    userstate_signal: Signal
    seen: SeenStates
    annotations: Annotations
    quotas: QuotaRoots
    shield: Shield


def belongings(connection: sqlite3.Connection, root: MailboxName, *, deleted: bool = True) -> list[Entry]:
    """
    What moves at once: all that is a user's, or one mailbox.

    @param deleted: With the delayed-deleted ones of the user.
    """
    if not root.is_inbox:
        found = rows.find(connection, root)
        return [] if found is None else [found]
    entries = rows.tree(connection, root)
    if deleted and root.owner is not None:
        low = ""
        while page := rows.page_of_owner(connection, root.owner, low, _PAGE):
            low = page[-1][0]
            for row in page:
                name = rows.name_of(row[0])
                if name.deleted is not None and name.domain == root.domain:
                    entries.append(rows.entry_of(row))
    return entries


def seen_by(connection: sqlite3.Connection, unique_id: str) -> tuple[SeenBy, ...]:
    """What others than the owner have seen of a mailbox."""
    found = connection.execute(
        "SELECT user_id, uids, recent FROM seen WHERE unique_id = ? ORDER BY user_id", (unique_id,)
    )
    return tuple(SeenBy(*row) for row in found)


def put_seen(connection: sqlite3.Connection, unique_id: str, seen: Iterable[SeenBy], now: int) -> None:
    """Take it over, within a transaction."""
    connection.executemany(
        "INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?, ?)",
        [(each.user_id, unique_id, each.uids, each.recent, now) for each in seen],
    )


def drop_seen(connection: sqlite3.Connection, unique_ids: Iterable[str]) -> None:
    """Forget what was seen of mailboxes, within a transaction."""
    connection.executemany("DELETE FROM seen WHERE unique_id = ?", [(unique_id,) for unique_id in unique_ids])
