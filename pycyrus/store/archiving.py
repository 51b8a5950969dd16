"""
Moving old and large messages to the archive partition, beside whoever reads them.

A message is copied and synced apart, gets its name in the archive, which is made
durable, and only then goes from its mailbox's directory.  Who looks for it looks
there first, so it is found at every moment; and no record tells where it is, so
none can be wrong.  Names come and go under the mailbox's lock, while the mailbox is known
to be in its place.  It never moves back.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from twisted.logger import Logger

from pycyrus.errors import MailboxNotFound, MailStoreError
from pycyrus.model.flags import FLAGGED
from pycyrus.model.uids import UidArray
from pycyrus.store import files
from pycyrus.store.contents import Contents
from pycyrus.store.files import store_error
from pycyrus.store.layout import Archive, MailboxPaths, message_uids
from pycyrus.store.mailbox import MailboxState
from pycyrus.store.paths import STAGE_DIRECTORY
from pycyrus.store.settings import ArchiveSettings
from pycyrus.store.shield import Shield
from pycyrus.store.snapshot import uids_of
from pycyrus.store.spool import copy_octets
from pycyrus.store.threads import in_thread

_log = Logger()

_BATCH = 64
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


def belongs_there(contents: Contents, settings: ArchiveSettings, before: float | None) -> UidArray:
    """
    Which messages are to be in the archive, of those that are there and of expunged ones that may come back.

    @param before: Those that came before this time, in seconds since the epoch; None for the large ones alone.
    """
    columns, retained = contents.columns, contents.retained
    count = columns.count
    found = []
    for uids, sizes, dates, flags in (
        (columns.uids[:count], columns.sizes[:count], columns.internaldates[:count], columns.flags[:count]),
        (retained["uid"], retained["size"], retained["internaldate"], retained["flags"]),
    ):
        old = np.zeros(len(uids), dtype=np.bool_) if before is None else dates < before
        if settings.keep_flagged:
            old &= flags & FLAGGED == 0
        found.append(uids[old | (sizes > settings.largest)].astype(np.uint32))
    return np.concatenate(found)


async def archive(state: MailboxState, settings: ArchiveSettings, before: float | None) -> int:
    """
    Move what is to be in the archive and is not yet.

    @param before: As in L{belongs_there}.
    @return: How many messages were moved.
    @raise StoreUnavailable: The archive cannot be used; every message is where it was, or there.
    """
    if state.paths.archive is None:
        return 0
    state.refresh()
    wanted = belongs_there(state.contents, settings, before)
    if not len(wanted):
        return 0
    try:
        here = await in_thread(state.services.reactor, message_uids, state.paths.data)
    except OSError as error:
        raise store_error(error, "mailbox cannot be read") from error
    return await move_to_archive(state, np.intersect1d(wanted, np.array(here, dtype=np.uint32)).tolist())


async def move_to_archive(state: MailboxState, uids: list[int]) -> int:
    """
    Move messages, in batches.

    @return: How many were moved: those that are gone, or were moved by others, are not.
    @raise StoreUnavailable: As L{archive}.
    """
    moved = 0
    try:
        for start in range(0, len(uids), _BATCH):
            moved += await _move_batch(state, uids[start : start + _BATCH])
    except OSError as error:
        raise store_error(error, "messages cannot be archived") from error
    return moved


@dataclass(frozen=True, slots=True)
class _Copied:
    """
    A copy that has no name in the mailbox yet.

    @ivar fd: Locked, so that nobody takes it for a leftover.
    """

    uid: int
    path: str
    fd: int


async def _move_batch(state: MailboxState, uids: list[int]) -> int:
    reactor = state.services.reactor
    copies: list[_Copied] = []
    try:
        target = state.paths.archive
        await in_thread(reactor, _copy_all, state.paths, uids, copies)
        lock = await state.enter_apart(0)
        try:
            state.check_place()
            archived = state.paths.archive
            if archived is None or target is None or archived.root != target.root:
                # It went to another partition meanwhile.
                return 0
            there = set(uids_of(state.contents).tolist())
            named = [each for each in copies if each.uid in there]
            await in_thread(reactor, _name_all, archived, named)
        finally:
            files.close(lock)
        await in_thread(reactor, _sync_names, archived)
    finally:
        await in_thread(reactor, _discard, copies)
    lock = await state.enter_apart(0)
    try:
        state.check_place()
        return await in_thread(reactor, _remove_moved, state.paths, [each.uid for each in named])
    finally:
        files.close(lock)


def _copy_all(paths: MailboxPaths, uids: Iterable[int], copies: list[_Copied]) -> None:
    """Copy messages durably to the archive, without names."""
    archived = paths.archive
    if archived is None or not archived.is_there():
        raise OSError(errno.EIO, "the archive partition is not there")
    stage = archived.root / STAGE_DIRECTORY
    files.makedirs(stage, files.PRIVATE_DIRECTORY, exist_ok=True)
    for uid in uids:
        try:
            source = files.open_file(paths.message(uid), _READ)
        except FileNotFoundError:
            # Purged, or archived by somebody else.
            continue
        try:
            path = f"{stage}/{os.getpid()}-{secrets.token_hex(16)}"
            fd = files.open_file(path, _CREATE, files.PRIVATE)
            copies.append(_Copied(uid, path, fd))
            files.flock(fd, fcntl.LOCK_SH)
            status = files.fstat(source)
            copy_octets(source, fd, status.st_size)
            # The time of a file counts where its records are lost.
            os.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))
            files.fsync(fd)
        finally:
            files.close(source)


def _name_all(archived: Archive, copies: Iterable[_Copied]) -> None:
    files.makedirs(archived.directory, files.PRIVATE_DIRECTORY, exist_ok=True)
    for each in copies:
        files.rename(each.path, archived.message(each.uid))


def _sync_names(archived: Archive) -> None:
    """Make the names durable, and all directories above, which may be new."""
    directory = archived.directory
    while True:
        try:
            files.sync_directory(str(directory))
        except FileNotFoundError:
            # Renamed meanwhile, which took the messages along: the file system knows where.
            _sync_all(archived.root)
            return
        if directory == archived.root:
            return
        directory = directory.parent


def _sync_all(root: Path) -> None:
    fd = files.open_file(str(root), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        files.syncfs(fd)
    finally:
        files.close(fd)


def _remove_moved(paths: MailboxPaths, uids: Iterable[int]) -> int:
    """Remove files of messages that are in the archive."""
    archived = paths.archive
    if archived is None:
        return 0
    moved = 0
    for uid in uids:
        path = paths.message(uid)
        # Else it was purged meanwhile.
        with suppress(FileNotFoundError):
            if files.stat(path).st_size == files.stat(archived.message(uid)).st_size:
                files.unlink(path)
                moved += 1
    return moved


def _discard(copies: Iterable[_Copied]) -> None:
    for each in copies:
        # Most have their name by now; what cannot be removed is cleared away at the next start.
        with suppress(OSError):
            files.unlink(each.path)
        files.close(each.fd)


class ArchiveQueue:
    """
    Large messages that came just now, and go to the archive when they are stored (C{archive_maxsize}).

    What is not done when the store is closed, or fails, is left for C{cyr_expire}.

    @param hold: Gives the state of a mailbox by its unique id.
    @param release: Takes it back.
    """

    def __init__(
        self,
        settings: ArchiveSettings,
        shield: Shield,
        hold: Callable[[str], Awaitable[MailboxState]],
        release: Callable[[MailboxState], None],
    ) -> None:
        self._settings = settings
        self._shield = shield
        self._hold = hold
        self._release = release
        self._waiting: dict[str, list[int]] = {}
        self._busy = False

    def consider(self, state: MailboxState, uids: Iterable[int], sizes: Iterable[int]) -> None:
        """Have those messages moved that are large; they were stored just now."""
        if state.paths.archive is None:
            return
        large = [uid for uid, size in zip(uids, sizes, strict=True) if size > self._settings.largest]
        if large:
            self._waiting.setdefault(state.unique_id, []).extend(large)
            if not self._busy:
                self._busy = True
                self._shield.spawn(self._run())

    def stop(self) -> None:
        """Begin with no more."""
        self._waiting.clear()

    async def _run(self) -> None:
        try:
            while self._waiting:
                unique_id = next(iter(self._waiting))
                await self._move(unique_id, self._waiting.pop(unique_id))
        finally:
            self._busy = False

    async def _move(self, unique_id: str, uids: list[int]) -> None:
        try:
            state = await self._hold(unique_id)
            try:
                await move_to_archive(state, uids)
            finally:
                self._release(state)
        except MailboxNotFound:
            return
        except MailStoreError as error:
            _log.warn("Large messages of {mailbox} are not archived now: {error}", mailbox=unique_id, error=str(error))
