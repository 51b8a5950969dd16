"""
Looking for damage, without changing anything: checksums, GUIDs, and whether files, records and list agree.

It works beside a server.  What a writer has under way is not mistaken for
damage: files and journal are compared under the mailbox's lock, and what looks
wrong in them is looked at once more.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pycyrus.errors import InvalidMailboxName, MailboxCorrupted, MailboxNotFound, StoreUnavailable
from pycyrus.model.acl_text import BadAcl, acl_pairs
from pycyrus.model.internal_names import internal
from pycyrus.store import cache, directory, files, header, journal, rows, snapshot
from pycyrus.store.contents import Contents
from pycyrus.store.header import read_header
from pycyrus.store.layout import MailboxPaths
from pycyrus.store.loading import load
from pycyrus.store.locks import block_lock
from pycyrus.store.moves import mailbox_paths
from pycyrus.store.partitions import Partitions
from pycyrus.store.quarantine import file_guid
from pycyrus.store.rows import Entry
from pycyrus.store.settings import StoreSettings
from pycyrus.store.soundness import KEPT, problem_of_list
from pycyrus.store.survey import survey

_AGAIN = 2.0
"""Seconds after which files that were being removed are gone."""

_MISSING = "it is missing"
OPEN_IT = "nothing: it is mended when the mailbox is next opened"
RECONSTRUCT = "pycyrus reconstruct {mailbox}"
RESTART = "restart the server: it is set aside then, and made again"
BACKUP = "put the file back from a backup, or pycyrus reconstruct -G -U {mailbox} to be without it"
EXPIRE = "put the file back from a backup to be able to unexpunge it; else nothing: pycyrus expire ends it in its time"
RELIST = "pycyrus reconstruct -f"


@dataclass(frozen=True, slots=True)
class Finding:
    """
    Something that is wrong.

    @ivar mailbox: Internal name; empty where it is about none.
    @ivar mend: What to do.
    """

    mailbox: str
    file: str
    problem: str
    mend: str


def open_list(settings: StoreSettings) -> list[Entry]:
    """
    Read the list of mailboxes, without the store.

    @raise StoreUnavailable: It cannot be read; damaged entries are left out.
    """
    path = settings.configdirectory / directory.FILE_NAME
    found = []
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=30.0)) as connection:
            for row in rows.page(connection, "", "\U0010ffff", 1 << 40, after=False):
                try:
                    found.append(rows.entry_of(row))
                except (BadAcl, ValueError, IndexError):
                    continue
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{path.name}: {error}") from error
    return found


# --- what is not one mailbox -------------------------------------------------


def verify_databases(settings: StoreSettings) -> Iterator[Finding]:
    """Check the databases as SQLite can, and the checksums of the mailbox list."""
    listed = settings.configdirectory / directory.FILE_NAME
    problem = problem_of_list(listed) if listed.exists() else _MISSING
    if problem is not None:
        yield Finding("", str(listed), problem, RESTART)
    for each in KEPT:
        path = settings.configdirectory / each.name
        problem = each.problem_of(path) if path.exists() else _MISSING if each.always else None
        if problem is not None:
            yield Finding("", str(path), problem, RESTART)


def verify_places(settings: StoreSettings, partitions: Partitions, entries: Iterable[Entry]) -> Iterator[Finding]:
    """Look for mailboxes on the partitions that are not on the list."""
    listed = {(entry.partition, entry.location) for entry in entries}
    unknown = [found for found in survey(partitions) if (found.partition, found.location) not in listed]
    if not unknown:
        return
    # Made or moved meanwhile?
    listed = {(entry.partition, entry.location) for entry in open_list(settings)}
    for found in unknown:
        place = partitions.meta(found.partition, found.location)
        if (found.partition, found.location) not in listed and place.exists():
            name = found.header.name if found.header is not None else ""
            yield Finding(name, str(place), "a mailbox that is not on the mailbox list", RELIST)


# --- one mailbox -------------------------------------------------------------


def verify_mailbox(
    entry: Entry, settings: StoreSettings, partitions: Partitions, told: Callable[[int], None] = lambda count: None
) -> list[Finding]:
    """
    Check everything about a mailbox.

    @param told: Is told how many messages were looked at since it was last told.
    """
    name = internal(entry.name, settings.deletedprefix)
    try:
        paths = mailbox_paths(partitions, entry.partition, entry.location)
    except (StoreUnavailable, InvalidMailboxName) as error:
        return [Finding(name, entry.location, f"its place cannot be: {error}", RESTART)]
    try:
        return list(_Check(name, entry, paths, settings).run(told))
    except MailboxNotFound:
        if not paths.meta.is_dir():
            return [Finding(name, str(paths.meta), "the mailbox's directory is missing", "put it back from a backup")]
        return [Finding(name, paths.journal, "it is missing", OPEN_IT)]
    except MailboxCorrupted as error:
        return [Finding(name, paths.journal, str(error), OPEN_IT)]
    except OSError as error:
        return [Finding(name, str(paths.meta), f"it cannot be read: {error.strerror}", "see to the disk")]


class _Check:
    """The check of one mailbox."""

    def __init__(self, name: str, entry: Entry, paths: MailboxPaths, settings: StoreSettings) -> None:
        self._name = name
        self._entry = entry
        self._paths = paths
        self._settings = settings

    def run(self, told: Callable[[int], None]) -> Iterator[Finding]:
        """Yield what is wrong."""
        contents, there = yield from self._journal()
        yield from self._header()
        yield from self._cache(contents)
        yield from self._files(contents, there)
        yield from self._messages(contents, there, told)

    def _finding(self, file: str | Path, problem: str, mend: str) -> Finding:
        return Finding(self._name, str(file), problem, mend.format(mailbox=self._name))

    def _journal(self) -> Generator[Finding, None, tuple[Contents, set[int]]]:
        """
        Read the whole journal, and the snapshot.

        @return: What the mailbox holds, and UIDs of its files.
        """
        paths = self._paths
        loaded = load(paths, use_snapshot=False)
        try:
            if loaded.offset != loaded.size:
                files.close(loaded.fd)
                loaded = load(paths, use_snapshot=False)
            block_lock(loaded.fd)
            # Nobody writes now.
            size = files.fstat(loaded.fd).st_size
            rest = files.read_all(loaded.fd, size - loaded.offset, loaded.offset)
            records, used = journal.scan(rest)
            loaded.contents.apply(records)
            there = set(paths.uids())
            sound = snapshot.is_sound(paths.columns)
            differs = sound and self._snapshot_differs(loaded.contents, loaded.header, size)
        finally:
            files.close(loaded.fd)
        offset = loaded.offset + used
        if used != len(rest):
            damaged = journal.find_record(rest[used:], 8) is not None
            problem = f"damaged at octet {offset}" if damaged else f"an unfinished write at octet {offset}"
            yield self._finding(paths.journal, problem, RECONSTRUCT if damaged else OPEN_IT)
        if loaded.header.unique_id != self._entry.unique_id:
            yield self._finding(paths.journal, "it is another mailbox's than the list says", RECONSTRUCT)
        elif loaded.header.uidvalidity != self._entry.uidvalidity:
            yield self._finding(paths.journal, "its UIDVALIDITY is not what the list says", RECONSTRUCT)
        if sound is False:
            yield self._finding(paths.columns, "its checksum is wrong", OPEN_IT)
        elif differs:
            yield self._finding(paths.columns, "it says something else than the journal", RECONSTRUCT)
        return loaded.contents, there

    def _snapshot_differs(self, contents: Contents, head: journal.JournalHeader, size: int) -> bool:
        found = snapshot.load(self._paths.columns, head.generation, head.unique_id)
        if found is None:
            return False
        other, offset = found
        fd = files.open_file(self._paths.journal, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            if offset > files.fstat(fd).st_size:
                # The journal was cut off.
                return True
            other.apply(journal.scan(files.read_all(fd, max(size - offset, 0), offset))[0])
        finally:
            files.close(fd)
        one, two = (each.columns.rows(slice(0, each.columns.count)) for each in (contents, other))
        if not contents.annotations.is_same(other.annotations):
            return True
        return not _same(one, two) or not _same(contents.retained, other.retained)

    def _header(self) -> Iterator[Finding]:
        path = self._paths.meta / header.FILE_NAME
        try:
            head = read_header(self._paths.meta)
        except MailboxCorrupted as error:
            yield self._finding(path, str(error), RECONSTRUCT)
            return
        entry = self._entry
        for what, here, listed in (
            ("unique id", head.unique_id, entry.unique_id),
            ("UIDVALIDITY", head.uidvalidity, entry.uidvalidity),
            ("name", head.name, self._name),
            ("rights", sorted(head.acl), sorted(acl_pairs(entry.acl))),
        ):
            if here != listed:
                yield self._finding(path, f"its {what} is not what the mailbox list says", RECONSTRUCT)

    def _cache(self, contents: Contents) -> Iterator[Finding]:
        """Every record that the journal points to."""
        path = self._paths.cache
        columns = contents.columns
        if not columns.cache_lengths[: columns.count].any():
            return
        try:
            file = cache.CacheFile(path)
        except FileNotFoundError:
            yield self._finding(path, "it is missing", OPEN_IT)
            return
        try:
            if file.generation is None:
                yield self._finding(path, "its head is damaged", OPEN_IT)
                return
            bad = [
                uid
                for uid, offset, length, guid in zip(
                    columns.uids[: columns.count].tolist(),
                    columns.cache_offsets[: columns.count].tolist(),
                    columns.cache_lengths[: columns.count].tolist(),
                    columns.guids[: columns.count],
                    strict=True,
                )
                if length and not _is_record(file.raw(offset, length), uid, guid.tobytes())
            ]
        finally:
            file.close()
        if bad:
            yield self._finding(path, f"the records of {_some(bad)} are damaged", OPEN_IT)

    def _files(self, contents: Contents, there: set[int]) -> Iterator[Finding]:
        """Files without records, and records without files."""
        held = _uids(contents)
        odd = sorted(there - held)
        if odd:
            # A purge removes files when its record is durable.
            time.sleep(_AGAIN)
            odd = [uid for uid in odd if Path(self._paths.where(uid)).exists()]
            if odd:
                now = _uids(_now(self._paths))
                odd = [uid for uid in odd if uid not in now]
        for uid in odd:
            yield self._finding(self._paths.where(uid), "a message file without a record", RECONSTRUCT)
        if not self._paths.is_whole():
            yield self._finding(
                str(self._paths.archive and self._paths.archive.root), "the archive partition is not there", "mount it"
            )
            return
        lost = held - there
        if lost:
            lost &= _uids(_now(self._paths))
        kept = set(contents.retained["uid"].tolist())
        for uid in sorted(lost):
            path = self._paths.message(uid)
            if uid in kept:
                yield self._finding(path, "the file of an expunged message is missing", EXPIRE)
            else:
                yield self._finding(path, "the message file is missing", BACKUP)

    def _messages(self, contents: Contents, there: set[int], told: Callable[[int], None]) -> Iterator[Finding]:
        """The octets of each message, those that are expunged and kept as well."""
        columns, retained = contents.columns, contents.retained
        pairs = [
            *zip(columns.uids[: columns.count].tolist(), columns.guids[: columns.count], strict=True),
            *zip(retained["uid"].tolist(), retained["guid"], strict=True),
        ]
        for uid, guid in pairs:
            told(1)
            if uid not in there:
                continue
            path = self._paths.where(uid)
            try:
                found = file_guid(path)
            except OSError as error:
                yield self._finding(path, f"it cannot be read: {error.strerror}", BACKUP)
                continue
            if found != guid.tobytes() and (found is not None or uid in _uids(_now(self._paths))):
                yield self._finding(path, "its octets are not those that were stored", BACKUP)


def _now(paths: MailboxPaths) -> Contents:
    loaded = load(paths)
    files.close(loaded.fd)
    return loaded.contents


def _uids(contents: Contents) -> set[int]:
    return set(snapshot.uids_of(contents).tolist())


def _same(one: NDArray[np.void], two: NDArray[np.void]) -> bool:
    return len(one) == len(two) and all(np.array_equal(one[name], two[name]) for name in one.dtype.names or ())


def _is_record(octets: bytes, uid: int, guid: bytes) -> bool:
    record = cache.decode_record(octets)
    return record is not None and record.uid == uid and record.guid == guid


def _some(uids: list[int]) -> str:
    text = ", ".join(map(str, uids[:10]))
    return f"{text} and {len(uids) - 10} more" if len(uids) > 10 else text
