"""
What can still be read of a damaged database, in a new one.

A row counts if its values are of the right kind and have its checksum.  Rows before and behind a damaged page
are found from both ends, and those that no page tells of any more, on the pages where they lie
(L{pycyrus.sqlite.pages}).  Where not even the first page can be read, which says where the tables are, that of the
new database takes its place, for tables made in the same order lie in the same places.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pycyrus.errors import StoreUnavailable
from pycyrus.sqlite.opening import CHECKSUM, connect, make, row_checksum
from pycyrus.sqlite.pages import BadPages, Pages, Stored

_KINDS: dict[str, type] = {"TEXT": bytes, "BLOB": bytes, "INTEGER": int}
_GENERATED = 3
"""Of a column whose value SQLite computes and stores, in C{PRAGMA table_xinfo}."""
_OTHER_FILES = ("-wal", "-shm")
_PLAIN = "plain"
_UNREADABLE = (sqlite3.Error, UnicodeDecodeError)
"""What SQLite says of damage may itself quote what is no text."""
_Values = tuple[str | bytes | int, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """
    A table, and how its rows are read.

    @ivar columns: With their types, but for the checksum.
    @ivar key: Columns by which rows are in order.
    @ivar is_written: Whether who writes gives the checksum, which SQLite makes otherwise.
    """

    name: str
    columns: tuple[tuple[str, str], ...]
    key: tuple[str, ...]
    has_checksum: bool
    is_written: bool

    @property
    def names(self) -> str:
        """All columns, as SQL has them."""
        return ", ".join(name for name, _ in self.columns)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The types of its columns."""
        return tuple(kind for _, kind in self.columns)


def tables_of(connection: sqlite3.Connection) -> list[Table]:
    """The tables of a sound database."""
    names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
    found = []
    for (name,) in names:
        columns = connection.execute(f"SELECT name, type, pk, hidden FROM pragma_table_xinfo('{name}')").fetchall()
        plain = tuple(
            (column, kind) for column, kind, _, hidden in columns if hidden != _GENERATED and column != CHECKSUM
        )
        is_written = any(column == CHECKSUM and hidden != _GENERATED for column, _, _, hidden in columns)
        key = tuple(column for column, _, place, _ in sorted(columns, key=lambda each: each[2]) if place)
        found.append(Table(name, plain, key, len(plain) < len(columns), is_written))
    return found


def damaged_rows(connection: sqlite3.Connection) -> int:
    """How many rows are not as they were written, of tables that have checksums."""
    return sum(
        connection.execute(
            f"SELECT count(*) FROM {table.name} WHERE {CHECKSUM} IS NOT {CHECKSUM}({table.names})"
        ).fetchone()[0]
        for table in tables_of(connection)
        if table.has_checksum
    )


