"""
Directories that move when mailboxes are renamed, and go when they are deleted.

The list of mailboxes is the truth.  A change of it is committed together with
the work it asks for (L{pycyrus.store.rows.Pending}), and then the work is
done; each piece may be done again.  So whoever dies at whatever point leaves
every mailbox whole, under exactly one name, and the next who changes the list,
or misses a mailbox in its place, does the rest.

Everything here waits for the disk, and is called within a transaction: then no
other process changes the tree.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from twisted.logger import Logger

from pycyrus.errors import StoreUnavailable
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.store import files, paths, rows
from pycyrus.store.layout import (
    GUARD,
    JOURNAL,
    MailboxPaths,
    message_uids,
    remove_archived,
    remove_mailbox,
)
from pycyrus.store.locks import block_lock, try_lock
from pycyrus.store.partitions import Partitions
from pycyrus.store.rehearsal import rehearse
from pycyrus.store.rows import Entry, Pending, Work
from pycyrus.store.telling import News, tell

_log = Logger()
_GONE = (FileNotFoundError, NotADirectoryError)
_MOST_LOCKS = 1000
"""Mailboxes in one directory that are locked while it is renamed: descriptors are few."""


@dataclass(frozen=True, slots=True)
class Plan:
    """
    Where mailboxes of a tree go.

    @ivar locations: By unique id.
    @ivar moves: Directories to rename, in order: where one lies in another, the
        innermost first; and each takes along what lies in it.
    """

    locations: dict[str, str]
    moves: tuple[tuple[str, str], ...]


def mailbox_paths(partitions: Partitions, partition: str, location: str) -> MailboxPaths:
    """The directories of a mailbox."""
    return MailboxPaths(
        partitions.data(partition, location),
        partitions.meta(partition, location),
        partitions.stage(partition),
        partitions.archive(partition, location),
    )


def ask(
    connection: sqlite3.Connection, partitions: Partitions, work: Work, partition: str, source: str, target: str = ""
) -> None:
    """
    Have a mailbox's directories moved or removed once this is committed, that of the archive as well.

    @raise StoreUnavailable: They cannot be.
    """
    rehearse(partitions, partition, target)
    rows.add_pending(connection, work, partition, source, target)
    if partitions.archive_root(partition) is not None:
        rows.add_pending(connection, _IN_ARCHIVE[work], partition, source, target)


def plan(tree: Sequence[Entry], wanted: Callable[[Entry], str], occupied: Callable[[Entry, str], bool]) -> Plan:
    """
    Find the fewest renames of directories that bring a tree to another place.

    @param tree: Parents before their children.
    @param wanted: Where a mailbox belongs.
    @param occupied: Whether something is in that place already; then the
        mailbox goes to the place of its unique id.
    """
    locations: dict[str, str] = {}
    moves: dict[str, str] = {}
    diverted: set[str] = set()
    for entry in tree:
        place = wanted(entry)
        above = _moved_with(entry.location, moves)
        if above is not None:
            taken_along = moves[above] + entry.location[len(above) :]
            if taken_along == place or above in diverted:
                locations[entry.unique_id] = taken_along
                continue
        if place != entry.location and occupied(entry, place):
            place = paths.location_by_id(entry.unique_id)
            diverted.add(entry.location)
        locations[entry.unique_id] = place
        if place != entry.location:
            moves[entry.location] = place
    if any(_moved_with(source, moves) for source in moves):
        ordered = sorted(moves.items(), key=lambda move: -move[0].count("/"))
    else:
        # What comes back from below C{DELETED} lay side by side: here the outermost goes first.
        ordered = sorted(moves.items(), key=lambda move: move[1].count("/"))
    return Plan(locations, tuple(ordered))


def _moved_with(location: str, moves: dict[str, str]) -> str | None:
    """The innermost directory above a location that is to be renamed."""
    above = location
    while "/" in above:
        above = above.rpartition("/")[0]
        if above in moves:
            return above
    return None


def is_occupied(connection: sqlite3.Connection, partitions: Partitions, partition: str, location: str) -> bool:
    """
    Whether something is in a place; an empty directory is cleared away.

    A place is not free while something is to be moved or removed there in an
    archive that is missing: it would happen to the new mailbox.
    """
    if _is_awaited(connection, partition, location):
        return True
    archive = partitions.archive_root(partition)
    for root in (*partitions.roots(partition), *filter(None, [archive])):
        place = paths.resolve(root, location)
        try:
            files.rmdir(place)
        except FileNotFoundError:
            continue
        except OSError:
            # A link or a file may be there as well, to which nothing can be moved.
            if os.path.lexists(place):
                return True
    return False


def _is_awaited(connection: sqlite3.Connection, partition: str, location: str) -> bool:
    """Whether something is still to be done in a place in the archive."""
    here = Pending(0, Work.MOVE_ARCHIVE, partition, location, location)
    return any(_overlap(here, each) for each in rows.pending(connection))


def clear_leftovers(connection: sqlite3.Connection, partitions: Partitions, partition: str, location: str) -> bool:
    """
    Remove what an interrupted creation left in a place that no mailbox has.

    @return: Whether the place can be used: it cannot if messages are there,
        which are then left for C{reconstruct}, or if an archive that is missing may have some.
    """
    if _is_awaited(connection, partition, location):
        return False
    place = mailbox_paths(partitions, partition, location)
    archive = () if place.archive is None else (place.archive.directory,)
    for directory in dict.fromkeys((place.data, place.meta, *archive)):
        try:
            if message_uids(directory):
                _log.error("Messages of no mailbox lie in {path}: they are left there", path=str(directory))
                return False
        except _GONE:
            continue
    if Path(place.journal).exists():
        remove_mailbox(place)
    return True


UserChanged = Callable[[MailboxName, MailboxName | None], None]
"""Told an INBOX as it was, and as it is; None if the user is gone.  It may be told again."""


def finish(
    connection: sqlite3.Connection,
    partitions: Partitions,
    name_text: Callable[[Entry], str],
    user_changed: UserChanged,
) -> list[Pending]:
    """
    Do what is pending.

    What cannot be done now stays pending, with all later work on the same
    directories: a partition that fails harms only its own mailboxes.

    @param name_text: Internal name of an entry, for its header.
    @param user_changed: Called for users who were renamed or removed.
    @return: What has to wait.
    """
    waiting = rows.pending(connection)
    changed: list[tuple[Entry, Work]] = []
    done: list[Pending] = []
    stuck: list[Pending] = []
    for each in waiting:
        if any(_overlap(each, other) for other in stuck):
            stuck.append(each)
            continue
        try:
            if each.work is Work.USER:
                user_changed(rows.name_of(each.source), rows.name_of(each.target) if each.target else None)
            elif each.work in _OF_DIRECTORIES:
                if not _do(connection, partitions, each):
                    continue
            elif (entry := rows.find_id(connection, each.source)) is not None:
                changed.append((entry, each.work))
        except (OSError, StoreUnavailable) as error:
            _log.error(
                "{work} of {source} on partition {partition} has to wait: {error}",
                work=each.work.name, source=each.source, partition=each.partition, error=error,
            )  # fmt: skip
            stuck.append(each)
        else:
            done.append(each)
    try:
        tell(
            News(mailbox_paths(partitions, entry.partition, entry.location), entry, work, name_text(entry))
            for entry, work in changed
        )
        for root in dict.fromkeys(root for entry, _ in changed for root in partitions.roots(entry.partition)):
            sync_file_system(str(root))
    except (OSError, StoreUnavailable) as error:
        _log.error("Changes of the mailbox list have to be told later: {error}", error=error)
        stuck += [each for each in done if each.work in OF_MAILBOXES]
        done = [each for each in done if each.work not in OF_MAILBOXES]
    for each in done:
        rows.drop_pending(connection, each.number)
    return stuck


OF_ARCHIVES = frozenset({Work.MOVE_ARCHIVE, Work.REMOVE_ARCHIVE})
"""Work that may have to wait for an archive, which harms nobody but who looks for archived messages."""
_IN_ARCHIVE = {Work.MOVE: Work.MOVE_ARCHIVE, Work.REMOVE: Work.REMOVE_ARCHIVE}
_OF_DIRECTORIES = frozenset({Work.MOVE, Work.REMOVE, Work.ABANDONED}) | OF_ARCHIVES
OF_MAILBOXES = frozenset({Work.TELL_RENAME, Work.TELL_ACL})
"""Work that tells mailboxes what has happened to them, which has happened before they know."""


def _do(connection: sqlite3.Connection, partitions: Partitions, each: Pending) -> bool:
    """Do work on a directory; False if somebody else is at it."""
    if each.work is Work.ABANDONED:
        return _clear_abandoned(connection, partitions, each)
    if each.work is Work.MOVE:
        _move(connection, partitions, each.partition, each.source, each.target)
    elif each.work is Work.REMOVE:
        _remove(partitions, each.partition, each.source)
    else:
        _do_in_archive(partitions, each)
    return True


def _do_in_archive(partitions: Partitions, each: Pending) -> None:
    archive = partitions.archive(each.partition, each.source)
    if archive is None:
        # It is not configured any more.
        return
    if not archive.is_there():
        raise StoreUnavailable(f"archivepartition-{each.partition} is not there")
    if each.work is Work.MOVE_ARCHIVE:
        _move_directory(archive.root, each.source, each.target, _merge)
    else:
        remove_archived(archive)
        _prune(archive.directory.parent, archive.root)


def _merge(old: Path, new: Path) -> bool:
    """
    Bring what is in one directory to another, which came to be while the archive was missing.

    @return: Always true: it was done.
    """
    for name in files.listdir(old):
        source, target = old / name, new / name
        if source.is_dir() and target.is_dir():
            _merge(source, target)
        elif not os.path.lexists(target):
            files.rename(source, target)
    files.sync_directory(str(new))
    with contextlib.suppress(OSError):
        files.rmdir(old)
    return True


def _overlap(one: Pending, other: Pending) -> bool:
    """Whether two pieces of work are about the same directory, or about one within the other's."""
    if one.partition != other.partition or other.work not in _OF_DIRECTORIES:
        return False
    if (one.work in OF_ARCHIVES) != (other.work in OF_ARCHIVES):
        return False
    return any(
        a == b or a.startswith(f"{b}/") or b.startswith(f"{a}/")
        for a in (one.source, one.target)
        for b in (other.source, other.target)
        if a and b
    )


