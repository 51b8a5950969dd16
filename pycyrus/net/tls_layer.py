"""What stands between a lean connection and its TLS."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol

from pycyrus.net.sending import SendingConnection


class BelowTLS:
    """
    The connection as the TLS layer sees it: without the TLS layer.

    Everything that is not listed here is the connection's own.  Its names are
    those of Twisted's transports.
    """

    def __init__(self, connection: SendingConnection) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def write(self, data: bytes) -> None:
        """Send octets that are encrypted."""
        self._connection._send(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:  # noqa: N802
        """Likewise."""
        self._connection._send(b"".join(data))

    def loseConnection(self) -> None:  # noqa: N802
        """Close the socket, when all is sent."""
        FileDescriptor.loseConnection(self._connection)

    def registerProducer(self, producer: Any, streaming: bool) -> None:  # noqa: N802
        """Of C{ITransport}, for the layer itself."""
        FileDescriptor.registerProducer(self._connection, producer, streaming)

    def unregisterProducer(self) -> None:  # noqa: N802
        """Likewise."""
        FileDescriptor.unregisterProducer(self._connection)


class TLSLayers(TLSMemoryBIOFactory):
    """
    Makes TLS layers that encrypt at once.

    Twisted's default collects small writes until the next turn of the reactor;
    the cork does that here, without the wait.
    """

    protocol = TLSMemoryBIOProtocol
