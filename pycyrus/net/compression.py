"""A connection's octets in raw DEFLATE, both ways (RFC 4978)."""

from __future__ import annotations

import zlib

_RAW = -zlib.MAX_WBITS
_LEVEL = 1
"""Text shrinks nearly as well as with more, at a third of the time."""
PIECE = 65_536
"""Octets that come out of L{Deflate.next_piece} at most: what a few octets grow to is not held at once."""


class Deflate:
    """The two streams of one connection."""

    __slots__ = ("_in", "_out", "_tail")

    def __init__(self) -> None:
        self._in = zlib.decompressobj(_RAW)
        self._out = zlib.compressobj(_LEVEL, zlib.DEFLATED, _RAW)
        self._tail = b""

    def compress(self, data: bytes) -> bytes:
        """What to send for these octets; the other side has them all with it (RFC 4978 section 4)."""
        return self._out.compress(data) + self._out.flush(zlib.Z_SYNC_FLUSH)

    def feed(self, data: bytes) -> None:
        """Take what came."""
        self._tail += data

    def next_piece(self) -> bytes:
        """
        Some of what came; empty if there is no more for now.

        @raise ValueError: This is no DEFLATE stream, or it has ended.
        """
        try:
            data = self._in.decompress(self._tail, PIECE)
        except zlib.error as error:
            raise ValueError(str(error)) from None
        self._tail = self._in.unconsumed_tail
        if self._in.eof:
            raise ValueError("the stream has ended")
        return data
