"""
Where a mailbox's files are, and how they come and go.

The functions here block: they are for threads, start and tests.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from pycyrus.errors import MailboxExists
from pycyrus.store import files, header, journal
from pycyrus.store.header import Header
from pycyrus.store.journal import JournalHeader
from pycyrus.store.locks import block_lock
from pycyrus.store.partition_marks import read_mark

JOURNAL = "pycyrus.journal"
COLUMNS = "pycyrus.columns"
CACHE = "pycyrus.cache"
QUARANTINE = "pycyrus.quarantine"
_OURS = "pycyrus."
GUARD = "pycyrus.moving"
"""Locked by whoever is moving the mailbox into this directory."""
_MESSAGE = re.compile(r"([1-9][0-9]{0,9})\.")

FIRST_RESERVATION = 64
"""UIDs set aside for a new mailbox."""
MODSEQS_PER_UID = 16


@dataclass(frozen=True, slots=True)
class Archive:
    """
    Where old and large messages of one mailbox are.

    @ivar root: C{archivepartition-NAME}
    @ivar directory: Of this mailbox; there may be none yet.
    @ivar mark: By which the root is known; empty if it was never seen.
    """

    root: Path
    directory: Path
    mark: str

    def is_there(self) -> bool:
        """Whether it is mounted, as far as can be told."""
        try:
            found = read_mark(self.root)
        except OSError:
            return False
        return bool(found) and self.mark in ("", found)

    def message(self, uid: int) -> str:
        """A message's path."""
        return f"{self.directory}/{uid}."

    def uids(self) -> list[int]:
        """
        Ascending UIDs of the messages in it.

        @raise OSError: It cannot be read.
        """
        try:
            return message_uids(self.directory)
        except (FileNotFoundError, NotADirectoryError):
            return []


@dataclass(frozen=True, slots=True)
class MailboxPaths:
    """
    The directories of one mailbox.

    @ivar data: Message files.
    @ivar meta: Journal, snapshot, cache and header; may be the same.
    @ivar stage: C{<partition>/stage./}
    @ivar archive: None if the partition has none.
    """

    data: Path
    meta: Path
    stage: Path
    archive: Archive | None = None

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
        """Where a message goes when it comes."""
        return f"{self.data}/{uid}."

    def where(self, uid: int) -> str:
        """
        Where a message is: in the archive, if it is there and not here.

        Messages move from here to there, and never back, so this order misses none.
        """
        path = self.message(uid)
        if self.archive is not None and not os.path.lexists(path):
            archived = self.archive.message(uid)
            if os.path.lexists(archived):
                return archived
        return path

    def is_archived(self, path: str) -> bool:
        """Whether a path is one in the archive."""
        return self.archive is not None and path.startswith(f"{self.archive.directory}/")

    def places(self, uid: int) -> tuple[str, ...]:
        """Everywhere a message can be."""
        path = self.message(uid)
        return (path,) if self.archive is None else (path, self.archive.message(uid))

    def uids(self) -> list[int]:
        """
        Ascending UIDs of the message files, here and in the archive as far as it is there.

        @raise OSError: They cannot be read.
        """
        here = message_uids(self.data)
        if self.archive is None or not self.archive.is_there():
            return here
        return sorted({*here, *self.archive.uids()})

    def is_whole(self) -> bool:
        """Whether a message that is not found is lost, for all places are there in which it could be."""
        return self.archive is None or self.archive.is_there()


def is_message(name: str) -> bool:
    """Whether a file of this name is a message."""
    return _MESSAGE.fullmatch(name) is not None


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
        if _forks(directory.parent) and not directory.parent.exists():
            files.makedirs(directory.parent, files.PRIVATE_DIRECTORY, exist_ok=True)
            files.spread_below(directory.parent)
        files.makedirs(directory, files.PRIVATE_DIRECTORY, exist_ok=True)
        if directory.is_symlink():
            raise OSError(errno.ELOOP, "a symbolic link is in the place of a mailbox", str(directory))
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


def _forks(directory: Path) -> bool:
    """Whether those whose mailboxes lie in a directory have nothing to do with each other."""
    return directory.name == "user" or directory.parent.parent.name == "uuid"


def remove_mailbox(paths: MailboxPaths) -> None:
    """
    Remove a mailbox's files, and its directories if nothing else is in them.

    The header goes first: what has neither header nor journal is no mailbox,
    whatever a crash leaves behind.

    @raise OSError: Something could not be removed; call it again.
    """
    try:
        fd = files.open_file(paths.journal, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        fd = -1
    try:
        if fd >= 0:
            # Who is writing now ends first; who comes later finds no journal.
            block_lock(fd)
        _unlink(f"{paths.meta}/{header.FILE_NAME}")
        _unlink(paths.journal)
    finally:
        if fd >= 0:
            files.close(fd)
    for uid in message_uids(paths.data) if paths.data.is_dir() else ():
        _unlink(paths.message(uid))
    _remove_rest(paths)


def remove_archived(archive: Archive) -> None:
    """
    Remove a mailbox's archived messages, and their directory if nothing else is in it.

    @raise OSError: Something could not be removed; call it again.
    """
    for uid in archive.uids():
        _unlink(archive.message(uid))
    _remove_quarantine(archive.directory / QUARANTINE)
    _rmdir(archive.directory)


def _remove_rest(paths: MailboxPaths) -> None:
    _remove_quarantine(paths.quarantine)
    # Also what was made for searches, and what somebody who was killed left half-written.
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for name in files.listdir(paths.meta):
            if name.startswith(_OURS) and name != QUARANTINE:
                _unlink(f"{paths.meta}/{name}")
    for directory in dict.fromkeys((paths.data, paths.meta)):
        _rmdir(directory)


def _remove_quarantine(directory: Path) -> None:
    if directory.is_dir():
        for name in files.listdir(directory):
            _unlink(f"{directory}/{name}")
        _rmdir(directory)


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        files.unlink(path)


def _rmdir(path: Path) -> None:
    # Children of the mailbox may lie in it.
    with contextlib.suppress(OSError):
        files.rmdir(path)
