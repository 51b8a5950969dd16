"""
Opening a mailbox whatever state its files are in.

Nobody has to run a tool: what a crash left unfinished is taken away, and what
is damaged is made again from what is left.  Everything here blocks, and is
called in a thread or before the mailbox is used.

What is found, and what is done, under the mailbox's lock:

  - Octets behind the last whole record, and no whole record after them: a
    write that never ended.  They are cut off.
  - A message file at the next UID, or, after another start of the machine,
    any message file without a record: never acknowledged.  It goes to
    C{pycyrus.quarantine}.
  - Another start of the machine since the last reservation: numbers up to the
    reservation may have been seen, and go unused.  Messages added since the
    last confirmed reservation are compared with their GUID; those whose
    octets did not reach the disk were never acknowledged, and are expunged.
  - Anything else that cannot be read is damage: see L{pycyrus.store.rebuild}.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
from twisted.logger import Logger

from pycyrus.errors import MailboxCorrupted, MailboxNotFound
from pycyrus.model.uids import number_ranges
from pycyrus.store import files, journal, rebuild, snapshot
from pycyrus.store.contents import Contents
from pycyrus.store.journal import FormatTooNew
from pycyrus.store.layout import FIRST_RESERVATION, MODSEQS_PER_UID, MailboxPaths, message_uids, microseconds
from pycyrus.store.loading import Loaded, load, open_journal
from pycyrus.store.locks import block_lock, unlock
from pycyrus.store.partition_marks import read_mark
from pycyrus.store.quarantine import file_guid, quarantine

__all__ = ["file_guid", "mend_locked", "open_mailbox", "quarantine"]

_log = Logger()

_SECTOR = 512
"""Octets that a disk writes at once."""


def open_mailbox(paths: MailboxPaths) -> Loaded:
    """
    Read a mailbox, and mend it if need be.

    @raise MailboxNotFound: There is none in that place.
    @raise MailboxCorrupted: It cannot be mended.
    @raise OSError: It cannot be read.
    """
    try:
        loaded = load(paths)
    except FormatTooNew:
        raise
    except MailboxCorrupted as error:
        _log.error("Journal in {directory} is damaged: {error}", directory=str(paths.meta), error=str(error))
        loaded = _rebuild_alone(paths)
    except MailboxNotFound:
        if not rebuild.has_remains(paths):
            raise
        _log.error("Journal in {directory} is missing", directory=str(paths.meta))
        loaded = _rebuild_alone(paths)
    if not _needs_care(paths, loaded):
        return loaded
    if not loaded.can_write and not loaded.is_cut:
        # Mended when it can be; nobody changes anything before that.
        _log.warn("Mailbox in {directory} is read as it is, on a read-only file system", directory=str(paths.meta))
        return loaded
    files.close(loaded.fd)
    return _mend(paths)


def _rebuild_alone(paths: MailboxPaths) -> Loaded:
    """Make a journal where there is none to lock, unless somebody else just did."""
    fd = files.open_file(str(paths.meta), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        block_lock(fd)
        try:
            return load(paths)
        except (MailboxCorrupted, MailboxNotFound):
            rebuild.rebuild(paths)
        return load(paths)
    finally:
        files.close(fd)


def _needs_care(paths: MailboxPaths, loaded: Loaded) -> bool:
    if loaded.is_cut or loaded.offset != loaded.size or loaded.contents.boot != files.boot_id():
        return True
    return _lacks_directory(paths) or Path(paths.message(loaded.contents.uidnext)).exists()


def _lacks_directory(paths: MailboxPaths) -> bool:
    """Whether the directory of the messages, which may be apart, is not there."""
    return paths.data != paths.meta and not paths.data.is_dir()


def _mend(paths: MailboxPaths) -> Loaded:
    """Mend under the lock; a writer that was at work has finished then."""
    fd = open_journal(paths)
    try:
        block_lock(fd)
        try:
            return mend_locked(paths, fd)
        finally:
            unlock(fd)
    finally:
        files.close(fd)


def mend_locked(paths: MailboxPaths, fd: int) -> Loaded:
    """
    Mend a mailbox whose lock the caller holds.

    @param fd: Its journal, locked.
    @return: Another journal than C{fd} if it had to be rebuilt.
    """
    loaded = load(paths)
    try:
        if _lacks_directory(paths) and not len(snapshot.uids_of(loaded.contents)) and paths.stage.parent.is_dir():
            # Nothing was in it.
            files.makedirs(paths.data, files.PRIVATE_DIRECTORY, exist_ok=True)
        if loaded.is_cut:
            _log.error("Journal in {directory} was cut off", directory=str(paths.meta))
        if loaded.is_cut or (loaded.offset != files.fstat(loaded.fd).st_size and not _cut_tail(paths, loaded)):
            rebuild.rebuild(paths)
            rebuilt = load(paths)
            files.close(loaded.fd)
            return rebuilt
        if loaded.contents.boot != files.boot_id():
            _after_restart(paths, loaded)
        else:
            _quarantine_next(paths, loaded.contents)
    except BaseException:
        files.close(loaded.fd)
        raise
    return loaded


def _cut_tail(paths: MailboxPaths, loaded: Loaded) -> bool:
    """Cut off a write that never ended; False if whole records follow: then it is damage."""
    size = files.fstat(loaded.fd).st_size
    rest = files.read_all(loaded.fd, size - loaded.offset, loaded.offset)
    where = {"directory": str(paths.meta), "offset": loaded.offset}
    following = journal.find_record(rest, 8)
    if following is not None and not (_restarted(loaded) and _is_hole(rest[:following], loaded.offset)):
        _log.error("Journal in {directory} is damaged at octet {offset}", **where)
        return False
    _log.warn("Journal in {directory}: an unfinished write at octet {offset} is cut off", **where)
    files.ftruncate(loaded.fd, loaded.offset)
    loaded.size = loaded.offset
    return True


def _restarted(loaded: Loaded) -> bool:
    """Whether the machine was started again since the last reservation."""
    return loaded.contents.boot != files.boot_id()


def _is_hole(gap: bytes, offset: int) -> bool:
    """
    Whether pages of a journal are missing that were never synced, before others that happened to reach the disk.

    What follows was written later, so it was not synced either.  Octets that flipped look otherwise: a hole
    has zeros from the end of a record on, or from the beginning of a sector to its end.

    @param gap: Up to the next whole record.
    @param offset: Where it begins.
    """
    if not any(gap[:8]):
        return True
    first = -offset % _SECTOR
    return any(not any(gap[at : at + _SECTOR]) for at in range(first, len(gap) - _SECTOR + 1, _SECTOR))


def _quarantine_next(paths: MailboxPaths, contents: Contents) -> None:
    """Message files are linked in order, so those without a record begin at the next UID."""
    uid = contents.uidnext
    while Path(paths.message(uid)).exists():
        quarantine(paths, uid)
        uid += 1


def _after_restart(paths: MailboxPaths, loaded: Loaded) -> None:
    contents = loaded.contents
    known = set(contents.columns.uids[: contents.columns.count].tolist()) | set(contents.retained["uid"].tolist())
    there, is_whole = _look(paths)
    _check_mounted(paths, contents, there, is_whole)
    for uid in there:
        if uid not in known:
            if uid < contents.uidnext:
                # Expunged, and not yet removed when the machine stopped.
                _remove(paths, uid)
            else:
                quarantine(paths, uid)
    now = microseconds()
    records = []
    lost = _never_synced(paths, contents, is_whole)
    modseq = max(contents.highest_modseq, contents.reserved[1])
    if lost:
        ranges = number_ranges(np.array(lost, dtype=np.uint32))
        modseq += 1
        records.append(journal.ranges_record(journal.EXPUNGE, ranges, modseq, now))
        if there or paths.data == paths.meta:
            records.append(journal.ranges_record(journal.PURGE, ranges, 0, now))
        # Else the file system of the messages may not be mounted: they can be unexpunged when it is.
    uidnext = max(contents.uidnext, contents.reserved[0])
    records.append(journal.numbers_record(uidnext, modseq, 0, 0, now))
    limits = (uidnext + FIRST_RESERVATION, modseq + FIRST_RESERVATION * MODSEQS_PER_UID)
    records.append(journal.reserve_record(*limits, files.boot_id(), now, confirmed=False))
    _write(loaded, b"".join(records))
    files.fdatasync(loaded.fd)
    # Only what is known to be on the disk may be confirmed.
    _write(loaded, journal.reserve_record(*limits, files.boot_id(), now, confirmed=True))


def _look(paths: MailboxPaths) -> tuple[list[int], bool]:
    """UIDs of message files, and whether there are no others: an archive that fails harms only what is in it."""
    if paths.is_whole():
        try:
            return paths.uids(), True
        except OSError as error:
            if paths.archive is None:
                raise
            _log.error("The archive of {directory} cannot be read: {error}", directory=str(paths.data), error=error)
    return message_uids(paths.data), False


def _remove(paths: MailboxPaths, uid: int) -> None:
    with suppress(FileNotFoundError):
        files.unlink(paths.message(uid))
    if paths.archive is not None:
        # What stays there is found by the next expiry.
        with suppress(OSError):
            files.unlink(paths.archive.message(uid))


def _check_mounted(paths: MailboxPaths, contents: Contents, there: list[int], is_whole: bool) -> None:
    """
    Make sure that messages are where they should be before any is said to have been lost.

    @raise OSError: None of those is there that were synced: the file system is not mounted.
    """
    uids = contents.columns.uids[: contents.columns.count]
    synced = uids[uids < contents.durable_uid].tolist()
    if synced and not set(synced).intersection(there):
        if not is_whole and read_mark(paths.stage.parent):
            # The partition is there, and the archive, where all of them may be, is not.
            return
        raise OSError(errno.EIO, "no message file is there: is its file system mounted?", str(paths.data))


def _write(loaded: Loaded, records: bytes) -> None:
    files.write_all(loaded.fd, records, loaded.offset)
    loaded.contents.apply(journal.scan(records)[0])
    loaded.offset += len(records)
    loaded.size = loaded.offset


def _never_synced(paths: MailboxPaths, contents: Contents, is_whole: bool) -> list[int]:
    """UIDs of messages whose octets are not what was written, among those that may not have been synced."""
    columns = contents.columns
    first = int(columns.uids[: columns.count].searchsorted(np.uint32(contents.durable_uid)))
    lost = []
    for position in range(first, columns.count):
        uid = int(columns.uids[position])
        path = paths.where(uid) if is_whole else paths.message(uid)
        if file_guid(path) == columns.guids[position].tobytes():
            continue
        if not is_whole and not Path(path).exists():
            # It may be in the archive, where nothing goes that is not synced.
            continue
        lost.append(uid)
        if Path(path).exists():
            quarantine(paths, uid)
        else:
            _log.error("Message {uid} in {directory} never reached the disk", uid=uid, directory=str(paths.data))
    return lost
