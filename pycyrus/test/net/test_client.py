"""Connections to other servers."""

from __future__ import annotations

import socket
from typing import Any
from unittest.mock import patch

from twisted.internet import error as failures
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from typing_extensions import override

from pycyrus.net.client import Connector, LeanClient


class Echo(Protocol):
    """Says what it hears."""

    @override
    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)


class Talker(Protocol):
    """Waits for as much as it said."""

    def __init__(self) -> None:
        self.heard = b""
        self.wanted = 0
        self.done: Deferred[bytes] = Deferred()
        self.lost: Deferred[None] = Deferred()

    def say(self, data: bytes) -> Deferred[bytes]:
        transport: Any = self.transport
        self.wanted = len(data)
        transport.write(data)
        return self.done

    @override
    def dataReceived(self, data: bytes) -> None:
        self.heard += data
        if len(self.heard) >= self.wanted:
            self.done.callback(self.heard)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.callback(None)


class ConnectorTests(TestCase):
    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.connector = Connector(reactor)

    def listen(self, address: str = "127.0.0.1") -> int:
        port = self.reactor.listenTCP(0, Factory.forProtocol(Echo), interface=address)
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    async def talk(self, host: str, port: int, data: bytes = b"hello") -> str:
        """@return: The address at the other end."""
        talker = Talker()
        await self.connector.connect(host, port, talker, 5.0)
        transport: Any = talker.transport
        self.assertIsInstance(transport, LeanClient)
        self.assertEqual(await talker.say(data), data)
        transport.loseConnection()
        await talker.lost
        peer = transport.getPeer()
        self.assertEqual(peer.port, port)
        return str(peer.host)

    async def test_there_and_back(self) -> None:
        """More than the kernel takes at once, too."""
        self.assertEqual(await self.talk("127.0.0.1", self.listen()), "127.0.0.1")
        await self.talk("127.0.0.1", self.listen(), b"x" * 5_000_000)

    async def test_names_are_looked_up_once(self) -> None:
        port = self.listen()
        await self.talk("localhost", port)
        with patch.object(type(self.reactor), "nameResolver", None):
            await self.talk("localhost", port)

    async def test_the_next_address(self) -> None:
        """One that does not answer is passed over, and comes last from then on."""
        port = self.listen()
        self.connector._known["both", port] = self.reactor.seconds() + 60, [("127.0.0.2", port), ("127.0.0.1", port)]
        self.assertEqual(await self.talk("both", port), "127.0.0.1")
        self.assertEqual(self.connector._known["both", port][1][0], ("127.0.0.1", port))

    async def test_nobody_there(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as held:
            port = held.getsockname()[1]
        for _ in range(2):
            with self.assertRaises(failures.ConnectionRefusedError):
                await self.connector.connect("127.0.0.1", port, Talker(), 5.0)
        self.assertEqual(self.connector._known, {})

    async def test_no_such_name(self) -> None:
        with self.assertRaises(failures.DNSLookupError):
            await self.connector.connect("no-such-name.invalid", 1, Talker(), 5.0)

    async def test_silence(self) -> None:
        """One whose queue is full, and nobody takes from it, does not answer."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            address = listener.getsockname()
            waiting = [socket.socket() for _ in range(8)]
            for each in waiting:
                self.addCleanup(each.close)
                each.setblocking(False)
                each.connect_ex(address)
            with self.assertRaises(failures.ConnectError):
                await self.connector.connect("127.0.0.1", address[1], Talker(), 0.2)
            given_up = Deferred.fromCoroutine(self.connector.connect("127.0.0.1", address[1], Talker(), 5.0))
            given_up.cancel()
            with self.assertRaises(CancelledError):
                await given_up
