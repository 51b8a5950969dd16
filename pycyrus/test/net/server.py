"""A lean server and blocking clients in threads, on the loopback interface."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from pycyrus.net import transport

T = TypeVar("T")


class Recorder(Protocol):
    """Keeps what it is told; what a test wants done is done by its hooks."""

    transport: Any

    def __init__(self) -> None:
        self.received = b""
        self.on_connect: Callable[[Recorder], None] = lambda protocol: None
        self.on_data: Callable[[Recorder, bytes], None] = lambda protocol, data: None
        self.lost: Deferred[Any] = Deferred()

    def connectionMade(self) -> None:
        self.on_connect(self)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self.on_data(self, data)

    def connectionLost(self, reason: Any = None) -> None:
        self.lost.callback(reason.value)


class ServerTestCase(TestCase):
    """Serves L{Recorder}s."""

    def setUp(self) -> None:
        self.protocols: list[Recorder] = []
        self.on_connect: Callable[[Recorder], None] = lambda protocol: None
        self.on_data: Callable[[Recorder, bytes], None] = lambda protocol, data: None
        self.factory = Factory()
        self.factory.noisy = False
        self.factory.buildProtocol = self._build  # type: ignore[method-assign]

    def _build(self, addr: object) -> Recorder:
        protocol = Recorder()
        protocol.on_connect = self.on_connect
        protocol.on_data = self.on_data
        self.protocols.append(protocol)
        return protocol

    def listen(self, **options: Any) -> transport.LeanPort:
        """Serve on a free port of 127.0.0.1."""
        port = transport.listen_tcp(reactor, "127.0.0.1", 0, self.factory, **options)
        self.addCleanup(self._stop, port)
        return port

    async def _close(self, port: transport.LeanPort) -> None:
        result = port.stopListening()
        if result is not None:
            await result
        for protocol in self.protocols:
            if not protocol.lost.called:
                protocol.transport.abortConnection()
                await protocol.lost

    def _stop(self, port: transport.LeanPort) -> Deferred[None]:
        return Deferred.fromCoroutine(self._close(port))

    def client(self, port: transport.LeanPort, talk: Callable[[socket.socket], T]) -> Deferred[T]:
        """Connect in a thread and have C{talk} use the socket."""
        number = port.getHost().port

        def run() -> T:
            with socket.create_connection(("127.0.0.1", number), timeout=60) as sock:
                return talk(sock)

        return deferToThread(run)

    def file(self, data: bytes) -> Any:
        """An open temporary file with this content."""
        file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the cleanup
        file.write(data)
        file.flush()
        self.addCleanup(file.close)
        return file

    def directory(self) -> Path:
        """A short-named directory, as Unix sockets need."""
        directory = tempfile.TemporaryDirectory(prefix="net-")
        self.addCleanup(directory.cleanup)
        return Path(directory.name)


def read_all(sock: socket.socket) -> bytes:
    """Read until the server closes."""
    pieces = []
    while piece := sock.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def read_exactly(sock: socket.socket, length: int) -> bytes:
    """Read so many octets, fewer only if the server closes."""
    data = b""
    while len(data) < length and (piece := sock.recv(length - len(data))):
        data += piece
    return data
