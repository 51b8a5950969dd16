"""Which of a server's processes does what only one may do."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

TRY_EVERY = 1.0
"""Seconds after which others try again."""


class Turn:
    """A lock, held until it is given back or the process dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    @property
    def is_ours(self) -> bool:
        """Whether this process has it."""
        return self._fd >= 0

    def take(self) -> bool:
        """Try to have it; does not wait."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        self._fd = fd
        return True

    def give_back(self) -> None:
        """Let another have it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
