"""C{cyr_userseen} and C{arbitron}: what is kept of who has read what."""

from __future__ import annotations

import argparse
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from pycyrus.admin.command import CommandError, act_as_server, reported
from pycyrus.admin.mailboxes import open_mailboxes
from pycyrus.admin.source import add_source_options, source_of
from pycyrus.config.load import Configuration, load
from pycyrus.model.patterns import compile_pattern
from pycyrus.sqlite.opening import define_checksum
from pycyrus.store import userstate

_DAY = 86_400


def register(verbs: Any) -> None:
    """Add the verbs."""
    userseen = verbs.add_parser(
        "cyr_userseen",
        help="remove what is kept twice of what users have seen",
        description="What users have seen of their own mailboxes is kept in these.  Other records of it, which nothing"
        " reads, are named, and removed with -d.",
    )
    userseen.add_argument("-d", dest="delete", action="store_true", help="remove them")
    add_source_options(userseen)
    userseen.set_defaults(run=reported(run_userseen))
    arbitron = verbs.add_parser(
        "arbitron",
        help="count the readers of mailboxes",
        description="Prints for each mailbox how many users other than its owner have read in it of late.",
    )
    arbitron.add_argument("-d", dest="days", type=int, default=30, metavar="DAYS", help="within these (default 30)")
    arbitron.add_argument("-o", dest="old", action="store_true", help="taken: who is subscribed is never told")
    arbitron.add_argument("-u", dest="users", action="store_true", help="tell who they are")
    arbitron.add_argument("-l", dest="long", action="store_true", help="with -u: one on a line")
    arbitron.add_argument("pattern", nargs="?", default="*", metavar="PATTERN", help="internal names, as in news.*")
    add_source_options(arbitron)
    arbitron.set_defaults(run=reported(run_arbitron))


def run_userseen(arguments: argparse.Namespace) -> int:
    """
    Name, or remove, records of owners.

    @return: 0.
    """
    configuration = load(source_of(arguments))
    with open_mailboxes(configuration) as mailboxes, _userstate(configuration) as database:
        for entry in mailboxes.entries():
            key = entry.name.owner_id, entry.unique_id
            if database.execute("SELECT 1 FROM seen WHERE user_id = ? AND unique_id = ?", key).fetchone():
                print(f"removing seen for {key[0]} on {mailboxes.text(entry)}")
                if arguments.delete:
                    database.execute("DELETE FROM seen WHERE user_id = ? AND unique_id = ?", key)
    return 0


def run_arbitron(arguments: argparse.Namespace) -> int:
    """
    Count readers.

    @return: 0.
    """
    configuration = load(source_of(arguments))
    since = int(time.time()) - arguments.days * _DAY
    matches = compile_pattern(arguments.pattern.encode(), b".")
    with open_mailboxes(configuration) as mailboxes, _userstate(configuration) as database:
        for entry in mailboxes.entries():
            name = mailboxes.text(entry)
            if entry.name.deleted is not None or not matches(name.encode()):
                continue
            rows = database.execute(
                "SELECT user_id FROM seen WHERE unique_id = ? AND changed >= ? ORDER BY user_id",
                (entry.unique_id, since),
            )
            readers = [user for (user,) in rows if user != entry.name.owner_id]
            print(f"{name} {len(readers)}" if not arguments.users else _with_users(name, readers, arguments.long))
    return 0


def _with_users(name: str, readers: list[str], long: bool) -> str:
    if long:
        return "\n".join(f"{name} {reader}" for reader in readers) or name
    return " ".join((name, str(len(readers)), *readers))


@contextmanager
def _userstate(configuration: Configuration) -> Iterator[sqlite3.Connection]:
    """
    What is known of users, beside a server that may run.

    @raise CommandError: It cannot be read, or written.
    """
    act_as_server(configuration)
    path = Path(configuration.settings.text("configdirectory")) / userstate.FILE_NAME
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=30.0)) as connection:
            connection.isolation_level = None
            define_checksum(connection)
            yield connection
    except sqlite3.Error as error:
        raise CommandError(f"{path}: {error}") from error
