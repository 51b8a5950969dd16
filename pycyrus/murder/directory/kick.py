"""
The kick: whoever misses a mailbox has the slave ask its master, and waits.

The slave listens on a Unix socket, C{<configdirectory>/socket/mupdate.target}; it writes
C{ok} when it knows all that the master knew.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from pycyrus.errors import MailStoreError, StoreUnavailable
from pycyrus.tasks import Tasks

SOCKET = "socket/mupdate.target"
DONE = b"ok"
WAIT = 10.0
"""Seconds to wait for it."""


class _Kicked(Protocol):
    """One who waits."""

    factory: KickFactory

    @override
    def connectionMade(self) -> None:
        self.factory.tasks.spawn(self._answer(), self.factory.failed)

    async def _answer(self) -> None:
        transport: Any = self.transport
        try:
            await self.factory.catch_up()
        except MailStoreError as error:
            self.factory.log.info("kicked, but the master does not answer: {error}", error=str(error))
        else:
            transport.write(DONE)
        transport.loseConnection()


class KickFactory(Factory):
    """
    The slave's side.

    @param catch_up: Returns when all that the master knew is known here.
    """

    protocol = _Kicked  # type: ignore[assignment] # a class is what Twisted calls to build one
    noisy = False
    log = Logger()

    def __init__(self, catch_up: Callable[[], Awaitable[None]]) -> None:
        self.catch_up = catch_up
        self.tasks = Tasks()

    def failed(self, failure: Failure) -> None:
        """Something is wrong with us."""
        self.log.failure("A kick failed", failure)


class _Kicking(Protocol):
    """The other side."""

    def __init__(self, done: Deferred[None]) -> None:
        self._done = done
        self._heard = b""

    @override
    def dataReceived(self, data: bytes) -> None:
        self._heard += data[:16]
        if self._heard.startswith(DONE) and not self._done.called:
            self._done.callback(None)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self._done.called:
            self._done.errback(StoreUnavailable("the slave cannot ask its master"))


async def kick(reactor: Any, configdirectory: Path) -> None:
    """
    Have the slave of this host ask its master.

    @raise StoreUnavailable: There is none, or it cannot, or not soon enough.
    """
    done: Deferred[None] = Deferred()
    protocol = _Kicking(done)
    try:
        await connectProtocol(UNIXClientEndpoint(reactor, str(configdirectory / SOCKET), timeout=WAIT), protocol)
    except ConnectError as error:
        raise StoreUnavailable(f"no slave listens: {error}") from error
    timer: IDelayedCall = reactor.callLater(WAIT, lambda: _give_up(protocol))
    try:
        await done
    finally:
        if timer.active():
            timer.cancel()
        _give_up(protocol)


def _give_up(protocol: Protocol) -> None:
    transport: Any = protocol.transport
    if transport is not None:
        transport.loseConnection()