def _move(connection: sqlite3.Connection, partitions: Partitions, partition: str, source: str, target: str) -> None:
    """
    Rename a directory.

    Nobody writes to the mailboxes in it meanwhile: a message's file must not
    come to lie in another mailbox, whose directory is there by then.
    """
    with contextlib.ExitStack() as locks:
        for location in rows.locations_within(connection, partition, target)[:_MOST_LOCKS]:
            place = mailbox_paths(partitions, partition, source + location[len(target) :])
            fd = _lock_journal(place.journal)
            if fd is not None:
                locks.callback(files.close, fd)
        roots = partitions.roots(partition)
        for root in roots:
            _move_directory(root, source, target, lambda old, new: _is_leftover(old), roots)


def _lock_journal(path: str) -> int | None:
    """Keep writers out until the descriptor is closed; None if there is no journal."""
    while True:
        try:
            fd = files.open_file(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except _GONE:
            return None
        try:
            block_lock(fd)
            if files.fstat(fd).st_nlink:
                return fd
        except BaseException:
            files.close(fd)
            raise
        # It was written anew, and the new one has another lock.
        files.close(fd)


def _move_directory(
    root: Path, source: str, target: str, is_settled: Callable[[Path, Path], bool], roots: Sequence[Path] = ()
) -> None:
    """
    Rename a directory.

    @param is_settled: Asked where both are there; whether that is right.
    @param roots: As for L{_prune}.
    """
    old, new = paths.resolve(root, source), paths.resolve(root, target)
    try:
        files.stat(old)
    except _GONE:
        return
    files.makedirs(new.parent, files.PRIVATE_DIRECTORY, exist_ok=True)
    # Before the rename, so that it cannot become durable without its way from the root.
    _sync_up(new.parent, root)
    try:
        files.rename(old, new)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST) and is_settled(old, new):
            # Moved before; only empty directories came back.
            return
        raise
    files.sync_directory(str(new.parent))
    _prune(old.parent, root, roots)


