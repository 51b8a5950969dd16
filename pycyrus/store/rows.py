"""
The mailbox list on disk: its tables, and what may be done to them within a transaction.

Keys sort like L{MailboxName}: every mailbox comes right before its inferiors,
so a tree is a range of keys.  C{grants} says who may see what, so that
a listing of other people's mailboxes costs what is seen, not what there is.
"""

from __future__ import annotations

import enum
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pycyrus.model.acl import LOOKUP, Acl
from pycyrus.model.acl_text import parse_acl, write_acl
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.sqlite.opening import CHECKSUM_OF

SCHEMA_VERSION = 2
SCHEMA = f"""
CREATE TABLE mailboxes (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    owner TEXT,
    unique_id TEXT NOT NULL UNIQUE,
    partition TEXT NOT NULL,
    location TEXT NOT NULL,
    uidvalidity INTEGER NOT NULL,
    mailbox_type TEXT NOT NULL,
    acl TEXT NOT NULL,
    special_use TEXT NOT NULL,
    created INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    checksum INTEGER NOT NULL
);
CREATE UNIQUE INDEX mailboxes_by_location ON mailboxes (partition, location);
CREATE INDEX mailboxes_by_owner ON mailboxes (owner, key) WHERE owner IS NOT NULL;
CREATE TABLE grants (
    identifier TEXT NOT NULL,
    domain TEXT NOT NULL,
    shared INTEGER NOT NULL,
    mailbox INTEGER NOT NULL REFERENCES mailboxes (id) ON DELETE CASCADE,
    {CHECKSUM_OF % "identifier, domain, shared, mailbox"},
    PRIMARY KEY (identifier, domain, shared, mailbox)
) WITHOUT ROWID;
CREATE INDEX grants_by_mailbox ON grants (mailbox);
CREATE TABLE changes (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL,
    unique_id TEXT NOT NULL,
    {CHECKSUM_OF % "number, key, unique_id"}
);
CREATE TABLE pending (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    work TEXT NOT NULL,
    partition TEXT NOT NULL,
    source TEXT NOT NULL,
    target TEXT NOT NULL,
    {CHECKSUM_OF % "number, work, partition, source, target"}
);
CREATE TABLE numbers (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL,
    {CHECKSUM_OF % "name, value"}
) WITHOUT ROWID
"""

CHANGES_KEPT = 10_000
"""Changes that another process may lag behind before it must forget all it knows."""

_FIELDS = (
    "key",
    "owner",
    "unique_id",
    "partition",
    "location",
    "uidvalidity",
    "mailbox_type",
    "acl",
    "special_use",
    "created",
    "changed",
)
_END = "\x01"
_AFTER = "\x02"
_COLUMNS = "key, unique_id, partition, location, uidvalidity, mailbox_type, acl, special_use, created, changed, id"
Row = tuple[str, str, str, str, int, str, str, str, int, int, int]
LEAVING = "leaving"
"""
The type of a mailbox that is on its way to another server: nobody may use it.

Behind it stand the id of the transfer and the other server, in case C{transfers.db} is lost.
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """
    One mailbox in the list.

    @ivar unique_id: Stays across renames (RFC 8474 section 4).
    @ivar location: Where its directory is, within the partition.
    @ivar uidvalidity: RFC 9051 section 2.3.1.1; never given twice on a server.
    @ivar mailbox_type: Empty for mail.
    @ivar special_use: Attributes of RFC 6154.
    @ivar created: Seconds since the epoch.
    @ivar changed: Of this entry, likewise.
    @ivar number: Of its row; 0 while it has none.
    """

    name: MailboxName
    unique_id: str
    partition: str
    location: str
    uidvalidity: int
    acl: Acl
    mailbox_type: str = ""
    special_use: tuple[str, ...] = ()
    created: int = 0
    changed: int = 0
    number: int = field(default=0, compare=False)

    @property
    def is_leaving(self) -> bool:
        """Whether it is on its way to another server."""
        return self.mailbox_type.partition(" ")[0] == LEAVING


class Work(enum.Enum):
    """What a committed change of the list asks to be done with files."""

    MOVE = "move"
    """Rename a directory."""
    REMOVE = "remove"
    """Remove a mailbox's files."""
    MOVE_ARCHIVE = "move archive"
    """Rename the directory in the archive partition, which may be missing for a time."""
    REMOVE_ARCHIVE = "remove archive"
    """Remove a mailbox's archived messages, likewise."""
    TELL_RENAME = "rename"
    """Write the new name to the mailbox's header and journal."""
    TELL_ACL = "acl"
    """Write the new rights there."""
    ABANDONED = "abandoned"
    """Remove a copy of a mailbox, once nobody is making it any more."""
    USER = "user"
    """Have what is known of a user elsewhere follow the user, or go."""


