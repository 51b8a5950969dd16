"""
Messages on their way into mailboxes, and message files.

A small message stays in memory until the first mailbox takes it, and is then
written straight to its place; a large one goes to a private file of the
partition as it arrives.  Further mailboxes get hard links.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
import secrets
import time
from pathlib import Path

from twisted.logger import Logger
from zope.interface import implementer

from pycyrus.errors import MailStoreError
from pycyrus.interfaces import IMessageFile, IStaged
from pycyrus.mime.summary import Summary, sent_at, summarise
from pycyrus.store import files
from pycyrus.store.cache import PackedItems
from pycyrus.store.files import store_error
from pycyrus.store.threads import StoreReactor, in_thread

_log = Logger()

IN_MEMORY = 64 * 1024
"""Messages up to this size, in octets, are not written before a mailbox takes them."""

_APART = 1 << 20
"""Octets of a message that are taken apart in a thread; fewer take about a millisecond."""

_NO_LINK = frozenset({errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP})
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_TRIES = 1000
_CERTAINLY_LOCKED = 60.0
"""Seconds after which a stage file's living owner has long locked it."""
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class Stage:
    """
    Where a partition receives messages.

    @param directory: C{<partition>/stage./}; made when it is missing.
    @param reactor: For threads that take large messages apart; None to have it done when they end.
    """

    def __init__(self, directory: Path, reactor: StoreReactor | None = None, *, in_memory: int = IN_MEMORY) -> None:
        self._directory = str(directory)
        self._reactor = reactor
        self._in_memory = in_memory

    def begin(self) -> StagedMessage:
        """Begin to receive a message; no file is made yet."""
        return StagedMessage(self._directory, self._in_memory, self._reactor)