def _clear_abandoned(connection: sqlite3.Connection, partitions: Partitions, work: Pending) -> bool:
    """
    Remove a copy of a mailbox that did not come to its end.

    @return: False if somebody is still making it.
    """
    place = mailbox_paths(partitions, work.partition, work.source)
    try:
        fd = files.open_file(f"{place.meta}/{GUARD}", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except _GONE:
        return True
    try:
        if not try_lock(fd):
            return False
        if rows.find_location(connection, work.partition, work.source) is None:
            _remove(partitions, work.partition, work.source)
            if place.archive is not None:
                remove_archived(place.archive)
        return True
    finally:
        files.close(fd)


def _is_leftover(directory: Path) -> bool:
    return not any(names for _, _, names in os.walk(directory))


def _remove(partitions: Partitions, partition: str, location: str) -> None:
    remove_mailbox(mailbox_paths(partitions, partition, location))
    roots = partitions.roots(partition)
    for root in roots:
        _prune(paths.resolve(root, location).parent, root, roots)


def _prune(directory: Path, root: Path, roots: Sequence[Path] = ()) -> None:
    """
    Remove directories that became empty, upwards, but for those of mailboxes.

    @param roots: Where these may have their journals: with a metapartition the directory of a mailbox
        without messages is empty.
    """
    while directory != root and root in directory.parents:
        place = directory.relative_to(root)
        if any((each / place / JOURNAL).exists() for each in roots):
            break
        try:
            files.rmdir(directory)
        except _GONE:
            # Done by somebody who was killed before saying so.
            pass
        except OSError:
            break
        directory = directory.parent
    files.sync_directory(str(directory))


def _sync_up(directory: Path, root: Path) -> None:
    """Make directories durable that may just have been made."""
    while True:
        files.sync_directory(str(directory))
        if directory == root or root not in directory.parents:
            return
        directory = directory.parent


def sync_file_system(directory: str) -> None:
    """Make everything on a file system durable."""
    fd = files.open_file(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        files.syncfs(fd)
    finally:
        files.close(fd)
