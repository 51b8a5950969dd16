"""Which mailboxes a user subscribed to (RFC 9051 section 6.3.7), whether they exist or not."""

from __future__ import annotations

import sqlite3

from pycyrus.errors import LimitExceeded
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.store.database import Database
from pycyrus.store.rows import key_of, name_of, tree_range

MOST_SUBSCRIPTIONS = 100_000


class Subscriptions:
    """The subscriptions of all users."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, user_id: str) -> frozenset[MailboxName]:
        """The names that a user subscribed to."""
        found = self._database.read.execute("SELECT key FROM subscriptions WHERE user_id = ?", (user_id,))
        return frozenset(name_of(key) for (key,) in found)

    async def add(self, user_id: str, names: list[MailboxName]) -> None:
        """
        Subscribe, durably.

        @raise LimitExceeded: The user has too many.
        """
        await self._database.write(lambda connection: insert(connection, user_id, names))

    async def drop(self, user_id: str, name: MailboxName) -> None:
        """Unsubscribe, durably."""
        await self._database.write(
            lambda connection: connection.execute(
                "DELETE FROM subscriptions WHERE user_id = ? AND key = ?", (user_id, key_of(name))
            )
        )


def insert(connection: sqlite3.Connection, user_id: str, names: list[MailboxName]) -> None:
    """
    Subscribe, within a transaction.

    @raise LimitExceeded: The user has too many.
    """
    counted = connection.execute("SELECT count(*) FROM subscriptions WHERE user_id = ?", (user_id,))
    if int(counted.fetchone()[0]) + len(names) > MOST_SUBSCRIPTIONS:
        raise LimitExceeded("Too many subscriptions")
    connection.executemany(
        "INSERT OR IGNORE INTO subscriptions VALUES (?, ?)", [(user_id, key_of(name)) for name in names]
    )


def forget_user(connection: sqlite3.Connection, user_id: str) -> None:
    """Drop all subscriptions and all seen state of a user, within a transaction."""
    forget_subscriptions(connection, user_id)
    connection.execute("DELETE FROM seen WHERE user_id = ?", (user_id,))


def forget_subscriptions(connection: sqlite3.Connection, user_id: str) -> None:
    """Drop all subscriptions of a user, within a transaction."""
    connection.execute("DELETE FROM subscriptions WHERE user_id = ?", (user_id,))


def rename_user(connection: sqlite3.Connection, old: MailboxName, new: MailboxName) -> None:
    """
    Give a user's subscriptions and seen state to another user id, within a transaction.

    @param old: The INBOX as it was.
    @param new: The INBOX as it is.
    """
    old_id, new_id = old.owner_id, new.owner_id
    connection.execute("UPDATE OR REPLACE seen SET user_id = ? WHERE user_id = ?", (new_id, old_id))
    connection.execute("UPDATE OR REPLACE subscriptions SET user_id = ? WHERE user_id = ?", (new_id, old_id))
    low, high = tree_range(key_of(old))
    connection.execute(
        "UPDATE OR REPLACE subscriptions SET key = ? || substr(key, ?) WHERE user_id = ? AND key >= ? AND key < ?",
        (key_of(new), len(low) + 1, new_id, low, high),
    )
