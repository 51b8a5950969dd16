"""Which processes live: each holds a lock on an octet of a file, that the kernel takes away when it dies."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import struct
from pathlib import Path

_FLOCK = "hhqqi4x"
"""C{struct flock}: type, whence, start, length, pid."""
_HIGHEST = 2**31 - 1


class Owners:
    """
    One process among those that use the same file.

    @ivar number: Ours; nobody else who lives has it.
    @raise OSError: The file cannot be opened or locked.
    """

    def __init__(self, path: Path) -> None:
        # Locks of an open file description: unlike others they are not lost when
        # the process closes the file somewhere else.
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while True:
                self.number = random.SystemRandom().randint(1, _HIGHEST)
                if self._lock():
                    break
        except BaseException:
            os.close(self._fd)
            raise

    def _lock(self) -> bool:
        try:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _flock(fcntl.F_WRLCK, self.number))
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            raise
        return True

    def is_alive(self, number: int) -> bool:
        """Whether somebody has a number."""
        if number == self.number:
            return True
        answer = fcntl.fcntl(self._fd, fcntl.F_OFD_GETLK, _flock(fcntl.F_WRLCK, number))
        kind: int = struct.unpack(_FLOCK, answer)[0]
        return kind != fcntl.F_UNLCK

    def close(self) -> None:
        """Give the number back."""
        os.close(self._fd)


def _flock(kind: int, start: int) -> bytes:
    return struct.pack(_FLOCK, kind, os.SEEK_SET, start, 1, 0)
