"""The connection of a client of L{pycyrus.testing.stress}: responses in, octets out, perhaps compressed."""

from __future__ import annotations

import re
import socket
import ssl
import zlib
from typing import NamedTuple

_LITERAL = re.compile(rb"\{(\d+)\}\r\n\Z")
_PIECE = 1 << 16


class Disconnected(Exception):
    """The server closed the connection."""


class TlsAddress(NamedTuple):
    """Where TLS begins at once; whose certificate that is does not matter."""

    host: str
    port: int


class Wire:
    """A blocking connection to an IMAP server."""

    def __init__(self, address: tuple[str, int]) -> None:
        """Connect."""
        self._socket = socket.create_connection(address, 60)
        if isinstance(address, TlsAddress):
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self._socket = context.wrap_socket(self._socket)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._heard = bytearray()
        self._deflate: zlib._Compress | None = None
        self._inflate: zlib._Decompress | None = None

    def port(self) -> int:
        """Of this end."""
        port: int = self._socket.getsockname()[1]
        return port

    def compress(self) -> None:
        """Go on in raw deflate (RFC 4978), after the server agreed."""
        self._deflate = zlib.compressobj(wbits=-15)
        self._inflate = zlib.decompressobj(wbits=-15)

    def send(self, data: bytes) -> None:
        """Send all of it."""
        if self._deflate is not None:
            data = self._deflate.compress(data) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        self._socket.sendall(data)

    def _hear(self) -> None:
        data = self._socket.recv(_PIECE)
        if not data:
            raise Disconnected
        self._heard += data if self._inflate is None else self._inflate.decompress(data)

    def line(self) -> bytes:
        """
        One response with its literals.

        @raise Disconnected: The server hung up.
        """
        whole = b""
        while True:
            line = self._take_line()
            whole += line
            literal = _LITERAL.search(line)
            if literal is None:
                return whole
            whole += self._take(int(literal[1]))

    def _take_line(self) -> bytes:
        looked = 0
        while True:
            end = self._heard.find(b"\n", looked) + 1
            if end:
                return self._take(end)
            looked = len(self._heard)
            self._hear()

    def _take(self, count: int) -> bytes:
        while len(self._heard) < count:
            self._hear()
        taken = bytes(self._heard[:count])
        del self._heard[:count]
        return taken

    def close(self) -> None:
        """Hang up."""
        self._socket.close()
