"""Parts of files on their way to a socket."""

from __future__ import annotations

import errno
import os


class FileRegion:
    """
    A part of a file, waiting to be sent.

    @ivar fd: Our own descriptor, closed when the region was sent or dropped.
    """

    __slots__ = ("copied", "fd", "length", "offset")

    def __init__(self, fd: int, offset: int, length: int) -> None:
        self.fd = fd
        self.offset = offset
        self.length = length
        self.copied = False

    def send_to(self, socket_fd: int, most: int) -> int:
        """
        Have the kernel send from its beginning; L{advance} is called by who counts.

        @return: Octets sent; 0 if the file ends here.
        @raise OSError: As C{os.sendfile}.
        """
        return os.sendfile(socket_fd, self.fd, self.offset, most)

    def read(self, most: int) -> bytes:
        """
        Read from its beginning.

        @raise OSError: It cannot be read, or the file ends here.
        """
        return read_region(self.fd, self.offset, most)

    def advance(self, count: int) -> None:
        """Forget what was sent."""
        self.offset += count
        self.length -= count

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.fd)


def read_region(fd: int, offset: int, length: int) -> bytes:
    """
    Read a range that must be there.

    @raise OSError: It cannot be read, or the file ends within it.
    """
    data = os.pread(fd, length, offset)
    if not data:
        raise OSError(errno.ENODATA, "file ends before the announced length")
    return data