@dataclass(frozen=True, slots=True)
class Pending:
    """
    A piece of such work.

    @ivar source: A location; a unique id for C{TELL_...}; the key of an INBOX for
        C{USER}.
    @ivar target: Where a directory goes; the key of the INBOX that the user has
        now; else empty.
    """

    number: int
    work: Work
    partition: str
    source: str
    target: str


def key_of(name: MailboxName) -> str:
    """Where a mailbox stands in the list."""
    deleted = "" if name.deleted is None else f"D{name.deleted}"
    owner = "S" if name.owner is None else f"U{name.owner}"
    return _END.join((name.domain, deleted, owner, *name.path, ""))


def name_of(key: str) -> MailboxName:
    """The reverse of L{key_of}."""
    domain, deleted, owner, *path, _ = key.split(_END)
    return MailboxName(domain, owner[1:] if owner[0] == "U" else None, tuple(path), deleted[1:] if deleted else None)


def tree_range(key: str) -> tuple[str, str]:
    """Keys of a mailbox and all its inferiors: from the first, below the second."""
    return key, key[:-1] + _AFTER


def kind_range(domain: str, *, shared: bool) -> tuple[str, str]:
    """Keys of all live shared mailboxes, or all live users' mailboxes, of a domain."""
    return (
        (f"{domain}{_END}{_END}S", f"{domain}{_END}{_END}T")
        if shared
        else (f"{domain}{_END}{_END}U", f"{domain}{_END}{_END}V")
    )


def deleted_range(domain: str) -> tuple[str, str]:
    """Keys of all delayed-deleted mailboxes of a domain."""
    return f"{domain}{_END}D", f"{domain}{_END}E"


def domain_range(domain: str) -> tuple[str, str]:
    """All keys of a domain."""
    return f"{domain}{_END}", f"{domain}{_AFTER}"


def live_range(root: MailboxName) -> tuple[str, str]:
    """Keys of a quota root and all live mailboxes below it; without owner and path it is a whole domain's."""
    if root.owner is None and not root.path:
        return f"{root.domain}{_END}{_END}", f"{root.domain}{_END}{_AFTER}"
    return tree_range(key_of(root))


def beyond(key: str, depth: int) -> str | None:
    """
    Where the keys end of all that lies below the same ancestor.

    @param depth: Components of the ancestor, counting C{user} and the owner; at least 1.
    @return: None for a mailbox that is not deeper than that, or deleted.
    """
    domain, deleted, owner, *path, _ = key.split(_END)
    above = 2 if owner[0] == "U" else 0
    if deleted or above + len(path) <= depth:
        return None
    if depth < above:
        return kind_range(domain, shared=False)[1]
    return _END.join((domain, deleted, owner, *path[: depth - above])) + _AFTER


def entry_of(row: Row) -> Entry:
    """
    The entry in a row.

    @raise pycyrus.model.acl_text.BadAcl: The row is damaged.
    """
    key, unique_id, partition, location, uidvalidity, mailbox_type, acl, special_use, created, changed, number = row
    return Entry(
        name_of(key),
        unique_id,
        partition,
        location,
        uidvalidity,
        parse_acl(acl),
        mailbox_type,
        tuple(special_use.split()),
        created,
        changed,
        number,
    )


# --- reading ----------------------------------------------------------------


def damaged(connection: sqlite3.Connection) -> int:
    """How many rows are not as they were written, which SQLite itself cannot tell."""
    fields = ", ".join(_FIELDS)
    found = connection.execute(f"SELECT checksum, {fields} FROM mailboxes")
    return sum(checksum != _checksum(values) for checksum, *values in found)


def find(connection: sqlite3.Connection, name: MailboxName) -> Entry | None:
    """The entry of a name."""
    row = connection.execute(f"SELECT {_COLUMNS} FROM mailboxes WHERE key = ?", (key_of(name),)).fetchone()
    return None if row is None else entry_of(row)


def find_id(connection: sqlite3.Connection, unique_id: str) -> Entry | None:
    """The entry of a unique id."""
    row = connection.execute(f"SELECT {_COLUMNS} FROM mailboxes WHERE unique_id = ?", (unique_id,)).fetchone()
    return None if row is None else entry_of(row)


