"""
Rows of a damaged database, page by page, wherever they lie.

Where the page is damaged that says which pages a table has, SQLite finds none of its rows, although all of them are
there.  Each row has a checksum, so what looks like one on any page can be believed; but for free pages, which may
have what was removed.  Only tables without row numbers are read.  See C{https://www.sqlite.org/fileformat2.html},
sections 1.5, 1.6 and 2.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_HEADERS = {0x0A: 8, 0x02: 12}
"""Octets before the places of cells on leaves, and on pages above them."""
_FILE_HEADER = 100
_INTEGERS = (0, 1, 2, 3, 4, 6, 8)
"""Octets of an integer, by its serial type."""
_LONGEST = 16 << 20

Value = bytes | int | None


class BadPages(ValueError):
    """Something cannot be, as damage has it."""


@dataclass(frozen=True, slots=True)
class Stored:
    """
    How the rows of a table without row numbers are stored.

    @ivar places: In the record, of each column.
    """

    places: tuple[int, ...]

    @classmethod
    def of(cls, connection: sqlite3.Connection, table: str) -> Stored | None:
        """As a sound database has it, its generated columns among the others; None for other tables."""
        (sql,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        if not sql.rstrip().upper().endswith("WITHOUT ROWID"):
            return None
        columns = connection.execute(f"SELECT cid, pk FROM pragma_table_xinfo('{table}') ORDER BY cid").fetchall()
        keys = [cid for cid, pk in sorted(columns, key=lambda column: column[1]) if pk]
        order = keys + [cid for cid, pk in columns if not pk]
        return cls(tuple(order.index(cid) for cid, _ in columns))

    def row(self, record: Sequence[Value]) -> tuple[Value, ...] | None:
        """Values in the order of columns; None if it is no row of the table."""
        return tuple(record[place] for place in self.places) if len(record) == len(self.places) else None


class Pages:
    """
    The pages of a file.

    @param octets: Of the database, with what its log has.
    @param size: Of a page.
    """

    def __init__(self, octets: bytes, size: int) -> None:
        self._octets = octets
        self._size = size
        self._count = len(octets) // size

    def records(self) -> Iterator[list[Value]]:
        """
        What looks like a record, on any page that is in use.

        @raise BadPages: Which are free cannot be told.
        """
        free = self._free()
        for number in range(1, self._count + 1):
            if number not in free:
                for at in self._cells(number):
                    try:
                        yield _record(self._payload(at))
                    except (BadPages, IndexError):
                        continue

    def _number(self, at: int, length: int = 4) -> int:
        return int.from_bytes(self._octets[at : at + length], "big")

    def _start(self, page: int) -> int:
        if not 1 <= page <= self._count:
            raise BadPages("no such page")
        return (page - 1) * self._size

    def _free(self) -> set[int]:
        trunk, count = self._number(32), self._number(36)
        free: set[int] = set()
        while trunk:
            start = self._start(trunk)
            if trunk in free:
                raise BadPages("free pages in a circle")
            entries = self._number(start + 4)
            if entries > self._size // 4 - 2:
                raise BadPages("too many free pages")
            free.add(trunk)
            free.update(self._number(start + 8 + 4 * index) for index in range(entries))
            trunk = self._number(start)
        if len(free) != count:
            raise BadPages("another number of free pages")
        return free

    def _cells(self, page: int) -> Iterator[int]:
        """Where records with their lengths begin."""
        start = self._start(page)
        head = start + (_FILE_HEADER if page == 1 else 0)
        length = _HEADERS.get(self._octets[head])
        if length is None:
            return
        for index in range(min(self._number(head + 3, 2), self._size // 4)):
            place = self._number(head + length + 2 * index, 2)
            if place < self._size:
                yield start + place + (4 if length > 8 else 0)

    def _payload(self, at: int) -> bytes:
        """A record, gathered from where it overflows to."""
        length, at = _varint(self._octets, at)
        if length > min(_LONGEST, len(self._octets)):
            raise BadPages("too long")
        most, least = (self._size - 12) * 64 // 255 - 23, (self._size - 12) * 32 // 255 - 23
        local = length
        if length > most:
            local = least + (length - least) % (self._size - 4)
            local = local if local <= most else least
        found = bytearray(self._octets[at : at + local])
        following = self._number(at + local) if local < length else 0
        while len(found) < length:
            start = self._start(following)
            following = self._number(start)
            found += self._octets[start + 4 : start + min(self._size, 4 + length - len(found))]
        return bytes(found)


def _varint(octets: bytes, at: int) -> tuple[int, int]:
    """A number of SQLite's, and where the next one is."""
    value = 0
    for _ in range(8):
        octet = octets[at]
        at += 1
        value = value << 7 | octet & 0x7F
        if octet < 0x80:
            return value, at
    return value << 8 | octets[at], at + 1


def _record(payload: bytes) -> list[Value]:
    end, at = _varint(payload, 0)
    values: list[Value] = []
    body = end
    while at < end:
        kind, at = _varint(payload, at)
        if kind in (8, 9):
            values.append(kind - 8)
            continue
        if kind == 7 or kind in (10, 11):
            raise BadPages("no value of ours")
        length = _INTEGERS[kind] if kind < len(_INTEGERS) else (kind - 12) // 2
        octets = payload[body : body + length]
        if len(octets) < length:
            raise BadPages("too short")
        body += length
        values.append(octets if kind >= 12 else int.from_bytes(octets, "big", signed=True) if kind else None)
    return values
