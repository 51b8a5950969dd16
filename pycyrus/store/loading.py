"""
From a mailbox's files to its contents: snapshot, then the journal's tail.

Nothing is changed on disk here, and no lock is needed: what a writer has not
finished is simply not there yet.
"""

from __future__ import annotations

import errno
import fcntl
import os
from dataclasses import dataclass

from pycyrus.errors import MailboxNotFound
from pycyrus.store import files, journal, snapshot
from pycyrus.store.contents import Contents
from pycyrus.store.journal import HEADER_SIZE, JournalHeader
from pycyrus.store.layout import MailboxPaths

_OPEN = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_OPEN_TO_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW


@dataclass(slots=True)
class Loaded:
    """
    A mailbox as read.

    @ivar fd: The open journal.
    @ivar offset: Up to where it was read: the end of the last whole record.
    @ivar size: Of the journal, when it was read.
    @ivar snapshot_offset: What the snapshot stood for; 0 if there was none.
    @ivar is_cut: The journal is shorter than what the snapshot stood for, which was on the disk before it.
    @ivar can_write: Whether the journal is open for writing; it is not on a file system that is read-only.
    """

    fd: int
    header: JournalHeader
    contents: Contents
    offset: int
    size: int
    snapshot_offset: int
    is_cut: bool = False
    can_write: bool = True


def open_journal(paths: MailboxPaths) -> int:
    """
    Open a journal, for writing if its file system can be written.

    @raise MailboxNotFound: There is none.
    @raise OSError: It cannot be opened.
    """
    try:
        try:
            return files.open_file(paths.journal, _OPEN)
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
            return files.open_file(paths.journal, _OPEN_TO_READ)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MailboxNotFound("no journal in its directory") from error


def _can_write(fd: int) -> bool:
    return fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR


def load(paths: MailboxPaths, *, use_snapshot: bool = True) -> Loaded:
    """
    Read a mailbox.

    @return: The caller owns the descriptor.
    @raise MailboxNotFound: There is no journal.
    @raise MailboxCorrupted: Its head is damaged.
    @raise FormatTooNew: It was written by a newer program.
    @raise OSError: It cannot be read.
    """
    fd = open_journal(paths)
    try:
        head = JournalHeader.decode(files.pread(fd, HEADER_SIZE, 0))
        size = files.fstat(fd).st_size
        found = snapshot.load(paths.columns, head.generation, head.unique_id) if use_snapshot else None
        is_cut = False
        if found is not None and found[1] > size:
            # Unless it grew meanwhile.
            size = files.fstat(fd).st_size
            if found[1] > size:
                found, is_cut = None, True
        contents, offset = found if found is not None else (Contents(), HEADER_SIZE)
        data = files.read_all(fd, size - offset, offset)
        records, used = journal.scan(data)
        if found is not None and data and not used:
            whole = files.read_all(fd, offset + len(data) - HEADER_SIZE, HEADER_SIZE)
            if not is_of(whole, offset - HEADER_SIZE):
                found, contents, offset, data = None, Contents(), HEADER_SIZE, whole
                records, used = journal.scan(data)
        contents.apply(records)
        stands_for = offset if found is not None else 0
        return Loaded(fd, head, contents, offset + used, offset + len(data), stands_for, is_cut, _can_write(fd))
    except BaseException:
        files.close(fd)
        raise


def is_of(records: bytes | memoryview, offset: int) -> bool:
    """
    Whether a snapshot can be of a journal: a record ends where it says that it stands for all before.

    @param records: Of the journal, from the first on.
    @param offset: In them.
    @return: True also where that cannot be told, for records before are damaged.
    """
    _, used = journal.scan(records[:offset])
    return used == offset or journal.scan(records[used:])[1] == 0
