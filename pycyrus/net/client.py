"""
Connections to other servers, as lean as those of clients.

Where a name leads is remembered for a while, and the address that answered last is tried
first: so the next connection costs no look-up.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import termios
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from twisted.internet import error as failures
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IReactorFDSet,
    IReadWriteDescriptor,
    IResolutionReceiver,
)
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from pycyrus.net.connection import LeanConnection
from pycyrus.net.keepalive import BETWEEN_SERVERS, Keepalive
from pycyrus.net.splicing import Pipe

READ_SIZE = 196_608
"""Octets taken at a time: servers send more at once than clients, and each piece that is passed on wakes somebody."""
REMEMBER_FOR = 30.0
"""Seconds for which it is believed where a name leads."""
_INT = struct.Struct("i")
_NO_COUNT = bytes(_INT.size)
_IN_PROGRESS = frozenset({errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY})


class LeanClient(LeanConnection):
    """
    The client's side of a TCP connection.

    @ivar told: Called when octets have come, in place of reading them; None to have them read.
    """

    told: Callable[[], None] | None = None
    _view = memoryview(bytearray(READ_SIZE))

    def __init__(self, sock: socket.socket, protocol: IProtocol, peer: tuple[str, int], reactor: IReactorFDSet) -> None:
        # Not LeanConnection's, which is for connections that came through a port of ours.
        Connection.__init__(self, sock, protocol, reactor)
        self._queue = []
        self.client = peer
        self.sessionno = 0
        self.hostname = peer[0]
        self.logstr = type(protocol).__name__
        self._addressType = IPv6Address if sock.family == socket.AF_INET6 else IPv4Address
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connected = 1
        self.startReading()

    @override
    def __repr__(self) -> str:
        return f"<{type(self).__name__} to {self.hostname}>"

    @override
    def doRead(self) -> Any:
        if self.told is None:
            return super().doRead()
        self.told()
        return None

    def waiting(self) -> int:
        """Octets that came and were not read."""
        return _INT.unpack(fcntl.ioctl(self.fileno(), termios.FIONREAD, _NO_COUNT))[0]  # type: ignore[no-any-return] # an int

    def fill(self, pipe: Pipe, most: int) -> int | None:
        """
        Move what has come into a pipe, which is empty.

        @return: Octets; None if this does not work, or the connection is at its end: reading will tell.
        """
        try:
            return pipe.fill(self.fileno(), most) or None
        except BlockingIOError:
            return 0
        except OSError:
            return None

    @override
    def startTLS(self, ctx: IOpenSSLClientConnectionCreator, normal: bool = True) -> None:  # type: ignore[override] # the other side's
        """
        Put TLS between the protocol and the socket.

        @param normal: False to be the TLS server.
        """
        super().startTLS(ctx, not normal)  # type: ignore[arg-type] # as the TLS layer wants it for a client


@implementer(IReadWriteDescriptor)
class _Attempt:
    """A socket that is being connected."""

    def __init__(self, sock: socket.socket, reactor: IReactorFDSet) -> None:
        self._socket = sock
        self._reactor = reactor
        self.done: Deferred[None] = Deferred(lambda _: self._end())
        reactor.addWriter(self)

    def fileno(self) -> int:
        """See L{IReadWriteDescriptor}."""
        return self._socket.fileno()

    def logPrefix(self) -> str:  # noqa: N802 - Twisted's
        """See L{IReadWriteDescriptor}."""
        return type(self).__name__

    def doRead(self) -> None:  # noqa: N802 - Twisted's
        """See L{IReadWriteDescriptor}."""
        self.doWrite()

    def doWrite(self) -> None:  # noqa: N802 - Twisted's
        """The kernel has something to say."""
        self._end()
        number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if self.done.called:
            return
        if number:
            self.done.errback(failures.getConnectError((number, os.strerror(number))))
        else:
            self.done.callback(None)

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802 - Twisted's
        """It was not to be."""
        self.doWrite()

    def _end(self) -> None:
        self._reactor.removeReader(self)
        self._reactor.removeWriter(self)


@implementer(IResolutionReceiver)
@dataclass(slots=True)
class _Resolution:
    """Collects the addresses of a name."""

    addresses: list[tuple[str, int]] = field(default_factory=list)
    done: Deferred[None] = field(default_factory=Deferred)

    def resolutionBegan(self, resolution: IHostResolution) -> None:  # noqa: N802 - Twisted's
        """See L{IResolutionReceiver}."""

    def addressResolved(self, address: IAddress) -> None:  # noqa: N802 - Twisted's
        """See L{IResolutionReceiver}."""
        if isinstance(address, IPv4Address | IPv6Address):
            self.addresses.append((address.host, address.port))

    def resolutionComplete(self) -> None:  # noqa: N802 - Twisted's
        """See L{IResolutionReceiver}."""
        if not self.done.called:
            self.done.callback(None)


class Connector:
    """
    Connects protocols to servers.

    @param reactor: Provides IReactorFDSet, IReactorTime and IReactorPluggableNameResolver.
    @param keepalive: How soon the kernel gives a connection up that was cut.
    """

    def __init__(self, reactor: Any, keepalive: Keepalive = BETWEEN_SERVERS) -> None:
        self._reactor = reactor
        self._keepalive = keepalive
        self._known: dict[tuple[str, int], tuple[float, list[tuple[str, int]]]] = {}

    async def connect(self, host: str, port: int, protocol: IProtocol, within: float) -> None:
        """
        Connect a protocol.

        @param host: A name, or an address.
        @param within: Seconds for each address.
        @raise failures.DNSLookupError: There is no such name.
        @raise ConnectError: None of its addresses answers.
        """
        addresses = await self._addresses(host, port, within)
        error: failures.ConnectError | None = None
        for address in list(addresses):
            try:
                sock = await self._connect(address, within)
            except failures.ConnectError as failed:
                error = error or failed
                continue
            if addresses[0] != address:
                addresses.remove(address)
                addresses.insert(0, address)
            protocol.makeConnection(LeanClient(sock, protocol, address, self._reactor))
            return
        self._known.pop((host, port), None)
        assert error is not None
        raise error

    async def _addresses(self, host: str, port: int, within: float) -> list[tuple[str, int]]:
        known = self._known.get((host, port))
        now: float = self._reactor.seconds()
        if known is not None and now < known[0]:
            return known[1]
        found = _Resolution()
        resolver: IHostnameResolver = self._reactor.nameResolver
        resolver.resolveHostName(found, host, port, transportSemantics="TCP")
        found.done.addTimeout(within, self._reactor, lambda result, _: None)  # type: ignore[unused-awaitable] # the same Deferred
        await found.done
        if not found.addresses:
            raise failures.DNSLookupError(f"no address for {host!r}")
        self._known = {name: kept for name, kept in self._known.items() if kept[0] > now}
        self._known[host, port] = now + REMEMBER_FOR, found.addresses
        return found.addresses

    async def _connect(self, address: tuple[str, int], within: float) -> socket.socket:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            self._keepalive.apply(sock)
            number = sock.connect_ex(address)
            if number in _IN_PROGRESS:
                attempt = _Attempt(sock, self._reactor)
                attempt.done.addTimeout(within, self._reactor, _too_late)  # type: ignore[unused-awaitable] # likewise
                await attempt.done
            elif number:
                raise failures.getConnectError((number, os.strerror(number)))
        except BaseException:
            sock.close()
            raise
        return sock


def _too_late(result: object, within: float) -> None:
    raise failures.TimeoutError(string=f"no connection in {within:g} s")
