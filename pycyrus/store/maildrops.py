"""
Maildrops that one POP3 session at a time has.

A small file for each, held by C{flock}, so that a process that dies lets go.  It
also says until when its sessions are paid for, which is all that a limit on
their number in a time needs; and its time is that of the last session's beginning.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path

from zope.interface import implementer

from pycyrus.errors import StoreUnavailable
from pycyrus.interfaces import IMaildropClaims, LoginTooSoon
from pycyrus.store import files
from pycyrus.store.files import store_error

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_PAID = struct.Struct("<d")
_NAMES = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_")


CLAIMS = "pop3"
"""The directory of these files, below C{configdirectory}."""


def last_claim(directory: Path, unique_id: str) -> float | None:
    """When the last session of a maildrop began, in seconds since the epoch; None if that is not known."""
    try:
        return os.stat(_path(directory, unique_id)).st_mtime  # noqa: PTH116 - a str it is
    except OSError:
        return None


def _path(directory: Path, unique_id: str) -> str:
    return f"{directory}/{unique_id[:2]}/{unique_id}"


@implementer(IMaildropClaims)
class MaildropClaims:
    """Claims by files below a directory, which is made when it is needed."""

    def __init__(self, directory: Path, clock: Callable[[], float] = time.time) -> None:
        """@param clock: Seconds since the epoch, for all processes alike."""
        self._directory = directory
        self._clock = clock

    def claim(self, unique_id: str, delay: float, burst: int) -> Callable[[], None] | None:
        """See L{IMaildropClaims}."""
        if not unique_id or not set(unique_id) <= _NAMES:
            raise StoreUnavailable("a unique id that is no file name")
        try:
            fd = self._open(unique_id)
        except OSError as error:
            raise store_error(error, "maildrop cannot be claimed") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if delay > 0:
                self._pay(fd, delay, burst)
            now = self._clock()
            os.utime(fd, (now, now))
        except BlockingIOError:
            os.close(fd)
            return None
        except OSError as error:
            os.close(fd)
            raise store_error(error, "maildrop cannot be claimed") from error
        except LoginTooSoon:
            os.close(fd)
            raise

        def release() -> None:
            os.close(fd)

        return release

    def _open(self, unique_id: str) -> int:
        path = _path(self._directory, unique_id)
        try:
            return os.open(path, _FLAGS, files.PRIVATE)
        except FileNotFoundError:
            Path(path).parent.mkdir(mode=files.PRIVATE_DIRECTORY, parents=True, exist_ok=True)
            return os.open(path, _FLAGS, files.PRIVATE)

    def _pay(self, fd: int, delay: float, burst: int) -> None:
        now = self._clock()
        octets = os.pread(fd, _PAID.size, 0)
        paid = _PAID.unpack(octets)[0] if len(octets) == _PAID.size else 0.0
        most = now + delay * max(burst, 1)
        if paid > most:
            # The clock was set back: nobody is to wait longer for that.
            paid = most
            os.pwrite(fd, _PAID.pack(paid), 0)
        if paid > most - delay:
            raise LoginTooSoon
        os.pwrite(fd, _PAID.pack(max(paid, now) + delay), 0)
