"""
What belongs to users and not to mailboxes: subscriptions, and who has seen what.

One database for both; see L{pycyrus.store.subscriptions} and L{pycyrus.store.seen}.
"""

from __future__ import annotations

from pathlib import Path

from pycyrus.sqlite.opening import CHECKSUM_OF
from pycyrus.store.database import Database
from pycyrus.store.threads import StoreReactor

FILE_NAME = "userstate.db"
SIGNAL_NAME = "userstate.signal"
SCHEMA_VERSION = 2
SCHEMA = f"""
CREATE TABLE subscriptions (
    user_id TEXT NOT NULL,
    key TEXT NOT NULL,
    {CHECKSUM_OF % "user_id, key"},
    PRIMARY KEY (user_id, key)
) WITHOUT ROWID;
CREATE TABLE seen (
    user_id TEXT NOT NULL,
    unique_id TEXT NOT NULL,
    uids TEXT NOT NULL,
    recent INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    {CHECKSUM_OF % "user_id, unique_id, uids, recent, changed"},
    PRIMARY KEY (user_id, unique_id)
) WITHOUT ROWID;
CREATE INDEX seen_by_mailbox ON seen (unique_id)
"""


def open_userstate(configdirectory: Path, reactor: StoreReactor) -> Database:
    """
    Open the database.

    @raise pycyrus.errors.StoreUnavailable: It cannot be used.
    """
    return Database(configdirectory / FILE_NAME, SCHEMA, SCHEMA_VERSION, reactor)