def find_location(connection: sqlite3.Connection, partition: str, location: str) -> Entry | None:
    """The entry of the mailbox that lies at a place."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM mailboxes WHERE partition = ? AND location = ?", (partition, location)
    ).fetchone()
    return None if row is None else entry_of(row)


def locations_within(connection: sqlite3.Connection, partition: str, location: str) -> list[str]:
    """Where mailboxes lie: in a directory, and in those below it."""
    found = connection.execute(
        "SELECT location FROM mailboxes WHERE partition = ?1 AND (location = ?2 OR location > ?3 AND location < ?4)",
        (partition, location, f"{location}/", f"{location}0"),
    )
    return [row[0] for row in found]


def tree(connection: sqlite3.Connection, name: MailboxName) -> list[Entry]:
    """A mailbox, if it exists, and all its inferiors, in order."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM mailboxes WHERE key >= ? AND key < ? ORDER BY key", tree_range(key_of(name))
    )
    return [entry_of(row) for row in rows]


def numbers_between(connection: sqlite3.Connection, low: str, high: str) -> list[tuple[int, str, str]]:
    """Row number, key and unique id of each mailbox in a range of keys, in order."""
    return connection.execute(
        "SELECT id, key, unique_id FROM mailboxes WHERE key >= ? AND key < ? ORDER BY key", (low, high)
    ).fetchall()


def has_inferiors(connection: sqlite3.Connection, name: MailboxName) -> bool:
    """Whether a mailbox exists below a name."""
    low, high = tree_range(key_of(name))
    found = connection.execute("SELECT 1 FROM mailboxes WHERE key > ? AND key < ? LIMIT 1", (low, high))
    return found.fetchone() is not None


def page(connection: sqlite3.Connection, low: str, high: str, limit: int, *, after: bool) -> list[Row]:
    """
    Some rows of a range, in order.

    @param after: Without the row whose key is C{low} itself.
    """
    relation = ">" if after else ">="
    statement = f"SELECT {_COLUMNS} FROM mailboxes WHERE key {relation} ? AND key < ? ORDER BY key LIMIT ?"
    return connection.execute(statement, (low, high, limit)).fetchall()


ListingRow = tuple[str, str, str, str]


def page_for_listing(
    connection: sqlite3.Connection, low: str, high: str, limit: int, *, after: bool
) -> list[ListingRow]:
    """As L{page}, but only key, ACL, special use and unique id of each row."""
    relation = ">" if after else ">="
    statement = f"SELECT key, acl, special_use, unique_id FROM mailboxes WHERE key {relation} ? AND key < ?"
    return connection.execute(f"{statement} ORDER BY key LIMIT ?", (low, high, limit)).fetchall()


def page_of_owner(connection: sqlite3.Connection, owner: str, low: str, limit: int) -> list[Row]:
    """Some rows of mailboxes of an owner of any domain, above a key, in order."""
    statement = f"SELECT {_COLUMNS} FROM mailboxes WHERE owner = ? AND key > ? ORDER BY key LIMIT ?"
    return connection.execute(statement, (owner, low, limit)).fetchall()


def page_of_granted(
    connection: sqlite3.Connection,
    identifiers: Iterable[str],
    domain: str | None,
    *,
    shared: bool,
    after: int,
    limit: int,
) -> list[Row]:
    """
    Some rows of mailboxes that an entry lets one of the identifiers see, by row id.

    @param domain: None for any.
    @param after: Row id above which to go on.
    """
    names = list(identifiers)
    marks = ",".join("?" * len(names))
    statement = (
        f"SELECT {_COLUMNS} FROM mailboxes WHERE id IN (SELECT mailbox FROM grants WHERE identifier IN ({marks})"
        f"{'' if domain is None else ' AND domain = ?'} AND shared = ? AND mailbox > ?) ORDER BY id LIMIT ?"
    )
    where = () if domain is None else (domain,)
    return connection.execute(statement, (*names, *where, shared, after, limit)).fetchall()


def pending(connection: sqlite3.Connection) -> list[Pending]:
    """What is still to be done, in order."""
    rows = connection.execute("SELECT number, work, partition, source, target FROM pending ORDER BY number")
    return [Pending(number, Work(work), *places) for number, work, *places in rows]


def changes_since(connection: sqlite3.Connection, number: int) -> Iterator[tuple[int, str, str]]:
    """Number, key and unique id of each later change, in order."""
    yield from connection.execute(
        "SELECT number, key, unique_id FROM changes WHERE number > ? ORDER BY number", (number,)
    )


def last_change(connection: sqlite3.Connection) -> int:
    """Number of the last change; 0 before the first."""
    (number,) = connection.execute("SELECT coalesce(max(number), 0) FROM changes").fetchone()
    return int(number)


# --- changing ---------------------------------------------------------------


