"""
Where a mailbox's files are, and how they come, move and go.

The functions here block: they are for threads, start and tests.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from pycyrus.errors import MailboxExists
from pycyrus.store import files, header, journal
from pycyrus.store.header import Header, write_header
from pycyrus.store.journal import JournalHeader
from pycyrus.store.locks import block_lock, unlock
from pycyrus.store.spool import place_copy

JOURNAL = "pycyrus.journal"
COLUMNS = "pycyrus.columns"
CACHE = "pycyrus.cache"
QUARANTINE = "pycyrus.quarantine"
_MESSAGE = re.compile(r"([1-9][0-9]{0,9})\.")

FIRST_RESERVATION = 64
"""UIDs set aside for a new mailbox."""
MODSEQS_PER_UID = 16


@dataclass(frozen=True, slots=True)
class MailboxPaths:
    """
    The directories of one mailbox.

    @ivar data: Message files.
    @ivar meta: Journal, snapshot, cache and header; may be the same.
    @ivar stage: C{<partition>/stage./}
    """

    data: Path
    meta: Path
    stage: Path

    @property
    def journal(self) -> str:
        """The journal's path."""
        return f"{self.meta}/{JOURNAL}"

    @property
    def columns(self) -> str:
        """The snapshot's path."""
        return f"{self.meta}/{COLUMNS}"

    @property
    def cache(self) -> str:
        """The cache's path."""
        return f"{self.meta}/{CACHE}"

    @property
    def quarantine(self) -> Path:
        """Where files go that no record tells of."""
        return self.data / QUARANTINE

    def message(self, uid: int) -> str:
        """A message's path."""
        return f"{self.data}/{uid}."


def message_uids(data: Path) -> list[int]:
    """Ascending UIDs of the message files in a directory."""
    names = files.listdir(data)
    return sorted(int(found[1]) for found in map(_MESSAGE.fullmatch, names) if found and int(found[1]) <= 0xFFFFFFFF)


def microseconds() -> int:
    """The time as journal records tell it."""
    return time.time_ns() // 1000


def first_journal(unique_id: str, uidvalidity: int, uidnext: int = 1, modseq: int = 1) -> bytes:
    """The octets of a new journal."""
    now = microseconds()
    head = JournalHeader(1, 0, 1, uidvalidity, unique_id).encode()
    numbers = journal.numbers_record(uidnext, modseq, 0, 0, now)
    limit = uidnext + FIRST_RESERVATION
    reserve = journal.reserve_record(
        limit, modseq + FIRST_RESERVATION * MODSEQS_PER_UID, files.boot_id(), now, confirmed=True
    )
    return head + numbers + reserve


def create_mailbox(paths: MailboxPaths, head: Header) -> None:
    """
    Make an empty mailbox, durably; blocks for a sync.

    @raise MailboxExists: There is a journal in that place.
    @raise OSError: What was made is not yet a mailbox.
    """
    for directory in dict.fromkeys((paths.data, paths.meta)):
        files.makedirs(directory, files.PRIVATE_DIRECTORY, exist_ok=True)
    if Path(paths.journal).exists():
        raise MailboxExists("there is a journal already")
    files.replace_file(f"{paths.meta}/{header.FILE_NAME}", head.encode(), sync=False)
    # The journal is what makes it a mailbox, so it comes last.
    octets = first_journal(head.unique_id, head.uidvalidity, head.uidnext, head.highest_modseq)
    files.replace_file(paths.journal, octets, sync=False)
    for directory in dict.fromkeys((paths.meta, paths.data)):
        fd = files.open_file(str(directory), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            files.syncfs(fd)
        finally:
            files.close(fd)


def remove_mailbox(paths: MailboxPaths) -> None:
    """
    Remove a mailbox's files, and its directories if nothing else is in them.

    The header goes first: what has neither header nor journal is no mailbox,
    whatever a crash leaves behind.

    @raise OSError: Something could not be removed; call it again.
    """
    _unlink(f"{paths.meta}/{header.FILE_NAME}")
    _unlink(paths.journal)
    for uid in message_uids(paths.data) if paths.data.is_dir() else ():
        _unlink(paths.message(uid))
    _remove_rest(paths)


def relocate_mailbox(old: MailboxPaths, new: MailboxPaths, head: Header) -> None:
    """
    Move a mailbox elsewhere, under its lock; children in the tree stay where they are.

    Until the journal has moved, the mailbox is whole in the old place, and
    from then on it is whole in the new one; call it again after a crash.

    @param head: The header for the new place.
    @raise MailboxExists: There is a mailbox in the new place.
    @raise OSError: It is still in the old place.
    """
    if Path(new.journal).exists():
        raise MailboxExists("there is a journal already")
    for directory in dict.fromkeys((new.data, new.meta)):
        files.makedirs(directory, files.PRIVATE_DIRECTORY, exist_ok=True)
    fd = files.open_file(old.journal, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        block_lock(fd)
        uids = message_uids(old.data)
        for uid in uids:
            target = new.message(uid)
            _unlink(target)
            place_copy(old.message(uid), target)
        write_header(new.meta, head)
        _copy_or_link(old.cache, new.cache)
        size = files.fstat(fd).st_size
        record = journal.encode_record(
            journal.RENAME, head.name.encode(), count=len(head.name.encode()), modseq=0, time=microseconds()
        )
        files.write_all(fd, record, size)
        _sync_devices(new)
        try:
            files.rename(old.journal, new.journal)
        except OSError:
            _copy_or_link(old.journal, new.journal)
            _sync_devices(new)
            _unlink(old.journal)
        _sync_devices(new)
        unlock(fd)
    finally:
        files.close(fd)
    for uid in uids:
        _unlink(old.message(uid))
    _remove_rest(old)


def _sync_devices(paths: MailboxPaths) -> None:
    for directory in dict.fromkeys((paths.data, paths.meta)):
        fd = files.open_file(str(directory), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            files.syncfs(fd)
        finally:
            files.close(fd)


def _copy_or_link(source: str, target: str) -> None:
    _unlink(target)
    try:
        place_copy(source, target)
    except FileNotFoundError:
        return


def _remove_rest(paths: MailboxPaths) -> None:
    for name in (CACHE, COLUMNS, header.FILE_NAME):
        _unlink(f"{paths.meta}/{name}")
    if paths.quarantine.is_dir():
        for name in files.listdir(paths.quarantine):
            _unlink(f"{paths.quarantine}/{name}")
        _rmdir(paths.quarantine)
    for directory in dict.fromkeys((paths.data, paths.meta)):
        _rmdir(directory)


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        files.unlink(path)


def _rmdir(path: Path) -> None:
    # Children of the mailbox may lie in it.
    with contextlib.suppress(OSError):
        files.rmdir(path)
