"""
A few shared octets that change whenever something else did.

A process that changed a database writes a random number here; the others
compare it before they trust what they remember, which costs no system call.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from pycyrus.store import files

_SIZE = 8


class Signal:
    """
    One such number, in a file that all processes map.

    @raise OSError: The file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = files.open_file(str(path), flags, files.PRIVATE)
        try:
            if files.fstat(fd).st_size < _SIZE:
                files.ftruncate(fd, _SIZE)
            self._map = mmap.mmap(fd, _SIZE)
            self._number = memoryview(self._map).cast("Q")
        finally:
            files.close(fd)

    def value(self) -> int:
        """The number."""
        return self._number[0]

    def change(self) -> None:
        """Make it another; may be called on any thread."""
        self._map[:_SIZE] = os.urandom(_SIZE)

    def close(self) -> None:
        """Give the mapping back."""
        self._number.release()
        self._map.close()
