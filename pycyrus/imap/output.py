"""What a session sends: held back so that it leaves together, and slowed down by a client that reads slowly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.logger import Logger

if TYPE_CHECKING:
    from pycyrus.imap.parts import Wire
    from pycyrus.interfaces import IMessageFile
    from pycyrus.net.splicing import Pipe

CORK_SIZE = 65_536
"""Octets held back to be sent together."""
COMPRESSED_PIECE = 262_144
"""Octets of a file handed to a compressed connection before the client has read what was sent."""
SMALL_FILE = 32_768
"""Shorter pieces of a file are read and joined with what is around them."""


class Output:
    """
    The way from a session to its client.

    Whoever writes outside of a command calls L{flush} in the end.
    """

    log = Logger()

    __slots__ = ("_drained", "_held", "_held_size", "_is_closing", "_is_writable", "_wire")

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._held: list[bytes] = []
        self._held_size = 0
        self._is_closing = False
        self._is_writable = True
        self._drained: Deferred[None] | None = None

    def write(self, data: bytes) -> None:
        """Send untagged lines or pieces of them; they leave together with what follows."""
        self._held.append(data)
        self._held_size += len(data)
        if self._held_size >= CORK_SIZE:
            self.flush()

    async def write_file(self, file: IMessageFile, offset: int, length: int) -> None:
        """
        Send a part of a message, in order with C{write}; the file may be closed afterwards.

        Returns when the client has read most of it.

        @raise StoreUnavailable: It could not be read.
        """
        # Nothing but the octets themselves can be compressed: a piece at a time, then.
        most = COMPRESSED_PIECE if self._wire.is_compressed else length
        stop = offset + length
        while offset < stop and not self._is_closing:
            self._write_piece(file, offset, min(most, stop - offset))
            offset += most
            await self.drain()

    def _write_piece(self, file: IMessageFile, offset: int, length: int) -> None:
        if length < SMALL_FILE:
            data = file.read(offset, length)
            if len(data) == length:
                self.write(data)
            else:
                # The length was told: what follows would be taken for it.
                self.log.error("a message file is shorter than its announced length")
                self.abort()
            return
        self.flush()
        if not self._is_closing:
            self._wire.send_file(file, offset, length)

    @property
    def can_splice(self) -> bool:
        """Whether L{send_pipe} works: octets reach the client as they are."""
        return self._wire.can_splice

    def send_pipe(self, pipe: Pipe, length: int) -> None:
        """
        Send what is in a pipe, in order with C{write}.

        L{drain} waits until nothing is in it any more, unless the session ends.
        """
        held = b"".join(self._held)
        self._held.clear()
        self._held_size = 0
        if not self._is_closing:
            self._wire.send_pipe(held, pipe, length)

    def flush(self) -> None:
        """Send what is held back."""
        if not self._held:
            return
        held = self._held
        data = held[0] if len(held) == 1 else b"".join(held)
        held.clear()
        self._held_size = 0
        if not self._is_closing:
            self._wire.send(data)

    async def drain(self) -> None:
        """Wait until the client has read most of what was sent."""
        if not self._is_writable:
            self.flush()
            self._drained = Deferred()
            await self._drained

    def _go_on_writing(self) -> bool:
        """
        The client has read most of what was sent.

        @return: Whether somebody waited for that.
        """
        self._is_writable = True
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.callback(None)
        return drained is not None

    def abort(self) -> None:
        """Cut the connection: what the client was told is wrong."""
        self._is_closing = True
        self._wire.abort()