@implementer(IStaged)
class StagedMessage:
    """
    A message being received.

    @ivar size: Octets so far.
    @ivar guid: SHA-1 of the octets; after L{finish}.
    @ivar sent: What the Date field says, as L{pycyrus.mime.summary.Summary} has it; after L{finish}.
    """

    __slots__ = (
        "_data", "_directory", "_fd", "_hash", "_in_memory", "_linked", "_packed", "_path", "_pieces", "_places",
        "_reactor", "_spoilt", "_summary", "guid", "sent", "size",
    )  # fmt: skip

    def __init__(self, directory: str, in_memory: int, reactor: StoreReactor | None = None) -> None:
        self.size = 0
        self.guid = b""
        self.sent: tuple[int, int] | None = None
        self._directory = directory
        self._in_memory = in_memory
        self._reactor = reactor
        self._pieces: list[bytes] = []
        self._data: bytes | None = None
        self._hash: hashlib._Hash | None = None
        self._packed: PackedItems | None = None
        self._summary: Summary | None = None
        self._places = 0
        self._fd = -1
        self._path = ""
        self._linked = ""
        self._spoilt: MailStoreError | None = None

    def write(self, data: bytes) -> None:
        """Add octets."""
        if self._spoilt is not None:
            raise self._spoilt
        if self._fd < 0:
            self._pieces.append(data)
            self.size += len(data)
            if self.size > self._in_memory:
                self._spill()
            return
        self._hash_of().update(data)
        self._put(data)
        self.size += len(data)

    def finish(self, *, is_shared: bool = False) -> None:
        """End the message: GUID and date; of one that is large, or for many mailboxes, the cached items, too."""
        if self._spoilt is not None:
            raise self._spoilt
        if self._fd < 0:
            data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            self._data = data
            self._pieces = []
            self.guid = hashlib.sha1(data, usedforsecurity=False).digest()
            if is_shared:
                self._summary = summarise(data)
                self.sent = self._summary.sent
            else:
                self.sent = sent_at(data)
            return
        self.guid = self._hash_of().digest()
        if self._summary is None:
            self._summary = self._take_apart(self._fd)
        self.sent = self._summary.sent

    async def ready(self) -> None:
        """Take a large message apart in a thread, which L{finish} would do here."""
        if self._spoilt is not None or self._reactor is None or self._fd < 0 or self.size < _APART:
            return
        # A descriptor of its own, for this one is closed if nobody waits any more.
        try:
            fd = os.dup(self._fd)
        except OSError as error:
            raise store_error(error, "staged message cannot be read") from error
        self._summary = await in_thread(self._reactor, self._take_apart_and_close, fd)

    def _take_apart_and_close(self, fd: int) -> Summary:
        try:
            return self._take_apart(fd)
        finally:
            files.close(fd)

    def _take_apart(self, fd: int) -> Summary:
        try:
            with mmap.mmap(fd, self.size, access=mmap.ACCESS_READ) as mapped:
                return summarise(mapped)
        except OSError as error:
            raise store_error(error, "staged message cannot be read") from error

    def read(self, offset: int, length: int) -> bytes:
        """Octets of a finished message, for those who look at it before it is delivered."""
        if self._data is not None:
            return self._data[offset : offset + length]
        try:
            return files.read_all(self._fd, min(length, max(self.size - offset, 0)), offset)
        except OSError as error:
            raise store_error(error, "staged message cannot be read") from error

    @property
    def path(self) -> str:
        """The stage file; empty while the message is in memory."""
        return self._path

    def place(self, path: str) -> None:
        """
        Make it a mailbox's file; nothing is synced.

        @param path: Must not exist.
        @raise OSError: It is not there; C{FileExistsError} if something else is.
        """
        self._places += 1
        source = self._linked or self._path
        if source:
            try:
                files.link(source, path, follow_symlinks=False)
                return
            except OSError as error:
                # Expunged meanwhile, renamed away, on another file system, or
                # too many links: then a copy it is.
                if error.errno not in _NO_LINK and error.errno != errno.ENOENT:
                    raise
        self._copy_to(path)
        self._linked = path

    def discard(self) -> None:
        """Remove the stage file."""
        self._pieces = []
        self._data = None
        if self._fd >= 0:
            try:
                files.unlink(self._path)
            except OSError as error:
                # The message may have been acknowledged: this is for the cleaner.
                _log.warn("Stage file {path} cannot be removed: {error}", path=self._path, error=error.strerror)
            finally:
                files.close(self._fd)
                self._fd = -1
                self._path = ""

    def items_may_wait(self) -> bool:
        """
        Whether the cached items have not been made, and no other mailbox could use them.

        What is for many is made once; each would have to make it later.
        """
        return self._summary is None and self._places <= 1

    def packed_items(self) -> PackedItems:
        """The cached items of a finished message, ready for cache records."""
        if self._packed is None:
            if self._summary is None:
                if self._data is None:
                    raise ValueError("the staged message is not finished")
                self._summary = summarise(self._data)
            self._packed = PackedItems.of(self._summary.items)
        return self._packed

    def _hash_of(self) -> hashlib._Hash:
        if self._hash is None:
            self._hash = hashlib.sha1(usedforsecurity=False)
        return self._hash

    def _copy_to(self, path: str) -> None:
        fd = files.open_file(path, _CREATE, files.PRIVATE)
        try:
            if self._data is not None:
                files.write_all(fd, self._data, 0)
            else:
                copy_octets(self._fd, fd, self.size)
        except OSError:
            files.unlink(path)
            raise
        finally:
            files.close(fd)

    def _spill(self) -> None:
        """Go on in a file."""
        try:
            self._open()
            data, self._pieces = b"".join(self._pieces), []
            self._hash_of().update(data)
            self.size = 0
            self._put(data)
            self.size = len(data)
        except OSError as error:
            self._spoilt = store_error(error, "stage file cannot be made")
            raise self._spoilt from error

    def _open(self) -> None:
        path = f"{self._directory}/{os.getpid()}-{secrets.token_hex(16)}"
        try:
            self._fd = files.open_file(path, _CREATE, files.PRIVATE)
        except FileNotFoundError:
            files.makedirs(self._directory, files.PRIVATE_DIRECTORY, exist_ok=True)
            self._fd = files.open_file(path, _CREATE, files.PRIVATE)
        self._path = path
        self._lock()

    def _lock(self) -> None:
        """Tell the cleaner that somebody lives who will finish this."""
        for _ in range(_TRIES):
            try:
                files.flock(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                # The cleaner looks at it just now, and finds our process id in the name.
                continue
            return

    def _put(self, data: bytes) -> None:
        try:
            files.write_all(self._fd, data, self.size)
        except OSError as error:
            self._spoilt = store_error(error, "stage file cannot be written")
            raise self._spoilt from error


def copy_octets(source: int, target: int, size: int) -> None:
    """
    Copy a file's octets, within the kernel where it can.

    @raise OSError: Or the source is shorter than C{size}.
    """
    offset = 0
    while offset < size:
        try:
            step = files.copy_file_range(source, target, size - offset, offset, offset)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
                raise
            data = files.pread(source, min(size - offset, 1 << 20), offset)
            step = files.write_all(target, data, offset) if data else 0
        if not step:
            raise OSError(errno.EIO, "file is shorter than it should be")
        offset += step


def place_copy(source: str, target: str) -> None:
    """
    Give another mailbox a message file: a link, or a copy where links do not reach.

    @raise OSError: It is not there; C{FileExistsError} if something else is.
    """
    try:
        files.link(source, target, follow_symlinks=False)
        return
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
    fd = files.open_file(source, _READ)
    try:
        out = files.open_file(target, _CREATE, files.PRIVATE)
        try:
            copy_octets(fd, out, files.fstat(fd).st_size)
        except OSError:
            files.unlink(target)
            raise
        finally:
            files.close(out)
    finally:
        files.close(fd)


@implementer(IMessageFile)
class MessageFile:
    """
    A message's octets, open for reading.

    @param path: Of C{<uid>.}
    @raise OSError: It cannot be opened.
    """

    __slots__ = ("_fd", "size")

    def __init__(self, path: str) -> None:
        self._fd = files.open_file(path, _READ)
        self.size = files.fstat(self._fd).st_size

    def read(self, offset: int, length: int) -> bytes:
        """Read a range; short at the end of the message."""
        try:
            return files.read_all(self._fd, min(length, max(self.size - offset, 0)), offset)
        except OSError as error:
            raise store_error(error, "message cannot be read") from error

    def fileno(self) -> int:
        """The descriptor, open until L{close}."""
        return self._fd

    def close(self) -> None:
        """Give the descriptor back."""
        if self._fd >= 0:
            files.close(self._fd)
            self._fd = -1


def clean_stage(directory: Path) -> int:
    """
    Remove stage files whose owners are gone; to be called at start.

    A living owner holds a lock on its file, and its process id is the name's
    first part for the moment before it has the lock.

    @return: How many were removed.
    """
    removed = 0
    try:
        names = files.listdir(directory)
    except FileNotFoundError:
        return 0
    except OSError as error:
        _log.error("Unfinished messages in {directory} are left: {error}", directory=str(directory), error=error)
        return 0
    for name in names:
        owner = name.partition("-")[0]
        path = f"{directory}/{name}"
        try:
            fd = files.open_file(path, _READ | os.O_NONBLOCK)
        except OSError:
            continue
        try:
            files.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            old = time.time() - files.fstat(fd).st_mtime > _CERTAINLY_LOCKED
            if old or not owner.isdigit() or int(owner) == os.getpid() or not Path(f"/proc/{owner}").exists():
                files.unlink(path)
                removed += 1
        except BlockingIOError:
            pass
        except OSError as error:
            _log.warn("Stage file {path} cannot be removed: {error}", path=path, error=error.strerror)
        finally:
            files.close(fd)
    if removed:
        _log.info("{count} unfinished messages removed from {directory}", count=removed, directory=str(directory))
    return removed
