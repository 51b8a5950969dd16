"""
The system calls of the message store, in one place.

Everything in the store that touches the disk calls through this module's
names, so that L{pycyrus.testing.faults} can fail, count or cut any of them.
The names are the plain functions of C{os}: the layer costs nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import functools
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from pycyrus.errors import StoreFull, StoreUnavailable

close = os.close
copy_file_range = os.copy_file_range
fdatasync = os.fdatasync
flock = fcntl.flock
fstat = os.fstat
fstatvfs = os.fstatvfs
fsync = os.fsync
ftruncate = os.ftruncate
link = os.link
listdir = os.listdir
makedirs = os.makedirs
mkdir = os.mkdir
open_file = os.open
pread = os.pread
pwrite = os.pwrite
removexattr = os.removexattr
rename = os.rename
rmdir = os.rmdir
stat = os.stat
unlink = os.unlink
write = os.write

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

PRIVATE = 0o600
PRIVATE_DIRECTORY = 0o700

_GET_FLAGS, _SET_FLAGS = 0x80086601, 0x40086602
"""FS_IOC_GETFLAGS and FS_IOC_SETFLAGS, as most processors have them."""
_TOP_DIRECTORY = 0x00020000
"""FS_TOPDIR_FL"""

_libc = ctypes.CDLL(None, use_errno=True)
_syncfs = getattr(_libc, "syncfs", None)

have_syncfs = _syncfs is not None

_NO_ATTRIBUTE = "user.pycyrus.none"
_ABANDONED = (errno.EROFS, errno.EIO)
_names_in_use: set[str] = set()
_naming = threading.Lock()


def syncfs(fd: int) -> None:
    """
    Make a whole file system durable; releases the interpreter meanwhile.

    @param fd: Any descriptor on it.  Write errors are told once per open
        file description, so the caller must always use the same one.
    @raise OSError: Something could not be written.
    """
    if _syncfs is None:
        os.sync()
    elif _syncfs(fd) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    refuse_abandoned(fd)


def refuse_abandoned(fd: int) -> None:
    """
    Look after a sync whether it can have done what it was asked for.

    A file system that gave up writing after an error (ext4 before Linux 6.12, btrfs) says that all is well
    when it is synced, and what was written before that never gets to the disk.  One whose journal failed a
    moment ago (ext4) says so too, and is not read-only before somebody begins to change something.  Taking
    away an attribute that is not there is the least that begins.

    @param fd: Any descriptor on it, of a file or directory.
    @raise OSError: It writes no more.
    """
    refuse_read_only(fd)
    try:
        removexattr(fd, _NO_ATTRIBUTE)
    except OSError as error:
        if error.errno in _ABANDONED:
            raise


def refuse_read_only(fd: int) -> None:
    """
    Look whether a file system allows no writing.

    @raise OSError: It is read-only.
    """
    if fstatvfs(fd).f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def spread_below(directory: Path) -> None:
    """
    Have directories that will be made in this one lie far from each other, where the file system can (ext4).

    What is removed from one then does not slow down who makes files in another: ext4 keeps off the inodes
    of removed files for minutes, and looks at each of them whenever it needs one of the same group.
    """
    flags = bytearray(8)
    with contextlib.suppress(OSError):
        fd = open_file(str(directory), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(fd, _GET_FLAGS, flags)
            flags[:4] = (int.from_bytes(flags[:4], sys.byteorder) | _TOP_DIRECTORY).to_bytes(4, sys.byteorder)
            fcntl.ioctl(fd, _SET_FLAGS, flags)
        finally:
            close(fd)


def store_error(error: OSError, doing: str) -> StoreUnavailable:
    """The domain's word for an error of the operating system."""
    kind = StoreFull if error.errno in _FULL else StoreUnavailable
    return kind(f"{doing}: {error.strerror}")


@functools.cache
def boot_id() -> bytes:
    """What tells one run of the kernel from the next, as 16 octets; zeros where unknown."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_bytes().decode("ascii")
        return bytes.fromhex(text.strip().replace("-", ""))
    except (OSError, ValueError):
        return bytes(16)


def write_all(fd: int, data: bytes | bytearray | memoryview, offset: int) -> int:
    """
    Write at an offset until all is written or an error says no.

    @return: How many octets were written; short without an error never happens.
    @raise OSError: With the attribute C{written}, how many octets went before.
    """
    done = pwrite(fd, data, offset)
    total = len(data)
    while done < total:
        try:
            step = pwrite(fd, memoryview(data)[done:], offset + done)
        except OSError as error:
            error.written = done  # type: ignore[attr-defined] # told to the one caller that mends it
            raise
        done += step
    return done


def read_all(fd: int, length: int, offset: int) -> bytes:
    """Read a range; short only at the end of the file."""
    data = pread(fd, length, offset)
    if len(data) == length or not data:
        return data
    pieces = [data]
    got = len(data)
    while got < length:
        piece = pread(fd, length - got, offset + got)
        if not piece:
            break
        pieces.append(piece)
        got += len(piece)
    return b"".join(pieces)


@contextlib.contextmanager
def temporary_name(path: str) -> Iterator[str]:
    """
    A name beside a file, for one that is to take its place.

    Nobody else has it meanwhile: no other process, and no other thread of this one.  After somebody was killed
    the next process of that number takes it again, so that few are left.
    """
    name = f"{path}.new.{os.getpid()}"
    with _naming:
        number = 0
        while name in _names_in_use:
            number += 1
            name = f"{path}.new.{os.getpid()}.{number}"
        _names_in_use.add(name)
    try:
        yield name
    finally:
        with _naming:
            _names_in_use.discard(name)


def replace_file(path: str, data: bytes | bytearray | memoryview, *, sync: bool) -> None:
    """
    Put a whole file in place of another, so that readers see the one or the other.

    @param sync: Make it durable, its name too, before returning.
    @raise OSError: The old file is still there.
    """
    with temporary_name(path) as temporary:
        fd = open_file(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE)
        try:
            try:
                write_all(fd, data, 0)
                if sync:
                    fdatasync(fd)
            finally:
                close(fd)
            rename(temporary, path)
        except OSError:
            with contextlib.suppress(OSError):
                unlink(temporary)
            raise
    if sync:
        sync_directory(str(Path(path).parent))


def unlink_all(paths: Iterable[str]) -> None:
    """Remove files that no record tells of; what cannot be removed is found by recovery, or by the next expiry."""
    for path in paths:
        with contextlib.suppress(OSError):
            unlink(path)


def sync_directory(path: str) -> None:
    """Make the names in a directory durable."""
    fd = open_file(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fsync(fd)
        refuse_abandoned(fd)
    finally:
        close(fd)
