"""A message that a client hands in, until the server it is for takes it."""

from __future__ import annotations

import tempfile

from pycyrus.errors import StoreUnavailable

_IN_MEMORY = 262_144
"""Octets; what is larger goes to a file that has no name."""


class Spool:
    """
    Octets in memory, or in a file if they are many.

    Nothing was acknowledged: what is lost with the process, the client still has.
    """

    __slots__ = ("_file", "size")

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - closed by discard
        self.size = 0

    def write(self, data: bytes) -> None:
        """
        Add octets.

        @raise StoreUnavailable: There is no room.
        """
        try:
            self._file.write(data)
        except OSError as error:
            raise StoreUnavailable("a message cannot be spooled") from error
        self.size += len(data)

    def finish(self) -> None:
        """End the message."""

    def read(self, offset: int, length: int) -> bytes:
        """
        Read a range.

        @raise StoreUnavailable: It cannot be read.
        """
        try:
            self._file.seek(offset)
            return self._file.read(length)
        except (OSError, ValueError) as error:
            raise StoreUnavailable("a spooled message cannot be read") from error

    def discard(self) -> None:
        """Remove it."""
        self._file.close()
