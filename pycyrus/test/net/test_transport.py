"""Listening: sockets, ports, inherited descriptors."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pycyrus.net import transport
from pycyrus.test.net.server import ServerTestCase, read_all


class PortTests(ServerTestCase):
    def setUp(self) -> None:
        super().setUp()

        def greet(protocol: Any) -> None:
            protocol.transport.write(f"{protocol.transport.getHost()} {protocol.transport.getPeer()}".encode())
            protocol.transport.loseConnection()

        self.on_connect = greet

    async def test_inherited_descriptor(self) -> None:
        """A worker serves a socket that another process bound; closing its port leaves the socket listening."""
        bound = transport.bind_tcp("127.0.0.1", 0)
        self.addCleanup(bound.close)
        for _ in range(2):
            port = transport.LeanPort(reactor, bound.dup(), self.factory)
            port.startListening()
            verifyObject(IListeningPort, port)
            self.assertEqual(port.getHost().port, bound.getsockname()[1])
            self.assertIn(b"127.0.0.1", await self.client(port, read_all))
            await self._close(port)

    async def test_own_address_of_any(self) -> None:
        """Where a port takes what comes to any address, each connection says to which it came."""

        class AnyPort(transport.LeanPort):
            def _name(self, listening: socket.socket) -> tuple[str, int]:
                return "0.0.0.0", super()._name(listening)[1]

        port = AnyPort(reactor, transport.bind_tcp("127.0.0.1", 0), self.factory)
        port.startListening()
        self.addCleanup(self._stop, port)
        self.assertIsNone(port.own_address)
        self.assertEqual((await self.client(port, read_all)).count(b"host='127.0.0.1'"), 2)

    async def test_out_of_descriptors(self) -> None:
        """Accepting fails once, and is tried again."""

        class Exhausted:
            failures = 1

            def __init__(self, real: socket.socket) -> None:
                self._real = real

            def accept(self) -> Any:
                if self.failures:
                    self.failures -= 1
                    raise OSError(errno.ENFILE, "too many")
                return self._real.accept()

            def __getattr__(self, name: str) -> Any:
                return getattr(self._real, name)

        port = transport.listen_tcp(reactor, "127.0.0.1", 0, self.factory)
        self.addCleanup(self._stop, port)
        exhausted = port.socket = Exhausted(port.socket)
        self.assertIn(b"127.0.0.1", await self.client(port, read_all))
        self.assertEqual(exhausted.failures, 0)

    async def test_ipv6(self) -> None:
        """Addresses are of the right type."""
        try:
            port = transport.listen_tcp(reactor, "::1", 0, self.factory)
        except CannotListenError:
            self.skipTest("no IPv6 here")
        self.addCleanup(self._stop, port)
        number = port.getHost().port

        def run() -> bytes:
            with socket.create_connection(("::1", number), timeout=60) as sock:
                return read_all(sock)

        self.assertEqual((await deferToThread(run)).count(b"IPv6Address"), 2)

    async def test_unix_socket(self) -> None:
        """Mode as asked for; removed at the end; a stale one is replaced."""
        path = self.directory() / "lmtp"
        for mode in (0o600, 0o666):
            if mode == 0o666:
                # What a killed process leaves behind.
                left = socket.socket(socket.AF_UNIX)
                left.bind(str(path))
                left.close()
            port = transport.listen_unix(reactor, path, self.factory, mode=mode)
            verifyObject(IListeningPort, port)
            self.assertEqual(path.stat().st_mode & 0o777, mode)
            self.assertIn(str(path), repr(port))

            def run() -> bytes:
                with socket.socket(socket.AF_UNIX) as sock:
                    sock.settimeout(60)
                    sock.connect(str(path))
                    return read_all(sock)

            self.assertIn(b"UNIXAddress", await deferToThread(run))
            await self._close(port)
            self.assertFalse(path.exists())

    async def test_socket_of_a_successor(self) -> None:
        """A port that is closed late does not remove the socket file of another server."""
        path = self.directory() / "lmtp"
        port = transport.listen_unix(reactor, path, self.factory)
        path.unlink()
        other = transport.bind_unix(path)
        await self._close(port)
        self.assertTrue(path.exists())
        other.close()


class BindTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path("/tmp") / f"bind-{os.getpid()}"
        self.directory.mkdir(mode=0o700)
        self.path = self.directory / "socket"
        self.addCleanup(self.directory.rmdir)
        self.addCleanup(self.path.unlink, missing_ok=True)

    def test_port_in_use(self) -> None:
        """Says which."""
        first = transport.bind_tcp("127.0.0.1", 0)
        self.addCleanup(first.close)
        number = first.getsockname()[1]
        error = self.assertRaises(CannotListenError, transport.bind_tcp, "127.0.0.1", number)
        self.assertIn(f"127.0.0.1:{number}", str(error))
        self.assertRaises(CannotListenError, transport.bind_tcp, "127.0.0.1", 70000)

    def test_live_socket_is_left_alone(self) -> None:
        """Another server that listens on the path keeps it."""
        first = transport.bind_unix(self.path)
        self.addCleanup(first.close)
        error = self.assertRaises(CannotListenError, transport.bind_unix, self.path)
        self.assertIn("another process listens there", str(error))

    def test_file_is_left_alone(self) -> None:
        """A file, or a link to one, is never removed."""
        self.path.write_text("precious")
        error = self.assertRaises(CannotListenError, transport.bind_unix, self.path)
        self.assertIn("not a socket", str(error))
        self.assertEqual(self.path.read_text(), "precious")

    def test_path_too_long(self) -> None:
        """Refused with the limit."""
        error = self.assertRaises(CannotListenError, transport.bind_unix, Path("/tmp/" + "x" * 120))
        self.assertIn("107", str(error))