def salvage(damaged: Path, target: Path, schema: str, version: int) -> int:
    """
    Make a database with what can be read of a damaged one; waits for the disk.

    @param damaged: It is only read; files of its name with C{-wal} belong to it.
    @param target: There must be none.
    @return: How many rows it has.
    @raise StoreUnavailable: It cannot be made.
    """
    making = target.with_name(f"{target.name}.new")
    for suffix in ("", *_OTHER_FILES):
        making.with_name(making.name + suffix).unlink(missing_ok=True)
    try:
        with closing(make(making, schema, version)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.execute("PRAGMA foreign_keys=OFF")
            connection.execute("BEGIN IMMEDIATE")
            count = _fill(connection, damaged, making) - _drop_orphans(connection)
            connection.execute("COMMIT")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{target.name} cannot be made again: {error}") from error
    making.rename(target)
    sync_directory(target.parent)
    return count


def _fill(connection: sqlite3.Connection, damaged: Path, making: Path) -> int:
    count = 0
    tables = tables_of(connection)
    with tempfile.TemporaryDirectory(dir=damaged.parent) as scratch:
        for copy in _copies(damaged, making, Path(scratch)):
            for table in tables:
                count += _insert(connection, table, _rows_of(copy, table))
            if count:
                break
        for table, row in _rows_on_pages(connection, Path(scratch), tables):
            count += _insert(connection, table, (row,))
    return count


def _insert(connection: sqlite3.Connection, table: Table, found: Iterable[_Values]) -> int:
    """Insert rows that are not there; how many were not."""
    names = f"{table.names}, {CHECKSUM}" if table.is_written else table.names
    question = ", ".join("?" * (len(table.columns) + table.is_written))
    insert = f"INSERT OR IGNORE INTO {table.name} ({names}) VALUES ({question})"
    return sum(
        connection.execute(insert, (*row, row_checksum(*row)) if table.is_written else row).rowcount for row in found
    )


def _rows_on_pages(
    connection: sqlite3.Connection, scratch: Path, tables: Sequence[Table]
) -> Iterator[tuple[Table, _Values]]:
    """Rows on any page; only those with a checksum can be told from what was damaged."""
    stored = [
        (table, known)
        for table in tables
        if table.has_checksum and not table.is_written and (known := Stored.of(connection, table.name)) is not None
    ]
    # A row does not tell of which table it is.
    shapes = Counter(table.kinds for table, _ in stored)
    stored = [(table, known) for table, known in stored if shapes[table.kinds] == 1]
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    pages = Pages((scratch / _PLAIN).read_bytes(), size)
    try:
        for record in pages.records():
            for table, known in stored:
                row = known.row(record)
                # The checksum is the last column.
                values = None if row is None else _values(row, table)
                if values is not None and row is not None and row[-1] == row_checksum(*values):
                    yield table, values
    except BadPages:
        # What was removed is not to come back.
        return


def _drop_orphans(connection: sqlite3.Connection) -> int:
    """Remove rows that belong to others which were lost; how many they were."""
    orphans: dict[str, int] = {}
    for table, *_ in connection.execute("PRAGMA foreign_key_check").fetchall():
        orphans[str(table)] = orphans.get(str(table), 0) + 1
    for table in orphans:
        for _, _, parent, column, key, *_ in connection.execute(f"PRAGMA foreign_key_list({table})").fetchall():
            connection.execute(f"DELETE FROM {table} WHERE {column} NOT IN (SELECT {key} FROM {parent})")
    return sum(orphans.values())


def _copies(damaged: Path, making: Path, scratch: Path) -> Iterator[Path]:
    """Copies that SQLite may write to: as it is, and with another first page."""
    plain = scratch / _PLAIN
    for suffix in ("", *_OTHER_FILES[:1]):
        if (part := damaged.with_name(damaged.name + suffix)).exists():
            shutil.copyfile(part, plain.with_name(plain.name + suffix))
    yield plain
    with making.open("rb") as file:
        page = int.from_bytes(file.read(18)[16:18], "big")
        file.seek(0)
        first = bytearray(file.read(page))
    rest = damaged.read_bytes()[page:]
    # How many pages there are; and none of them is known to be free.
    first[28:40] = (1 + len(rest) // page).to_bytes(4, "big") + bytes(8)
    first[92:96] = first[24:28]
    patched = scratch / "patched"
    patched.write_bytes(bytes(first) + rest)
    yield patched


def _rows_of(path: Path, table: Table) -> Iterator[_Values]:
    """Rows that can be trusted, as far as they can be read from either end."""
    try:
        with closing(connect(path)) as connection:
            connection.text_factory = bytes
            for direction in ("ASC", "DESC"):
                if (yield from _scan(connection, table, direction)):
                    return
    except _UNREADABLE:
        # Nothing of it can be read.
        return


def _scan(connection: sqlite3.Connection, table: Table, direction: str) -> Generator[_Values, None, bool]:
    """
    Rows in one direction, up to damage.

    @return: Whether there was none.
    """
    order = ", ".join(f"{column} {direction}" for column in table.key)
    has_checksum = table.has_checksum and _has_checksum(connection, table)
    wanted = f"{table.names}, {CHECKSUM}" if has_checksum else table.names
    cursor = connection.execute(f"SELECT {wanted} FROM {table.name} ORDER BY {order}")
    while True:
        try:
            row = cursor.fetchone()
        except _UNREADABLE:
            return False
        if row is None:
            return True
        values = _values(row, table)
        if values is not None and (not has_checksum or row[-1] == row_checksum(*values)):
            yield values


def _has_checksum(connection: sqlite3.Connection, table: Table) -> bool:
    """Whether it is one of a version with checksums."""
    columns = connection.execute(f"SELECT name FROM pragma_table_xinfo('{table.name}')").fetchall()
    return (CHECKSUM.encode("ascii"),) in columns


def _values(row: tuple[object, ...], table: Table) -> _Values | None:
    """A row as it is written; None if it cannot be one."""
    values: list[str | bytes | int] = []
    for value, (_, kind) in zip(row, table.columns, strict=False):
        if not (isinstance(value, bytes | int) and isinstance(value, _KINDS[kind])):
            return None
        try:
            values.append(value.decode("utf-8") if isinstance(value, bytes) and kind == "TEXT" else value)
        except UnicodeDecodeError:
            return None
    return tuple(values)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
