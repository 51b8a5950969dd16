"""A message that a client hands in, until the server it is for takes it."""

from __future__ import annotations

import tempfile
from typing import IO

from pycyrus.errors import StoreUnavailable

_IN_MEMORY = 262_144
"""Octets; what is larger goes to a file that has no name."""


class Spool:
    """
    Octets in memory, or in a file if they are many.

    Nothing was acknowledged: what is lost with the process, the client still has.
    """

    __slots__ = ("_file", "_pieces", "size")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._file: IO[bytes] | None = None
        self.size = 0

    def write(self, data: bytes) -> None:
        """
        Add octets.

        @raise StoreUnavailable: There is no room.
        """
        try:
            if self._file is None and self.size + len(data) > _IN_MEMORY:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by discard
                self._file.write(b"".join(self._pieces))
                self._pieces.clear()
            if self._file is None:
                self._pieces.append(data)
            else:
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
        if self._file is None:
            if len(self._pieces) != 1:
                self._pieces = [b"".join(self._pieces)]
            whole = self._pieces[0]
            if len(whole) != self.size:
                raise StoreUnavailable("a spooled message is gone")
            return whole if not offset and length >= len(whole) else whole[offset : offset + length]
        try:
            self._file.seek(offset)
            return self._file.read(length)
        except (OSError, ValueError) as error:
            raise StoreUnavailable("a spooled message cannot be read") from error

    def discard(self) -> None:
        """Remove it."""
        self._pieces.clear()
        if self._file is not None:
            self._file.close()
