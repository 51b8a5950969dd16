"""
One mailbox in one process: its contents, kept up with the journal.

Everything here runs on the reactor thread.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from twisted.logger import Logger

from pycyrus.errors import MailboxCorrupted, MailboxNotFound, MailStoreError
from pycyrus.model.view import View
from pycyrus.store import files, journal
from pycyrus.store.commit import Committer, Committers
from pycyrus.store.contents import Contents
from pycyrus.store.files import store_error
from pycyrus.store.filling import CacheFiller
from pycyrus.store.items import CachedItems
from pycyrus.store.layout import (
    MailboxPaths,
)
from pycyrus.store.listeners import Listeners
from pycyrus.store.loading import Loaded, load
from pycyrus.store.reservations import Reservations
from pycyrus.store.searchtexts import SearchTexts
from pycyrus.store.settings import DEFAULT_SEARCH, SearchSettings
from pycyrus.store.threads import StoreReactor
from pycyrus.store.upkeep import Upkeep
from pycyrus.store.usage import UsageMap
from pycyrus.store.watch import JournalWatcher


@dataclass(frozen=True, slots=True)
class StateServices:
    """
    What all mailboxes of a process share.

    @ivar watcher: Tells of other processes' writes; None where there are none.
    @ivar locate: Where the mailbox of a unique id is now; raises
        L{MailboxNotFound}.
    @ivar undo_retention: Seconds for which journals keep what happened.
    @ivar usage: Where to tell what each mailbox uses.
    @ivar filler: Makes cached items later; None to make them before a message is acknowledged.
    @ivar search: How messages are searched.
    """

    reactor: StoreReactor
    committers: Committers
    watcher: JournalWatcher | None = None
    locate: Callable[[str], MailboxPaths] | None = None
    undo_retention: float = 0.0
    usage: UsageMap | None = None
    filler: CacheFiller | None = None
    search: SearchSettings = DEFAULT_SEARCH


class FollowedMailbox:
    """
    A mailbox that is read, as far as others have written it.

    @ivar contents: What its journal says.
    @ivar gone: There is no such mailbox any more.
    @ivar written: Files and directories that an append writes to, but for messages.
    @ivar written_rows: The same, of one that makes no cached items.
    @ivar upkeep: What can wait.
    """

    log = Logger()

    paths: MailboxPaths
    unique_id: str
    uidvalidity: int
    contents: Contents
    gone: bool
    services: StateServices
    items: CachedItems
    texts: SearchTexts
    upkeep: Upkeep
    written: tuple[str, ...]
    written_rows: tuple[str, ...]
    _journal: str
    _fd: int
    _header: journal.JournalHeader
    _offset: int
    _can_write: bool
    _inode: tuple[int, int]
    _view: View | None
    _listeners: Listeners
    _unwatch: Callable[[], None] | None
    _generations: int
    _reservations: Reservations
    _renamed_seen: int
    _renamed_locked: int
    _commit_to: list[Committer]

    # --- reading ----------------------------------------------------------

    def maintain(self) -> None:
        """Think about snapshots now, as when it was just loaded."""
        self.upkeep.consider(self._offset)

    @property
    def generation(self) -> int:
        """Of the journal."""
        return self._header.generation

    @property
    def version(self) -> int:
        """Changes whenever something visible changed."""
        return self._generations + self.contents.version

    def refresh(self) -> int:
        """
        Catch up with the journal; one C{fstat} when nothing was written.

        @raise MailboxNotFound: The mailbox is gone.
        @raise StoreUnavailable: It cannot be read.
        """
        if self._fd < 0:
            raise MailboxNotFound("mailbox is gone")
        try:
            status = files.fstat(self._fd)
            if status.st_size != self._offset or not status.st_nlink:
                self._catch_up(status)
        except OSError as error:
            raise store_error(error, "journal cannot be read") from error
        return self._generations + self.contents.version

    def last_update(self) -> float:
        """
        When something was last written, in seconds since the epoch.

        @raise StoreUnavailable: The journal cannot be looked at.
        """
        try:
            return files.fstat(self._fd).st_mtime
        except OSError as error:
            raise store_error(error, "journal cannot be read") from error

    def view(self) -> View:
        """The messages; the same object until membership changes."""
        columns = self.contents.columns
        view = self._view
        count = columns.count
        if view is None or len(view.uids) != count or view.cached.args[0] is not columns:  # type: ignore[attr-defined] # a partial
            view = View(
                uids=columns.uids[:count],
                sizes=columns.sizes[:count],
                internaldates=columns.internaldates[:count],
                savedates=columns.savedates[:count],
                sent_times=columns.sent_times[:count],
                sent_days=columns.sent_days[:count],
                flags=columns.flags[:count],
                keywords=columns.keywords[:count],
                modseqs=columns.modseqs[:count],
                guids=columns.guids[:count],
                cached=functools.partial(self.items.get, columns),
                cached_sizes=columns.cache_lengths[:count],
            )
            self._view = view
        return view

    # --- following the journal --------------------------------------------

    def _catch_up(self, status: os.stat_result) -> None:
        """Read what was appended, or the journal that took this one's place."""
        size = status.st_size
        if size < self._offset:
            self._reload("the journal became shorter")
        elif size > self._offset:
            self._read_tail(size)
        if not status.st_nlink:
            self._follow_replacement()
        if self.contents.renamed != self._renamed_seen:
            self._renamed_seen = self.contents.renamed
            self._locate()

    def _read_tail(self, size: int) -> None:
        data = files.read_all(self._fd, size - self._offset, self._offset)
        records, used = journal.scan(data)
        if used:
            self._apply(records, used)

    def _apply(self, records: Sequence[journal.Record], used: int, *, tell: bool = True) -> None:
        self.contents.apply(records)
        self._offset += used
        if tell:
            self._listeners.tell_soon()
        self.upkeep.consider(self._offset)

    def _follow_replacement(self) -> None:
        """Go on in the journal that was renamed over this one."""
        loaded = self._open_replacement()
        if loaded is None:
            return
        fd, head = loaded
        if head.generation == self._header.generation + 1 and head.cache_generation == self._header.cache_generation:
            files.close(self._fd)
            self._fd, self._header, self._offset = fd, head, head.joined_at
            self.upkeep.restart(0)
            self._identify()
            self._watch()
            self._read_tail(files.fstat(fd).st_size)
            return
        files.close(fd)
        self._reload("the journal was replaced")

    def _open_replacement(self) -> tuple[int, journal.JournalHeader] | None:
        for _ in range(2):
            try:
                fd = files.open_file(self.paths.journal, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            except (FileNotFoundError, NotADirectoryError):
                if not self._locate():
                    break
                continue
            try:
                head = journal.JournalHeader.decode(files.pread(fd, journal.HEADER_SIZE, 0))
            except MailboxCorrupted:
                files.close(fd)
                raise
            if head.unique_id == self.unique_id:
                return fd, head
            files.close(fd)
            if not self._locate():
                break
        self._vanish()
        return None

    def _vanish(self) -> None:
        self.close()
        self.gone = True
        self.notify()
        raise MailboxNotFound("mailbox is gone")

    def _locate(self) -> bool:
        """
        Ask where the mailbox is now; whether that is another place.

        @raise MailboxNotFound: It is gone, and was closed because of that.
        """
        locate = self.services.locate
        if locate is None:
            return False
        before = self.paths
        try:
            paths = locate(self.unique_id)
        except MailboxNotFound:
            if self._fd < 0:
                # Asking told of it, and nobody has the mailbox open: what is under way for it ends here.
                raise
            return False
        # Asking may have told of the change, so that the paths are the new ones already.
        self.relocate(paths)
        return paths != before

    def relocate(self, paths: MailboxPaths) -> None:
        """The mailbox is in another place now."""
        if paths is self.paths or paths == self.paths:
            return
        self._name_files(paths)
        self._commit_to = []
        self.items.relocate(paths, self._header.cache_generation)
        self.texts.relocate(paths)

    def _name_files(self, paths: MailboxPaths) -> None:
        self.paths = paths
        self._journal = paths.journal
        self.written_rows = (str(paths.data), self._journal)
        self.written = (*self.written_rows, paths.cache, str(paths.meta))

    def _identify(self) -> None:
        status = files.fstat(self._fd)
        self._inode = (status.st_ino, status.st_dev)
        # It may lie on another file system than the one before.
        self._commit_to = []

    def _reload(self, reason: str) -> None:
        """Read everything anew; views that are in use stay what they were."""
        self.log.info("Mailbox {mailbox} is read anew: {reason}", mailbox=self.unique_id, reason=reason)
        loaded = load(self.paths)
        if loaded.header.unique_id != self.unique_id:
            files.close(loaded.fd)
            self._vanish()
        self._take(loaded)

    def _take(self, loaded: Loaded) -> None:
        files.close(self._fd)
        if loaded.header.cache_generation != self._header.cache_generation:
            self.items.relocate(self.paths, loaded.header.cache_generation)
        self._generations += self.contents.version + 1
        self.contents = loaded.contents
        self._fd, self._header, self._offset = loaded.fd, loaded.header, loaded.offset
        self._can_write = loaded.can_write
        self.upkeep.restart(loaded.snapshot_offset)
        self._renamed_seen = loaded.contents.renamed
        self._renamed_locked = -1
        self._reservations.restart(loaded.contents.usable)
        self._view = None
        self._identify()
        self._watch()
        self._listeners.tell_soon()

    def where_now(self, uid: int) -> str:
        """The path of a message beside the open journal, which the kernel follows while others rename directories."""
        if self._fd < 0 or self.paths.meta != self.paths.data:
            return self.paths.where(uid)
        return f"{Path(f'/proc/self/fd/{self._fd}').readlink().parent}/{uid}."

    # --- listeners --------------------------------------------------------

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """
        Tell C{listener} soon after each visible change that this process learns of.

        @return: Call it to stop.
        """
        return self._listeners.add(listener)

    def announce(self) -> None:
        """Tell what is durable now; it was told only to those who looked."""
        self._listeners.tell_soon()

    def notify(self) -> None:
        """Something outside the journal changed, such as rights."""
        self._listeners.tell_soon()

    def _watch(self) -> None:
        """Have the kernel tell of writes to the journal, as it is now, if anybody listens."""
        self._stop_watching()
        if len(self._listeners) and self.services.watcher is not None and self._fd >= 0:
            # By descriptor: the name may be another's by now.
            self._unwatch = self.services.watcher.add(f"/proc/self/fd/{self._fd}", self._touched)

    def _stop_watching(self) -> None:
        if self._unwatch is not None:
            self._unwatch()
            self._unwatch = None

    def _touched(self) -> None:
        try:
            self.refresh()
        except MailStoreError:
            # Each session finds out for itself.
            self._listeners.tell_soon()

    def close(self) -> None:
        """Give back the descriptors; nothing can be done with it after this."""
        self._stop_watching()
        if self._fd >= 0:
            files.close(self._fd)
            self._fd = -1
        self.items.close()
