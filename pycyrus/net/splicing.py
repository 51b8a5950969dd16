"""
Octets on their way from one socket to another, which no process looks at.

They wait in a pipe of the kernel's, which has references to them and no copies (splice(2)).  A pipe is
filled from one socket, emptied into the other, and only then filled again: so it needs
no more memory than what the socket would have held back, and who reads slowly slows down who sends.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from typing_extensions import override

from pycyrus.net.file_region import FileRegion

SPLICED = 65_536
"""Octets from which on it pays."""
_SIZE = 1 << 20
"""Octets that a pipe should hold: what any user may have (/proc/sys/fs/pipe-max-size)."""
_MOST_KEPT = 4
_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK


class Pipe:
    """
    A pipe.

    @ivar held: Octets in it.
    """

    __slots__ = ("_read_end", "_write_end", "held")

    def __init__(self) -> None:
        """@raise OSError: Out of descriptors."""
        self.held = 0
        self._read_end, self._write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # A user who has many of them already gets a small one, which does as well, in more turns.
        with suppress(OSError):
            fcntl.fcntl(self._write_end, fcntl.F_SETPIPE_SZ, _SIZE)

    def fill(self, socket_fd: int, most: int) -> int:
        """
        Take what has come.

        @return: Octets; 0 at the end of the stream.
        @raise OSError: As C{os.splice}; C{BlockingIOError} if nothing came, or there is no room.
        """
        count = os.splice(socket_fd, self._write_end, min(most, _SIZE), flags=_FLAGS)
        self.held += count
        return count

    def empty(self, socket_fd: int, most: int) -> int:
        """
        Send what is in it.

        @return: Octets.
        @raise OSError: As C{os.splice}.
        """
        count = os.splice(self._read_end, socket_fd, most, flags=_FLAGS)
        self.held -= count
        return count

    def read(self, most: int) -> bytes:
        """
        Take octets out of it.

        @raise OSError: As C{os.read}.
        """
        data = os.read(self._read_end, most)
        self.held -= len(data)
        return data

    def close(self) -> None:
        """Give the descriptors back, and what is in it."""
        os.close(self._read_end)
        os.close(self._write_end)


class PipeRegion(FileRegion):
    """What is in a pipe, waiting to be sent as a part of a file does."""

    __slots__ = ("_pipe",)

    def __init__(self, pipe: Pipe, length: int) -> None:
        super().__init__(-1, 0, length)
        self._pipe = pipe

    @override
    def send_to(self, socket_fd: int, most: int) -> int:
        return self._pipe.empty(socket_fd, most)

    @override
    def read(self, most: int) -> bytes:
        return self._pipe.read(most)

    @override
    def close(self) -> None:
        """The pipe is whose who filled it."""


class Pipes:
    """
    Pipes for whoever needs one.

    @ivar most: At a time, for each is two descriptors; who gets none copies.
    @ivar borrowed_count: How many are in use.
    """

    def __init__(self, most: int = 32) -> None:
        self.most = most
        self.borrowed_count = 0
        self._kept: list[Pipe] = []

    @contextmanager
    def borrowed(self) -> Iterator[Pipe | None]:
        """A pipe with nothing in it; None where there are too many."""
        pipe = self._take()
        if pipe is None:
            yield None
            return
        self.borrowed_count += 1
        try:
            yield pipe
        finally:
            self.borrowed_count -= 1
            if pipe.held or len(self._kept) >= _MOST_KEPT:
                pipe.close()
            else:
                self._kept.append(pipe)

    def _take(self) -> Pipe | None:
        if self.borrowed_count >= self.most:
            return None
        try:
            return self._kept.pop() if self._kept else Pipe()
        except OSError:
            return None


PIPES = Pipes()
"""Those of this process."""
