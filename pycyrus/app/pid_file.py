"""The pid file of a master, locked while it runs, as Cyrus's is."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class PidFileTaken(Exception):
    """Another process has it; the text is its process id."""


class PidFile:
    """
    A file with our process id.

    The lock is what counts: a file that nobody has locked is left over, and is
    written anew.
    """

    def __init__(self, path: Path) -> None:
        """
        @raise PidFileTaken: A living process has it.
        @raise OSError: It cannot be written.
        """
        self._path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            other = os.read(self._fd, 32).decode("ascii", "replace").strip()
            os.close(self._fd)
            raise PidFileTaken(other) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode("ascii"), 0)

    def remove(self) -> None:
        """Take it away; where its directory is not ours, it is left behind empty."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError:
            os.ftruncate(self._fd, 0)
        os.close(self._fd)
