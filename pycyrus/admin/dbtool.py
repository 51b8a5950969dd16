"""
C{cyr_dbtool}: looks into databases, and into the file of denied users changes too.

The databases of the store are SQLite's.  A key is C{TABLE/COLUMN/...}, with
the columns of the primary key, and a value is a JSON object of the others.
They are only read: their rows have checksums and depend on each other, and the
commands for mailboxes, rights and quotas are there to change them.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from pycyrus.admin.command import CommandError, act_as_server, reported
from pycyrus.admin.deny import locked
from pycyrus.admin.source import add_source_options, source_of
from pycyrus.auth.denials import escape, unescape
from pycyrus.config.load import load
from pycyrus.sqlite.opening import define_checksum
from pycyrus.store.files import replace_file

_MAGIC = b"SQLite format 3\0"
_ACTIONS = ("show", "get", "set", "delete", "dump", "consistent", "repack")


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "cyr_dbtool",
        help="look into a database",
        description="Databases of the store are only read; the flat file of denied users can be changed.",
    )
    parser.add_argument("file", metavar="FILE", type=Path)
    parser.add_argument("backend", metavar="BACKEND", help="flat or sqlite; whichever it is, the file itself tells")
    parser.add_argument("action", choices=_ACTIONS)
    parser.add_argument("key", nargs="?", help="of get, set and delete; for show, with what keys begin")
    parser.add_argument("value", nargs="?")
    parser.add_argument("-n", dest="create", action="store_true", help="set may make the file")
    parser.add_argument("-T", action="store_true", help="taken: everything is a transaction")
    parser.add_argument("-M", action="store_true", help="taken, and without effect")
    add_source_options(parser, cyrus_conf_letter=False)
    parser.set_defaults(run=reported(run))


def run(arguments: argparse.Namespace) -> int:
    """
    Do what was asked.

    @return: 0; EX_TEMPFAIL if the file cannot be opened, 1 if it is damaged.
    """
    if arguments.action in ("get", "set", "delete") and arguments.key is None:
        raise CommandError(f"{arguments.action} needs a key")
    try:
        with arguments.file.open("rb") as file:
            is_sqlite = file.read(len(_MAGIC)) == _MAGIC
    except FileNotFoundError:
        if not (arguments.create and arguments.action == "set"):
            print("fatal error: can't open database", file=sys.stderr)
            return os.EX_TEMPFAIL
        is_sqlite = False
    except OSError as error:
        print(f"fatal error: can't open database: {error.strerror}", file=sys.stderr)
        return os.EX_TEMPFAIL
    return _on_sqlite(arguments) if is_sqlite else _on_flat(arguments)


# --- SQLite -----------------------------------------------------------------


def _on_sqlite(arguments: argparse.Namespace) -> int:
    uri = f"{arguments.file.absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=30.0)) as connection:
            return _SQLITE[arguments.action](connection, arguments)
    except sqlite3.Error as error:
        raise CommandError(f"{arguments.file}: {error}") from error


def _rows(connection: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    """All keys and values, table by table."""
    tables = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
    ).fetchall()
    for (table,) in tables:
        columns = connection.execute("SELECT name, pk FROM pragma_table_info(?)", (table,)).fetchall()
        keys = [name for name, place in columns if place] or ["rowid"]
        others = [name for name, place in columns if not place]
        wanted = ", ".join(f'"{name}"' for name in (*keys, *others))
        for row in connection.execute(f'SELECT {wanted} FROM "{table}" ORDER BY {", ".join(keys)}'):
            values = dict(zip(others, map(_plain, row[len(keys) :]), strict=True))
            key = "/".join(_printable(part) for part in (table, *row[: len(keys)]))
            yield key, json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


def _printable(value: Any) -> str:
    """A part of a key: control characters, which part the components of names, as in JSON."""
    return json.dumps(_plain(value), ensure_ascii=False).strip('"')


def _show(connection: sqlite3.Connection, arguments: argparse.Namespace) -> int:
    for key, value in _rows(connection):
        if key.startswith(arguments.key or ""):
            print(f"{key}\t{value}")
    return 0


def _get(connection: sqlite3.Connection, arguments: argparse.Namespace) -> int:
    for key, value in _rows(connection):
        if key == arguments.key:
            print(value)
    return 0


def _dump(connection: sqlite3.Connection, arguments: argparse.Namespace) -> int:
    for line in connection.iterdump():
        print(line)
    return 0


def _consistent(connection: sqlite3.Connection, arguments: argparse.Namespace) -> int:
    try:
        is_sound = connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    except sqlite3.DatabaseError:
        is_sound = False
    print("Yes, consistent" if is_sound else "No, not consistent")
    return 0 if is_sound else 1


def _repack(connection: sqlite3.Connection, arguments: argparse.Namespace) -> int:
    with closing(sqlite3.connect(arguments.file, timeout=30.0, isolation_level=None)) as writer:
        define_checksum(writer)
        writer.execute("VACUUM")
        writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return 0


def _refuse(connection: sqlite3.Connection, arguments: argparse.Namespace) -> int:
    raise CommandError("databases of the store are changed by the commands for mailboxes, rights and quotas")


_SQLITE: dict[str, Callable[[sqlite3.Connection, argparse.Namespace], int]] = {
    "show": _show,
    "get": _get,
    "set": _refuse,
    "delete": _refuse,
    "dump": _dump,
    "consistent": _consistent,
    "repack": _repack,
}


# --- flat -------------------------------------------------------------------


def _on_flat(arguments: argparse.Namespace) -> int:
    path: Path = arguments.file
    if arguments.action in ("set", "delete"):
        # What root wrote the server could not read.
        act_as_server(load(source_of(arguments)))
        with locked(path):
            entries = _read(path) if path.exists() else {}
            if arguments.action == "set":
                entries[arguments.key] = arguments.value or ""
            else:
                entries.pop(arguments.key, None)
            lines = [b"%b\t%b\n" % (escape(key.encode()), escape(value.encode())) for key, value in entries.items()]
            try:
                replace_file(str(path), b"".join(sorted(lines)), sync=True)
            except OSError as error:
                raise CommandError(f"cannot write {path}: {error.strerror}") from error
        return 0
    entries = _read(path)
    if arguments.action in ("show", "dump"):
        for key, value in entries.items():
            if key.startswith(arguments.key or ""):
                print(f"{key}\t{value}")
    elif arguments.action == "get":
        print(entries.get(arguments.key, ""))
    elif arguments.action == "consistent":
        print("Yes, consistent")
    return 0


def _read(path: Path) -> dict[str, str]:
    try:
        pairs = [line.partition(b"\t") for line in path.read_bytes().splitlines()]
        if not all(tab for _, tab, _ in pairs):
            raise CommandError(f"{path}: this is no flat database: a line has no key")
        return {unescape(key).decode(): unescape(value).decode() for key, _, value in pairs}
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{path}: this is no flat database: {error}") from error
