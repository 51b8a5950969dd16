"""
One mailbox in one process, and its writers.

Everything here runs on the reactor thread.  The lock is held across a few
C{pwrite} and never across an C{await}, so whatever happens between
L{MailboxState.enter} and L{MailboxState.leave} is one step for everybody.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence

from pycyrus.errors import MailboxNotFound, StoreUnavailable
from pycyrus.model.view import View
from pycyrus.store import files, journal, recovery
from pycyrus.store.commit import Committer
from pycyrus.store.contents import Contents
from pycyrus.store.files import store_error
from pycyrus.store.following import FollowedMailbox, StateServices
from pycyrus.store.items import CachedItems
from pycyrus.store.layout import (
    MailboxPaths,
    create_mailbox,
    remove_mailbox,
)
from pycyrus.store.listeners import Listeners
from pycyrus.store.loading import Loaded
from pycyrus.store.locks import spin_lock, try_lock, unlock, wait_lock
from pycyrus.store.reservations import Reservations
from pycyrus.store.searchtexts import SearchTexts
from pycyrus.store.threads import sleep
from pycyrus.store.told_usage import ToldUsage
from pycyrus.store.upkeep import Upkeep

__all__ = [
    "MailboxPaths", "MailboxState", "StateServices", "create_mailbox", "remove_mailbox",
]  # fmt: skip

_MANY_PATHS = 1024


class MailboxState(FollowedMailbox):
    """
    A mailbox, shared by all that have it open in this process.

    @param loaded: As L{recovery.open_mailbox} read it.
    @ivar usage: What it tells of what it uses.
    """

    def __init__(self, paths: MailboxPaths, loaded: Loaded, services: StateServices) -> None:
        self._name_files(paths)
        self.unique_id = loaded.header.unique_id
        self.uidvalidity = loaded.header.uidvalidity
        self.contents: Contents = loaded.contents
        self.gone = False
        self.services = services
        self.usage = ToldUsage(services.usage, self.unique_id)
        self._fd = loaded.fd
        self._can_write = loaded.can_write
        self._header = loaded.header
        self._offset = loaded.offset
        self.upkeep = Upkeep(self, loaded.snapshot_offset)
        self._view: View | None = None
        self.items = CachedItems(paths, loaded.header.cache_generation, self.upkeep.repair_soon, self.where_now)
        self.texts = SearchTexts(paths, services.reactor, services.search.comparison)
        self._listeners = Listeners(services.reactor, self._watch, self._stop_watching)
        self._unwatch: Callable[[], None] | None = None
        self._generations = 0
        self._reservations = Reservations(loaded.contents.usable)
        self._renamed_seen = loaded.contents.renamed
        # Only under the lock is it certain that nobody is moving the mailbox.
        self._renamed_locked = -1
        self._commit_to: list[Committer] = []
        self._identify()

    # --- writing ----------------------------------------------------------

    async def enter(self, uids: int = 0) -> None:
        """
        Take the lock, having caught up, with room in the reservation.

        The caller must not await before L{leave}.

        @param uids: How many UIDs will be used.
        @raise MailboxNotFound: It is gone.
        @raise StoreUnavailable: It cannot be locked, read or written.
        """
        while True:
            await self._lock()
            try:
                self._catch_up_locked()
                if self._reservations.has_room(self.contents, uids):
                    return
                self.write(self._reservations.propose(self.contents, uids))
                limits = self.contents.reserved
            except OSError as error:
                self.leave()
                raise store_error(error, "journal cannot be used") from error
            except BaseException:
                self.leave()
                raise
            self.leave()
            await self.commit([self._journal, str(self.paths.meta)])
            self._reservations.settle(limits)

    def enter_now(self) -> bool:
        """
        As L{enter}, without waiting and for records that use a modseq at most.

        @return: Whether the lock could be had, and numbers were left.
        """
        if self._fd < 0 or not spin_lock(self._fd, 20):
            return False
        try:
            self._catch_up_locked()
            if self._reservations.has_room(self.contents, 0):
                return True
        except OSError as error:
            self.leave()
            raise store_error(error, "journal cannot be used") from error
        except BaseException:
            self.leave()
            raise
        self.leave()
        return False

    async def enter_apart(self, uids: int) -> int:
        """
        Take the lock for work that takes long, and may be awaited while it is held.

        @param uids: How many UIDs will be used.
        @return: A descriptor; closing it gives the lock back.
        @raise MailboxNotFound: It is gone.
        @raise StoreUnavailable: It cannot be locked, read or written.
        """
        while True:
            await self.enter(uids)
            # The lock belongs to the open file: through another one it also
            # keeps out this process's own writers.
            try:
                fd = files.open_file(f"/proc/self/fd/{self._fd}", os.O_RDWR | os.O_CLOEXEC)
            except OSError as error:
                raise store_error(error, "journal cannot be locked") from error
            finally:
                self.leave()
            if not try_lock(fd):
                files.close(fd)
                await sleep(self.services.reactor, 0.001)
                continue
            try:
                status = files.fstat(self._fd)
                if (
                    status.st_size == self._offset
                    and status.st_nlink
                    and self._reservations.has_room(self.contents, uids)
                ):
                    return fd
            except BaseException:
                files.close(fd)
                raise
            files.close(fd)

    def leave(self) -> None:
        """Give the lock back."""
        if self._fd >= 0:
            unlock(self._fd)

    async def _lock(self) -> None:
        while True:
            fd = self._fd
            if fd < 0:
                raise MailboxNotFound("mailbox is gone")
            if spin_lock(fd):
                return
            await wait_lock(fd, self.services.reactor)
            if fd == self._fd:
                return

    def _catch_up_locked(self) -> None:
        if not self._can_write:
            self._open_to_write()
        while True:
            fd = self._fd
            status = files.fstat(fd)
            if status.st_size == self._offset and status.st_nlink:
                if self._renamed_locked == self.contents.renamed:
                    break
                renamed = self.contents.renamed
                self._locate()
                # Not if that raised: then the next writer must not write either.
                self._renamed_locked = renamed
                if not self._is_elsewhere():
                    break
                self._follow_replacement()
            else:
                self._catch_up(status)
            if fd != self._fd:
                # Another journal, another lock.
                if not spin_lock(self._fd, 50):
                    raise StoreUnavailable("the mailbox is locked by another process")
            elif files.fstat(fd).st_size != self._offset:
                self._mend_tail()
                if not spin_lock(self._fd, 50):
                    raise StoreUnavailable("the mailbox is locked by another process")
        # Whatever may be lacking to make a change durable is missed before it is made.
        self._committers()

    def _open_to_write(self) -> None:
        """
        Open the journal anew, and lock it: perhaps its file system can be written by now.

        @raise OSError: It cannot.
        """
        self.leave()
        loaded = recovery.open_mailbox(self.paths)
        if not loaded.can_write or loaded.header.unique_id != self.unique_id:
            files.close(loaded.fd)
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        self._take(loaded)
        if not spin_lock(self._fd, 50):
            raise StoreUnavailable("the mailbox is locked by another process")

    def _is_elsewhere(self) -> bool:
        """Whether another journal than this one is in the mailbox's place; none at all may be on its way."""
        try:
            here = files.stat(self._journal)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return (here.st_ino, here.st_dev) != self._inode

    def _mend_tail(self) -> None:
        """What is behind the last whole record was left by somebody who died: nobody else writes now."""
        loaded = recovery.mend_locked(self.paths, self._fd)
        if files.fstat(loaded.fd).st_ino == self._inode[0]:
            # The lock is on the open file, so it stays this one.
            files.close(loaded.fd)
            loaded.fd = os.dup(self._fd)
        self._take(loaded)

    def check_place(self) -> None:
        """
        Make sure, under the lock, that the journal is still where the paths say.

        @raise StoreUnavailable: It is not, and nobody knows where.
        """
        for _ in range(2):
            try:
                here = files.stat(self._journal)
                if (here.st_ino, here.st_dev) == self._inode:
                    return
            except (FileNotFoundError, NotADirectoryError):
                pass
            if not self._locate():
                break
        raise StoreUnavailable("the mailbox is being moved")

    def write(self, records: bytes, *, tell: bool = True) -> None:
        """
        Append records, under the lock, and take them in.

        @param tell: Tell listeners now; otherwise the caller does, by
            L{announce}, when it is durable.
        @raise OSError: None was written, but for whole records before the one
            that uses a UID or modseq.
        """
        if self._reservations.unconfirmed is not None:
            records = self._reservations.confirmation(self.contents) + records
        self.usage.begin()
        try:
            files.write_all(self._fd, records, self._offset)
        except OSError as error:
            self._cut_after(records[: getattr(error, "written", 0)])
            raise
        else:
            parsed, used = journal.scan(records)
            self._apply(parsed, used, tell=tell)
        finally:
            self.tell_usage()

    def write_aside(self, records: bytes) -> None:
        """
        As L{write}, for what nobody sees: the mailbox was last updated when it was before.

        @raise OSError: As there.
        """
        status = files.fstat(self._fd)
        self.write(records)
        os.utime(self._fd, ns=(status.st_atime_ns, status.st_mtime_ns))

    def _cut_after(self, written: bytes) -> None:
        """A write stopped half-way: keep its whole records, for others may have read them."""
        parsed, used = journal.scan(written)
        if used:
            self._apply(parsed, used)
        try:
            files.ftruncate(self._fd, self._offset)
        except OSError as error:
            # The next one who has the lock cuts it.
            self.log.warn("Journal of {mailbox} has a torn tail: {error}", mailbox=self.unique_id, error=error.strerror)

    # --- usage and numbers ------------------------------------------------

    def tell_usage(self) -> None:
        """Say, under the lock, what the mailbox uses."""
        self.usage.tell(self.contents, self._offset, self._inode[0])

    def check_usage(self, number: int) -> None:
        """As L{ToldUsage.check}."""
        self.usage.check(number, self._offset, self._inode[0])

    def next_modseq(self) -> int:
        """The modseq for a change that is about to be written."""
        return self.contents.highest_modseq + 1

    def reserve_ahead(self) -> bytes:
        """As L{Reservations.ahead}."""
        return self._reservations.ahead(self.contents)

    # --- durability -------------------------------------------------------

    async def commit(self, paths: Sequence[str]) -> None:
        """
        Make what was written durable.

        @raise StoreUnavailable: It may not be.
        """
        reserved = self.contents.reserved
        # A confirmed reservation says that all messages before it are durable, those of other processes as well.
        whole = self._reservations.is_beyond(reserved)
        if len(paths) > _MANY_PATHS:
            # To sync all costs less than to name them.
            paths, whole = (), True
        for committer in self._committers():
            await committer.commit(paths, whole=whole)
        if self._reservations.is_beyond(reserved):
            self._reservations.settle(reserved)

    def commit_soon(self) -> None:
        """Let what was written become durable with the next batch."""
        for committer in self._committers():
            committer.commit_soon((self._journal,))

    def _committers(self) -> list[Committer]:
        if not self._commit_to:
            for directory in dict.fromkeys((self.paths.meta, self.paths.data)):
                # While the mailbox is renamed there may be nothing in its place.
                by_journal = directory == self.paths.meta and self._fd >= 0
                device = (files.fstat(self._fd) if by_journal else files.stat(directory)).st_dev
                # Rather the partition's directory, which stays, than a mailbox's.
                anchor = self.paths.stage.parent
                if files.stat(anchor).st_dev != device:
                    anchor = directory
                committer = self.services.committers.for_device(device, anchor)
                if committer not in self._commit_to:
                    self._commit_to.append(committer)
        return self._commit_to