def next_uidvalidity(connection: sqlite3.Connection, now: int) -> int:
    """A value that no mailbox here had before: the time, or later."""
    # The newest mailboxes tell as well: a damaged number may be too small, and SQLite cannot see that.
    (last,) = connection.execute(
        "SELECT max(value) FROM (SELECT value FROM numbers WHERE name = 'uidvalidity' UNION ALL"
        " SELECT * FROM (SELECT uidvalidity FROM mailboxes ORDER BY id DESC LIMIT 4))"
    ).fetchone()
    value = max(now, (last or 0) + 1)
    connection.execute("INSERT OR REPLACE INTO numbers VALUES ('uidvalidity', ?)", (value,))
    return value


def insert(connection: sqlite3.Connection, entry: Entry) -> None:
    """
    Add a mailbox.

    @raise sqlite3.IntegrityError: Its name, id or place is taken.
    """
    key = key_of(entry.name)
    values = _values(key, entry)
    cursor = connection.execute(
        f"INSERT INTO mailboxes ({', '.join(_FIELDS)}, checksum) VALUES ({', '.join('?' * len(_FIELDS))}, ?)",
        (*values, _checksum(values)),
    )
    _grant(connection, int(cursor.lastrowid or 0), entry)
    _log(connection, key, entry.unique_id)


def replace(connection: sqlite3.Connection, entry: Entry) -> None:
    """
    Change everything about a mailbox but its unique id.

    @raise sqlite3.IntegrityError: The new name or place is taken.
    """
    row_id, old_key, created = connection.execute(
        "SELECT id, key, created FROM mailboxes WHERE unique_id = ?", (entry.unique_id,)
    ).fetchone()
    key = key_of(entry.name)
    values = _values(key, entry, created)
    connection.execute(
        f"UPDATE mailboxes SET {', '.join(f'{field} = ?' for field in _FIELDS)}, checksum = ? WHERE id = ?",
        (*values, _checksum(values), row_id),
    )
    connection.execute("DELETE FROM grants WHERE mailbox = ?", (row_id,))
    _grant(connection, row_id, entry)
    _log(connection, key, entry.unique_id)
    if key != old_key:
        _log(connection, old_key, entry.unique_id)


def _values(key: str, entry: Entry, created: int | None = None) -> tuple[str | int | None, ...]:
    return (
        key,
        entry.name.owner,
        entry.unique_id,
        entry.partition,
        entry.location,
        entry.uidvalidity,
        entry.mailbox_type,
        write_acl(entry.acl),
        " ".join(entry.special_use),
        entry.created if created is None else created,
        entry.changed,
    )


def _checksum(values: Iterable[object]) -> int:
    return zlib.crc32(repr(tuple(values)).encode("utf-8", "surrogatepass"))


def remove(connection: sqlite3.Connection, entry: Entry) -> None:
    """Take a mailbox off the list."""
    connection.execute("DELETE FROM mailboxes WHERE unique_id = ?", (entry.unique_id,))
    _log(connection, key_of(entry.name), entry.unique_id)


def add_pending(connection: sqlite3.Connection, work: Work, partition: str, source: str, target: str = "") -> int:
    """
    Say what is to be done once this is committed.

    @return: Its number.
    """
    cursor = connection.execute(
        "INSERT INTO pending (work, partition, source, target) VALUES (?, ?, ?, ?)",
        (work.value, partition, source, target),
    )
    return int(cursor.lastrowid or 0)


def drop_pending(connection: sqlite3.Connection, number: int) -> None:
    """Say that it is done."""
    connection.execute("DELETE FROM pending WHERE number = ?", (number,))


def _grant(connection: sqlite3.Connection, row_id: int, entry: Entry) -> None:
    """Note who may see a mailbox; owners find theirs by name, and deleted ones are shown to nobody."""
    name = entry.name
    if name.deleted is not None:
        return
    owner = name.owner_id
    connection.executemany(
        "INSERT INTO grants VALUES (?, ?, ?, ?)",
        [
            (identifier, name.domain, name.owner is None, row_id)
            for identifier, rights in entry.acl.entries
            if LOOKUP in rights and identifier != owner and identifier[:1] != "-"
        ],
    )


def _log(connection: sqlite3.Connection, key: str, unique_id: str) -> None:
    cursor = connection.execute("INSERT INTO changes (key, unique_id) VALUES (?, ?)", (key, unique_id))
    number = int(cursor.lastrowid or 0)
    if number % 100 == 0:
        connection.execute("DELETE FROM changes WHERE number <= ?", (number - CHANGES_KEPT,))
