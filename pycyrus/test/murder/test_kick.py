"""Kicks, where the slave is another program's."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from pycyrus.errors import StoreUnavailable
from pycyrus.murder.directory.kick import SOCKET, kick


class _Slave(Protocol):
    """Says something in pieces, and never ends the connection itself."""

    def __init__(self, pieces: tuple[bytes, ...], gone: Deferred[None]) -> None:
        self._pieces = pieces
        self._gone = gone

    def connectionMade(self) -> None:
        transport: Any = self.transport
        for piece in self._pieces:
            transport.write(piece)
        if not self._pieces:
            transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._gone.callback(None)


class KickTests(TestCase):
    async def setUp(self) -> None:  # type: ignore[override] # trial waits
        from twisted.internet import reactor

        self.reactor: Any = reactor
        # A socket's path has little room.
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)
        (self.directory / SOCKET).parent.mkdir()

    def listen(self, *pieces: bytes) -> Deferred[None]:
        """
        Have a slave listen.

        @return: Fires when a connection to it has ended.
        """
        gone: Deferred[None] = Deferred()
        factory = Factory.forProtocol(lambda: _Slave(pieces, gone))
        port = self.reactor.listenUNIX(str(self.directory / SOCKET), factory)
        self.addCleanup(port.stopListening)
        return gone

    async def test_who_says_ok_is_left(self) -> None:
        """Also where the word comes in pieces: each mailbox that is missed would cost a descriptor otherwise."""
        gone = self.listen(b"o", b"k")
        await kick(self.reactor, self.directory)
        await gone

    async def test_who_hangs_up(self) -> None:
        gone = self.listen()
        with self.assertRaises(StoreUnavailable):
            await kick(self.reactor, self.directory)
        await gone

    async def test_nobody(self) -> None:
        with self.assertRaises(StoreUnavailable):
            await kick(self.reactor, self.directory)
