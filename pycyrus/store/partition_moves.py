"""
Mailboxes that go to another partition while they are in use.

Messages are copied, or linked, while everything goes on; what is left then is
copied under the mailbox's lock, and the list changed.  The last record of the
old journal has everybody ask where the mailbox is, so nobody writes there again.
Whoever dies leaves the mailbox whole in one place: the half copy has a lock file,
and goes when nobody holds its lock any more.

Everything here waits for the disk, and runs on a thread.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import stat
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from pycyrus.errors import MailboxNotFound, StoreUnavailable
from pycyrus.store import access, files, journal, moves, paths, rows
from pycyrus.store.files import store_error
from pycyrus.store.layout import GUARD, QUARANTINE, MailboxPaths, is_message, microseconds
from pycyrus.store.locks import block_lock, try_lock
from pycyrus.store.partitions import Partitions
from pycyrus.store.recovery import mend_locked
from pycyrus.store.rows import Entry, Work

_PIECE = 1 << 20
_NO_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP})


@dataclass(slots=True)
class PartitionMove:
    """
    One mailbox on its way.

    @ivar entry: As it was found.
    @ivar partition: Where it goes.
    @ivar text: Its internal name.
    """

    partitions: Partitions
    entry: Entry
    partition: str
    location: str
    text: str
    _guard: int = field(default=-1, init=False)
    _number: int = field(default=0, init=False)
    _journal: int = field(default=-1, init=False)

    @property
    def _old(self) -> MailboxPaths:
        return moves.mailbox_paths(self.partitions, self.entry.partition, self.entry.location)

    @property
    def _new(self) -> MailboxPaths:
        return moves.mailbox_paths(self.partitions, self.partition, self.location)

    def begin(self, connection: sqlite3.Connection) -> None:
        """
        Say, within a transaction, that a copy is being made there.

        @raise StoreUnavailable: It cannot be.
        """
        if rows.find_location(connection, self.partition, self.location) is not None or moves.is_occupied(
            connection, self.partitions, self.partition, self.location
        ):
            self.location = paths.location_by_id(self.entry.unique_id)
        new = self._new
        if not self._old.is_whole() or not new.is_whole():
            raise StoreUnavailable("the archive partition is not there")
        try:
            for directory in dict.fromkeys((new.data, new.meta)):
                files.makedirs(directory, files.PRIVATE_DIRECTORY, exist_ok=True)
            self._guard = files.open_file(f"{new.meta}/{GUARD}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if not try_lock(self._guard):
                raise StoreUnavailable("the mailbox is being moved already")
        except OSError as error:
            raise store_error(error, "mailbox cannot be moved there") from error
        self._number = rows.add_pending(connection, Work.ABANDONED, self.partition, self.location)

    def copy(self) -> None:
        """Copy the messages that are there now."""
        try:
            _copy_messages(self._old, self._new)
            self._sync()
        except OSError as error:
            raise store_error(error, "mailbox cannot be copied") from error

    def finish(self, connection: sqlite3.Connection) -> None:
        """
        Copy the rest under the lock, which is held until C{release}, and change the list.

        @raise MailboxNotFound: It was deleted, renamed or moved meanwhile.
        """
        entry = rows.find_id(connection, self.entry.unique_id)
        if entry is None or (entry.partition, entry.location) != (self.entry.partition, self.entry.location):
            raise MailboxNotFound("no longer there")
        access.check_stays(entry)
        try:
            self._take_lock()
            _copy_messages(self._old, self._new)
            # Before the copy is made: what stands for an offset of the one journal stands for that of the other.
            self._send_on()
            _copy_rest(self._old, self._new)
            self._sync()
        except OSError as error:
            raise store_error(error, "mailbox cannot be copied") from error
        rows.drop_pending(connection, self._number)
        rows.replace(
            connection, replace(entry, partition=self.partition, location=self.location, changed=int(time.time()))
        )
        moves.ask(connection, self.partitions, Work.REMOVE, entry.partition, entry.location)

    def _take_lock(self) -> None:
        """Take the lock of the journal that is in its place, with nothing unfinished at its end."""
        old = self._old
        while True:
            fd = files.open_file(old.journal, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                block_lock(fd)
                if os.path.samestat(files.fstat(fd), files.stat(old.journal)):
                    loaded = mend_locked(old, fd)
                    is_same = os.path.samestat(files.fstat(fd), files.fstat(loaded.fd))
                    files.close(loaded.fd)
                    if is_same:
                        self._journal = fd
                        return
            except BaseException:
                files.close(fd)
                raise
            # Another took its place meanwhile.
            files.close(fd)

    def _send_on(self) -> None:
        """Have everybody who has the mailbox open ask where it is, once they can lock it."""
        octets = self.text.encode("utf-8")
        record = journal.encode_record(journal.RENAME, octets, count=len(octets), modseq=0, time=microseconds())
        files.write_all(self._journal, record, files.fstat(self._journal).st_size)

    def _sync(self) -> None:
        archive = self.partitions.archive_root(self.partition)
        for root in (*self.partitions.roots(self.partition), *filter(None, [archive])):
            moves.sync_file_system(str(root))

    def release(self) -> None:
        """Give the locks back; a copy that did not come to its end is removed by whoever changes the list next."""
        for fd in (self._journal, self._guard):
            if fd >= 0:
                files.close(fd)
        self._journal = self._guard = -1

    def settled(self) -> None:
        """The list is changed: the lock file has no use any more."""
        with contextlib.suppress(OSError):
            files.unlink(f"{self._new.meta}/{GUARD}")


def _copy_messages(old: MailboxPaths, new: MailboxPaths) -> None:
    """Have the same message files in both places; what is archived is archived there, if it can be."""
    there, here = set(old.uids()), set(new.uids())
    if not (old.is_whole() and new.is_whole()):
        raise OSError(errno.EIO, "the archive partition is not there")
    archived = set(old.archive.uids()) if old.archive is not None else set()
    if archived - here and new.archive is not None:
        files.makedirs(new.archive.directory, files.PRIVATE_DIRECTORY, exist_ok=True)
    for uid in sorted(there - here):
        target = new.message(uid)
        if new.archive is not None and uid in archived:
            target = new.archive.message(uid)
        # Else it was purged meanwhile.
        with contextlib.suppress(FileNotFoundError):
            _copy_message(old, uid, target)
    for uid in here - there:
        for path in new.places(uid):
            with contextlib.suppress(FileNotFoundError):
                files.unlink(path)


def _copy_message(old: MailboxPaths, uid: int, target: str) -> None:
    try:
        _copy(old.message(uid), target)
    except FileNotFoundError:
        if old.archive is None:
            raise
        # Archived before, or since its directory was read.
        _copy(old.archive.message(uid), target)


def _copy_rest(old: MailboxPaths, new: MailboxPaths) -> None:
    """Copy what is not a message, as it is now."""
    for source, target in dict.fromkeys(((old.data, new.data), (old.meta, new.meta))):
        for name in _files(source):
            if not is_message(name) and name != GUARD:
                with contextlib.suppress(FileNotFoundError):
                    files.unlink(f"{target}/{name}")
                _copy(f"{source}/{name}", f"{target}/{name}", may_link=False)
    if old.quarantine.is_dir():
        files.makedirs(new.data / QUARANTINE, files.PRIVATE_DIRECTORY, exist_ok=True)
        for name in set(_files(old.quarantine)) - set(_files(new.quarantine)):
            _copy(f"{old.quarantine}/{name}", f"{new.quarantine}/{name}")


def _files(directory: Path) -> list[str]:
    """Names of the files in a directory; what is below are other mailboxes."""
    return [name for name in files.listdir(directory) if stat.S_ISREG(os.lstat(directory / name).st_mode)]


def _copy(source: str, target: str, *, may_link: bool = True) -> None:
    """Copy a file; it gets its name when it is whole."""
    if may_link:
        try:
            files.link(source, target)
            return
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
    unfinished = f"{target}~"
    read = files.open_file(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        status = files.fstat(read)
        write = files.open_file(
            unfinished,
            os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW,
            stat.S_IMODE(status.st_mode),
        )
        try:
            offset = 0
            while data := files.pread(read, _PIECE, offset):
                files.write_all(write, data, offset)
                offset += len(data)
            os.utime(write, ns=(status.st_atime_ns, status.st_mtime_ns))
        finally:
            files.close(write)
    finally:
        files.close(read)
    files.rename(unfinished, target)
