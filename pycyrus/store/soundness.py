"""
The databases at start: what is damaged is set aside, and made again.

Only a process that has the store to itself may do that, which a lock tells.
The mailbox list is made again from the mailboxes' headers.  Subscriptions and
the seen state of others' mailboxes are nowhere else: of them what can be read is
kept, and the rest is lost, loudly.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

from twisted.logger import Logger

from pycyrus.errors import StoreUnavailable
from pycyrus.sqlite.damage import KeptDatabase, has_lost_tail, mend, problem_of, set_aside, share
from pycyrus.sqlite.opening import make
from pycyrus.store import directory, files, notes, quota_roots, rows, transfer_log, userstate
from pycyrus.store.partitions import Partitions
from pycyrus.store.relist import relist
from pycyrus.store.settings import StoreSettings
from pycyrus.store.strays import gather
from pycyrus.store.survey import survey
from pycyrus.store.transfer_recovery import hold_again, restore_transfers

_log = Logger()

LOCK_NAME = "store.lock"
_LOCK = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


KEPT = (
    KeptDatabase(
        userstate.FILE_NAME, userstate.SCHEMA, userstate.SCHEMA_VERSION,
        "subscriptions, and who has seen what in others' mailboxes",
    ),
    KeptDatabase(notes.FILE_NAME, notes.SCHEMA, notes.SCHEMA_VERSION, "annotations of mailboxes and of the server"),
    KeptDatabase(
        quota_roots.FILE_NAME, quota_roots.SCHEMA, quota_roots.SCHEMA_VERSION,
        "quotas",
    ),
    KeptDatabase(
        transfer_log.FILE_NAME, transfer_log.SCHEMA, transfer_log.SCHEMA_VERSION,
        "which mailboxes are on their way to or from other servers, which is told from the others too",
        always=False,
    ),
)  # fmt: skip


def hold_databases(settings: StoreSettings, partitions: Partitions) -> int:
    """
    Mend the databases if nobody has them open; then keep others from mending them.

    @return: A descriptor, to be closed when the databases are.
    @raise OSError: The lock cannot be made.
    @raise StoreUnavailable: A database cannot be made again.
    """
    fd = files.open_file(str(settings.configdirectory / LOCK_NAME), _LOCK, files.PRIVATE)
    try:
        share(fd, partial(_mend, settings, partitions), files.flock)
    except BaseException:
        files.close(fd)
        raise
    return fd


def _mend(settings: StoreSettings, partitions: Partitions) -> None:
    path = settings.configdirectory / directory.FILE_NAME
    if not _is_empty(path):
        _tell_missing(settings.configdirectory)
    lost = has_lost_tail(path)
    problem = problem_of_list(path)
    if problem:
        set_aside(path, problem)
    added: list[rows.Entry] = []
    if problem or (_is_new(path) and next(survey(partitions), None) is not None):
        added = _list_again(path, settings, partitions)
    elif lost:
        added = _compare_list(path, settings, partitions)
    damaged = {each.name for each in KEPT if mend(settings.configdirectory / each.name, each)}
    transfers = settings.configdirectory / transfer_log.FILE_NAME
    # Who began one made that directory.
    if transfers.name in damaged or (not transfers.exists() and transfers.with_name(transfer_log.LOCKS).exists()):
        restore_transfers(path, transfers, partitions)
    hold_again(path, transfers, added, partitions)


def _tell_missing(configdirectory: Path) -> None:
    """Who made the mailbox list made these as well."""
    for each in KEPT:
        path = configdirectory / each.name
        if each.always and _is_empty(path):
            _log.error("{path} was there, and is missing or empty.  It holds {holds}", path=str(path), holds=each.holds)


def _is_empty(path: Path) -> bool:
    return not (path.exists() and path.stat().st_size)


def _is_new(path: Path) -> bool:
    """Whether a database is missing, or nothing was put into it."""
    if not path.exists():
        return True
    with closing(sqlite3.connect(path, timeout=30.0, isolation_level=None)) as connection:
        return connection.execute("SELECT 1 FROM sqlite_master").fetchone() is None


def problem_of_list(path: Path) -> str | None:
    """What is wrong with the mailbox list, as L{problem_of}."""
    problem = problem_of(path, rows.SCHEMA, rows.SCHEMA_VERSION)
    if problem or _is_new(path):
        return problem
    try:
        with closing(sqlite3.connect(path, timeout=30.0, isolation_level=None)) as connection:
            if connection.execute("PRAGMA user_version").fetchone()[0] != rows.SCHEMA_VERSION:
                return None
            count = rows.damaged(connection)
    except UnicodeDecodeError as error:
        return str(error)
    except sqlite3.OperationalError as error:
        # A text that is no UTF-8 is told in this way.
        return str(error) if "UTF-8" in str(error) else None
    return f"{count} rows are not as they were written" if count else None


def _list_again(path: Path, settings: StoreSettings, partitions: Partitions) -> list[rows.Entry]:
    """Made beside and renamed, so that a crash leaves no half of a list."""
    temporary = path.with_name(f"{path.name}.new")
    for suffix in ("", "-wal", "-shm"):
        temporary.with_name(temporary.name + suffix).unlink(missing_ok=True)
    try:
        with closing(make(temporary, rows.SCHEMA, rows.SCHEMA_VERSION)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            done = relist(connection, survey(partitions), settings)
            # Before there is a list: who is killed meanwhile begins again.
            gather(connection, partitions)
            connection.execute("COMMIT")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{path.name} cannot be made again: {error}") from error
    files.rename(temporary, path)
    files.sync_directory(str(path.parent))
    _log.error("The mailbox list was made again from {count} mailboxes' headers", count=len(done.added))
    return done.added


def _compare_list(path: Path, settings: StoreSettings, partitions: Partitions) -> list[rows.Entry]:
    """The last changes of the list are lost: the headers may know of them."""
    try:
        with closing(make(path, rows.SCHEMA, rows.SCHEMA_VERSION)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            done = relist(connection, survey(partitions), settings, partitions=partitions)
            if done.added:
                gather(connection, partitions)
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{path.name} cannot be mended: {error}") from error
    _log.error(
        "The end of the mailbox list's log is damaged or torn; {count} mailboxes were put on the list again",
        count=len(done.added),
    )
    return done.added
