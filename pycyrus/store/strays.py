"""
Messages that stayed behind when their mailbox's directories were renamed, and nobody knows of that any more.

A mailbox with a metapartition or an archive has more than one directory.  Whoever is killed between their renames
leaves that as pending work of the mailbox list; where the list is lost as well, and made again from the headers,
the messages are in a directory that belongs to no mailbox.  Their GUIDs tell whose they are.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from twisted.logger import Logger

from pycyrus.errors import MailStoreError, StoreUnavailable
from pycyrus.store import files, layout, moves, rows
from pycyrus.store.contents import Contents
from pycyrus.store.layout import MailboxPaths, message_uids
from pycyrus.store.loading import load
from pycyrus.store.partitions import Partitions
from pycyrus.store.paths import INCOMING, STAGE_DIRECTORY
from pycyrus.store.quarantine import file_guid
from pycyrus.store.rows import Entry

_log = Logger()

_COMPARED = 64
"""Messages of a directory that are read before it is believed to be a mailbox's."""


@dataclass(slots=True)
class _Stray:
    """A directory with messages that is no mailbox's."""

    directory: Path
    uids: set[int]


def gather(connection: sqlite3.Connection, partitions: Partitions) -> int:
    """
    Bring messages to their mailboxes, within a transaction.

    @return: How many messages were brought.
    """
    by_partition: dict[str, list[Entry]] = {}
    for row in rows.page(connection, "", "\U0010ffff", 1 << 40, after=False):
        entry = rows.entry_of(row)
        by_partition.setdefault(entry.partition, []).append(entry)
    brought = 0
    for partition, listed in sorted(by_partition.items()):
        try:
            brought += _gather(partitions, partition, listed)
        except (MailStoreError, OSError) as error:
            _log.error("Messages on partition {partition} stay where they are: {error}",
                       partition=partition, error=str(error))  # fmt: skip
    return brought


def _gather(partitions: Partitions, partition: str, listed: list[Entry]) -> int:
    roots = partitions.roots(partition)[1:]
    archive = partitions.archive_root(partition)
    if archive is not None and partitions.archive_is_there(partition):
        roots.append(archive)
    places = {entry.location for entry in listed}
    strays = [stray for root in roots for stray in _strays(root, places)]
    brought = 0
    for entry in listed if strays else ():
        paths = moves.mailbox_paths(partitions, entry.partition, entry.location)
        try:
            loaded = load(paths)
        except MailStoreError:
            # It is mended when it is opened.
            continue
        files.close(loaded.fd)
        guids = _guids(loaded.contents)
        missing = guids.keys() - _there(paths)
        for stray in strays:
            theirs = sorted(missing & stray.uids)
            if theirs and _are_those(stray, theirs, guids):
                target = _target(paths, stray.directory, roots)
                _bring(stray, theirs, target)
                missing -= set(theirs)
                brought += len(theirs)
    return brought


def _there(paths: MailboxPaths) -> set[int]:
    """UIDs of files; the directory may be what is missing."""
    found: set[int] = set()
    with suppress(FileNotFoundError, NotADirectoryError):
        found.update(message_uids(paths.data))
    if paths.archive is not None:
        found.update(paths.archive.uids())
    return found


def _strays(root: Path, places: set[str]) -> Iterator[_Stray]:
    for directory, below, names in os.walk(root):
        skipped = {STAGE_DIRECTORY, layout.QUARANTINE}
        if directory == str(root / INCOMING[0]):
            skipped.add(INCOMING[1])
        below[:] = sorted(each for each in below if each not in skipped)
        place = Path(directory)
        if names and place != root and place.relative_to(root).as_posix() not in places:
            uids = set(message_uids(place))
            if uids:
                yield _Stray(place, uids)


def _guids(contents: Contents) -> dict[int, bytes]:
    columns, retained = contents.columns, contents.retained
    found = dict(
        zip(
            columns.uids[: columns.count].tolist(),
            (guid.tobytes() for guid in columns.guids[: columns.count]),
            strict=True,
        )
    )
    found.update(zip(retained["uid"].tolist(), (guid.tobytes() for guid in retained["guid"]), strict=True))
    return found


def _are_those(stray: _Stray, uids: list[int], guids: dict[int, bytes]) -> bool:
    """Whether files are the messages of these UIDs, as far as some of them tell."""
    step = -(-len(uids) // _COMPARED)
    return all(file_guid(f"{stray.directory}/{uid}.") == guids[uid] for uid in uids[::step])


def _target(paths: MailboxPaths, directory: Path, roots: list[Path]) -> Path:
    """Where messages of a mailbox are, of the same kind of directory as the one where they were found."""
    if paths.archive is not None and paths.archive.root in directory.parents and roots[-1] == paths.archive.root:
        return paths.archive.directory
    return paths.data


def _bring(stray: _Stray, uids: list[int], target: Path) -> None:
    """
    Rename the files; whoever is killed meanwhile left each in one of both places.

    @raise StoreUnavailable: They lie on different file systems.
    """
    try:
        files.makedirs(target, files.PRIVATE_DIRECTORY, exist_ok=True)
        for uid in uids:
            files.rename(f"{stray.directory}/{uid}.", f"{target}/{uid}.")
    except OSError as error:
        raise StoreUnavailable(f"{stray.directory}: {error.strerror}") from error
    moves.sync_file_system(str(target))
    stray.uids -= set(uids)
    with suppress(OSError):
        files.rmdir(stray.directory)
    _log.error(
        "{count} messages were in {directory}, which is no mailbox's, and are in {target} now",
        count=len(uids), directory=str(stray.directory), target=str(target),
    )  # fmt: skip
