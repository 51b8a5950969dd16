"""
A connection that sends at once, reads lean, and hands files to the kernel.

Twisted's own transport queues each write and waits for the next turn of the
reactor, which is two thirds of the cost of a short command.  This one stays an
ordinary Twisted transport (producers, half-close, STARTTLS, abort), and adds
C{send_file} and C{cork}.  It knows no protocol.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet import main
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import (
    IOpenSSLServerConnectionCreator,
    IProtocol,
    IReactorFDSet,
    ISSLTransport,
)
from twisted.internet.tcp import Connection, Server
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import directlyProvides

from pycyrus.net.file_region import FileRegion, read_region
from pycyrus.net.sending import CORK_SIZE, READ_SIZE, SendingConnection
from pycyrus.net.tls_layer import BelowTLS, TLSLayers

if TYPE_CHECKING:
    from pycyrus.net.keepalive import Keepalive

FILE_SIZE = 32768
"""Below this length, reading a file region and joining it to its neighbours is as good as sendfile."""

# One for all connections: it is emptied before another one reads.
_view = memoryview(bytearray(READ_SIZE))


class ServingPort(Protocol):
    """
    What a connection must know of the port at which it arrived.

    @ivar connection_prefix: The prefix of log lines.
    @ivar address_type: Of the addresses at both ends.
    @ivar own_address: Where all connections arrive; None where that is each one's own, or has no number.
    @ivar keepalive: None to leave it off.
    @ivar tls: What begins TLS at once; None for later, or never.
    """

    connection_prefix: str
    own_address: IPv4Address | IPv6Address | None
    keepalive: Keepalive | None
    tls: IOpenSSLServerConnectionCreator | None

    @property
    def address_type(self) -> type[IPv4Address | IPv6Address]:
        """See above."""

    def opened(self) -> None:
        """There is one connection more."""

    def closed(self) -> None:
        """There is one less."""


class LeanConnection(SendingConnection):
    """
    The server's side of a TCP connection.

    Writes made while received data is handled leave together, when the handling
    ends; others leave at once.  What the kernel does not take is queued, in
    order, be it octets or regions of files.

    With TLS there are two queues: C{_clear}, for what still must be encrypted
    (it fills only while the connection is corked, or behind a file region), and
    C{_queue}, for what goes to the socket.  Protocols see the same transport
    before and after C{startTLS}.
    """

    log = Logger()

    _view = _view
    _layer: TLSMemoryBIOProtocol | None = None
    _closing = False
    _is_reading = _leaving = False
    _counted = False
    _own_address: IPv4Address | IPv6Address | None = None

    def __init__(
        self,
        sock: socket.socket,
        protocol: IProtocol,
        client: tuple[object, ...],
        server: ServingPort,
        sessionno: int,
        reactor: IReactorFDSet,
    ) -> None:
        # Not Server's: it builds two strings per connection that only logs would read.
        Connection.__init__(self, sock, protocol, reactor)
        self._queue = []
        self.server = server  # type: ignore[assignment] # Twisted would have one of its own
        self.client = client
        self.sessionno = sessionno
        self.hostname = client[0]
        self.logstr = server.connection_prefix
        self._addressType = server.address_type
        self._own_address = server.own_address
        if server.keepalive is not None:
            self._keep_alive(sock, server.keepalive)
        self.connected = 1
        self._counted = True
        self._port = server
        server.opened()
        self.startReading()
        if server.tls is not None:
            self.startTLS(server.tls)

    def _keep_alive(self, sock: socket.socket, keepalive: Keepalive) -> None:
        # The client may be gone already, and the socket with it: reading will tell.
        try:
            keepalive.apply(sock)
        except OSError as error:
            self.log.debug("socket options were not set: {error}", error=error)

    @override
    def getHost(self) -> IPv4Address | IPv6Address | UNIXAddress:
        own: IPv4Address | IPv6Address | UNIXAddress = self._own_address or super().getHost()  # type: ignore[no-untyped-call] # Twisted's
        return own

    @override
    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.sessionno} from {self.hostname}>"

    # --- reading ------------------------------------------------------------

    @override
    def startReading(self) -> None:
        self.reactor.addReader(self)

    @override
    def doRead(self) -> Any:
        try:
            count = self.socket.recv_into(self._view)
        except BlockingIOError:
            return None
        except OSError:
            return main.CONNECTION_LOST
        if not count:
            return main.CONNECTION_DONE
        self._corks += 1
        self._is_reading = True
        try:
            self.protocol.dataReceived(self._view[:count].tobytes())
        finally:
            self._is_reading = False
            self.uncork()
        if self._leaving:
            self._leave()
        return None

    # --- writing ------------------------------------------------------------

    @override
    def write(self, data: bytes) -> None:
        if self._layer is None:
            self._send(data)
        elif not self.connected or not data:
            pass
        elif self._corks or self._clear:
            self._hold(data, len(data))
        else:
            self._layer.write(data)

    @override
    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        self.write(b"".join(iovec))

    def send_file(self, fd: int, offset: int, length: int) -> None:
        """
        Send a part of a file, in order with what is written.

        The caller may close its descriptor when this returns.  If the file
        cannot be read as far as promised, the connection is aborted: the client
        was told the length already.

        @param fd: Of a regular file.
        @param offset: Octets from its beginning.
        @param length: Octets to send.
        @raise OSError: Out of file descriptors.
        """
        if length <= 0 or not self.connected or self._writeDisconnected:
            return
        if length < FILE_SIZE:
            self._send_small(fd, offset, length)
            return
        region = FileRegion(os.dup(fd), offset, length)
        if self._layer is not None:
            self._hold(region, length)
            return
        self._queue.append(region)
        self._queued += length
        if not self._corks or self._queued >= CORK_SIZE:
            self._flush()
        self._maybePauseProducer()

    @property
    def can_splice(self) -> bool:
        """Whether octets go to and fro as they are."""
        return self._layer is None

    def _send_small(self, fd: int, offset: int, length: int) -> None:
        while length:
            try:
                data = read_region(fd, offset, length)
            except OSError as error:
                self._file_failed(error)
                return
            self.write(data)
            offset += len(data)
            length -= len(data)

    # --- TLS ----------------------------------------------------------------

    @override
    def startTLS(self, ctx: IOpenSSLServerConnectionCreator, normal: bool = True) -> None:
        """
        Put TLS between the protocol and the socket.

        What was written before leaves in the clear, in order.  What the client
        sent before it may begin TLS is the protocol's to discard: it was
        received already, and never reaches the TLS layer.

        @param ctx: Makes the TLS connections, such as a
            L{pycyrus.net.tls.ServerContext}.
        @param normal: False to be the TLS client.
        """
        producer, streaming = self.producer, self.streamingProducer
        if producer is not None:
            Server.unregisterProducer(self)
        layer = TLSMemoryBIOProtocol(TLSLayers(ctx, not normal, None, self.reactor), self.protocol, False)  # type: ignore[arg-type] # wraps a protocol, not a factory
        self.protocol = self._layer = layer
        self.getHandle = layer.getHandle  # type: ignore[method-assign] # as ISSLTransport wants it
        self.getPeerCertificate = layer.getPeerCertificate
        directlyProvides(self, ISSLTransport)
        self.TLS = True
        self._clear = []
        layer.makeConnection(BelowTLS(self))
        if producer is not None:
            Server.registerProducer(self, producer, streaming)

    def client_certificate(self) -> bytes | None:
        """The certificate that the client showed, verified by the TLS context, as DER; None if it showed none."""
        if self._layer is None:
            return None
        certificate = self._layer.getHandle().get_peer_certificate(as_cryptography=True)
        return None if certificate is None else certificate.public_bytes(Encoding.DER)

    def _hold(self, item: bytes | memoryview | FileRegion, size: int) -> None:
        """Queue something that must be encrypted."""
        if self._clear is None or (self._closing and self.producer is None):
            if isinstance(item, FileRegion):
                item.close()
            return
        self._clear.append(item)
        self._clear_octets += size
        if not self._corks or self._clear_octets >= CORK_SIZE:
            self._encrypt()
            self._flush()
        self._maybePauseProducer()

    @override
    def _encrypt(self) -> None:
        """Encrypt what waits for it, as long as the queue is short."""
        clear, layer = self._clear, self._layer
        assert clear is not None
        assert layer is not None
        self._corks += 1
        try:
            while clear and self._queued < CORK_SIZE and self.connected:
                first = clear[0]
                if isinstance(first, FileRegion):
                    data = self._read_clear(first)
                else:
                    pieces = [first]
                    for piece in clear[1:]:
                        if isinstance(piece, FileRegion):
                            break
                        pieces.append(piece)
                    data = b"".join(pieces)
                    del clear[: len(pieces)]
                self._clear_octets -= len(data)
                layer.write(data)
        finally:
            self._corks -= 1
        if self._closing and not clear and self.connected:
            layer.loseConnection()

    def _read_clear(self, region: FileRegion) -> bytes:
        try:
            data = region.read(min(region.length, READ_SIZE))
        except OSError as error:
            self._file_failed(error)
            return b""
        region.advance(len(data))
        if not region.length:
            region.close()
            assert self._clear is not None
            del self._clear[0]
        return data

    # --- the end ------------------------------------------------------------

    @override
    def loseConnection(self) -> None:
        if self._layer is not None and self.connected and self._layer.getHandle().get_peer_finished() is None:
            # The TLS layer would wait for the end of a handshake, to encrypt
            # what was written; a client that is sent away may never end it.
            Server.abortConnection(self)
        elif self._clear:
            # As soon as all is encrypted.
            self._closing = True
        elif self._is_reading and self._layer is None:
            # When what was said meanwhile has been sent.
            self._leaving = True
        else:
            Server.loseConnection(self)

    def _leave(self) -> None:
        """Close at once if all was sent, as it is after most farewells: that saves a turn of the reactor."""
        self._leaving = False
        if self._aborting:
            return
        if not self.connected or self._queued or self.producer is not None:
            Server.loseConnection(self)
        else:
            self.disconnecting = True
            self.connectionLost(Failure(main.CONNECTION_DONE))

    @override
    def connectionLost(self, reason: Failure) -> None:
        for waiting in (self._queue, self._clear or []):
            for item in waiting:
                if isinstance(item, FileRegion):
                    item.close()
            waiting.clear()
        self._queued = self._clear_octets = 0
        if self._counted:
            self._counted = False
            self._port.closed()
        super().connectionLost(reason)
        self._layer = None
