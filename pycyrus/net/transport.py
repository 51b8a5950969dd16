"""
Listening ports whose connections are lean, and the sockets they listen on.

A socket is bound by C{bind_tcp} or C{bind_unix}, as root if need be and in the
process that lives longest; a port takes it over in the process that serves it,
be it the same or a worker that inherited the descriptor.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from twisted.internet import tcp
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IProtocolFactory, IReactorTime
from twisted.python.failure import Failure
from typing_extensions import override

from pycyrus.net.connection import LeanConnection
from pycyrus.net.keepalive import Keepalive
from pycyrus.net.shares import Share
from pycyrus.net.unix_connection import LeanUnixConnection

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorFDSet

BACKLOG = 512
"""Connections that may wait to be accepted."""

_HOLD_BACK = 0.001
"""Seconds that a worker with more connections than others leaves them to accept the next one."""
_PATIENCE = 2
"""How often it does so for one connection."""

_LONGEST_PATH = 107
"""Octets of a Unix socket's path (unix(7): sun_path, less its NUL)."""


def bind_tcp(host: str, port: int, backlog: int = BACKLOG) -> socket.socket:
    """
    Make a listening TCP socket.

    @param host: A numeric address; empty for all of IPv4, C{::} for all of
        IPv6 (and IPv6 alone, so that both can be had).
    @param port: 0 for any free one.
    @raise CannotListenError: In use, not ours, or not permitted.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        sock.listen(backlog)
    except (OSError, OverflowError) as error:
        sock.close()
        raise CannotListenError(host, port, error) from error
    return sock


def bind_unix(path: Path, mode: int = 0o660, backlog: int = BACKLOG) -> socket.socket:
    """
    Make a listening Unix socket.

    A socket file that nobody listens on any more is removed; anything else in
    the way is left alone.

    @param mode: Permissions of the socket file; never wider, not even for a
        moment.
    @raise CannotListenError: In use, something else is there, or not permitted.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if len(os.fsencode(path)) > _LONGEST_PATH:
            raise OSError(errno.ENAMETOOLONG, f"path of a Unix socket is longer than {_LONGEST_PATH} octets")
        _remove_stale(path)
        sock.setblocking(False)
        before = os.umask(0o777 & ~mode)
        try:
            sock.bind(os.fspath(path))
        finally:
            os.umask(before)
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        raise CannotListenError(None, str(path), error) from error
    return sock


def _remove_stale(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise OSError(errno.EEXIST, "there is a file of that name that is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except BlockingIOError:
            # A full backlog: somebody is there.
            pass
    raise OSError(errno.EADDRINUSE, "another process listens there")


class LeanPort(tcp.Port):
    """
    Serves connections that arrive at a listening TCP socket.

    @ivar tls: What makes TLS connections where TLS begins at once (imaps);
        None where it does not, or where STARTTLS begins it.
    @ivar keepalive: None to leave it off.
    @ivar connection_prefix: The prefix of log lines that connections cause.
    @ivar own_address: Where all connections arrive; None where that is each one's own, or has no number.
    @ivar share: How many connections this worker has beside others; None
        where there are no others.
    """

    transport: Any = LeanConnection
    share: Share | None = None
    own_address: IPv4Address | IPv6Address | None = None
    _patience = _PATIENCE

    def __init__(
        self,
        reactor: IReactorFDSet,
        listening: socket.socket,
        factory: IProtocolFactory,
        *,
        tls: IOpenSSLServerConnectionCreator | None = None,
        keepalive: Keepalive | None = None,
    ) -> None:
        """
        @param listening: Bound, listening and non-blocking; it belongs to the
            port from now on.
        """
        host, port = self._name(listening)
        super().__init__(port, factory, interface=host, reactor=reactor)
        self.addressFamily = listening.family
        self._preexistingSocket = listening
        self.tls = tls
        self.keepalive = keepalive
        self.connection_prefix = self._getLogPrefix(factory)

    @property
    def address_type(self) -> type[IPv4Address | IPv6Address]:
        """Of hosts and peers."""
        return self._addressType

    def _name(self, listening: socket.socket) -> tuple[str, int]:
        name = listening.getsockname()
        return name[0], name[1]

    @override
    def doRead(self) -> None:
        share = self.share
        if share is not None and self._patience and share.is_ahead():
            self._patience -= 1
            self.reactor.removeReader(self)
            cast(IReactorTime, self.reactor).callLater(_HOLD_BACK, self._go_on)
            return
        self._patience = _PATIENCE
        # One at a time, so that the others have a chance.
        try:
            sock, client = self.socket.accept()
        except BlockingIOError:
            return
        except OSError:
            # Out of descriptors, for instance: Twisted tries again, and knows what to do then.
            self.numberAccepts = 1
            super().doRead()  # type: ignore[no-untyped-call] # Twisted's
            return
        try:
            self._serve(sock, client)
        except Exception:  # noqa: BLE001 - no fault of the next one's
            self._logger.failure("a connection could not begin")

    def _serve(self, sock: socket.socket, client: Any) -> None:
        if self.addressFamily == socket.AF_INET6 and client[3]:
            # With the name of the interface.
            named, _ = socket.getnameinfo(client, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
            client = (named, *client[1:])
        assert self.factory is not None
        protocol = self.factory.buildProtocol(self._buildAddr(client))  # type: ignore[no-untyped-call] # likewise
        if protocol is None:
            sock.close()
            return
        number = self.sessionno
        self.sessionno = number + 1
        protocol.makeConnection(self.transport(sock, protocol, client, self, number, self.reactor))

    @override
    def startListening(self) -> None:
        super().startListening()
        # Connections have it from here (tcp(7)).
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        host, port = self._name(self.socket)
        if not ip_address(host).is_unspecified:
            self.own_address = self._addressType("TCP", host, port)

    def _go_on(self) -> None:
        if self.connected:
            self.reactor.addReader(self)

    def opened(self) -> None:
        """A connection was made."""
        if self.share is not None:
            self.share.opened()

    def closed(self) -> None:
        """A connection was lost."""
        if self.share is not None:
            self.share.closed()


class LeanUnixPort(LeanPort):
    """Serves connections that arrive at a listening Unix socket."""

    transport = LeanUnixConnection

    _own_path: Path | None = None
    _inode = (0, 0)

    def remove_at_close(self) -> None:
        """Remove the socket file when the port is closed, if it is still ours then."""
        path = Path(os.fsdecode(self._path))
        found = path.lstat()
        self._own_path, self._inode = path, (found.st_dev, found.st_ino)

    @override
    def _name(self, listening: socket.socket) -> tuple[str, int]:
        self._path: str | bytes = listening.getsockname()
        return "", 0

    @override
    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {type(self.factory).__name__} on {self._path!r}>"

    @override
    def startListening(self) -> None:
        # As in tcp.Port, whose own looks for a port number.
        tcp._reservedFD.reserve()
        assert self.factory is not None
        assert self._preexistingSocket is not None
        self.socket = self._preexistingSocket
        self._preexistingSocket = None
        self._shouldShutdown = False
        self._logger.info("{prefix} starting on {path}", prefix=self.connection_prefix, path=self._path)
        self.factory.doStart()
        self.connected = True
        self.fileno = self.socket.fileno  # type: ignore[method-assign] # as Twisted does
        self.numberAccepts = 100
        self.reactor.addReader(self)

    @override
    def _buildAddr(self, address: Any) -> UNIXAddress:
        return UNIXAddress(address or None)

    @override
    def getHost(self) -> UNIXAddress:
        return UNIXAddress(self.socket.getsockname())

    @override
    def connectionLost(self, reason: Failure) -> None:
        path, self._own_path = self._own_path, None
        if path is not None:
            try:
                found = path.lstat()
                if (found.st_dev, found.st_ino) == self._inode:
                    path.unlink()
            except FileNotFoundError:
                pass
        tcp.Port.connectionLost(self, reason)


def listen_tcp(
    reactor: IReactorFDSet,
    host: str,
    port: int,
    factory: IProtocolFactory,
    *,
    tls: IOpenSSLServerConnectionCreator | None = None,
    keepalive: Keepalive | None = None,
    backlog: int = BACKLOG,
) -> LeanPort:
    """
    Bind and serve in this process.

    @raise CannotListenError: As C{bind_tcp}.
    """
    listening = LeanPort(reactor, bind_tcp(host, port, backlog), factory, tls=tls, keepalive=keepalive)
    listening.startListening()
    return listening


def listen_unix(
    reactor: IReactorFDSet,
    path: Path,
    factory: IProtocolFactory,
    *,
    tls: IOpenSSLServerConnectionCreator | None = None,
    mode: int = 0o660,
    backlog: int = BACKLOG,
) -> LeanUnixPort:
    """
    Bind and serve in this process; the socket file goes when the port is closed.

    @raise CannotListenError: As C{bind_unix}.
    """
    listening = LeanUnixPort(reactor, bind_unix(path, mode, backlog), factory, tls=tls)
    listening.remove_at_close()
    listening.startListening()
    return listening


__all__ = [
    "BACKLOG",
    "Keepalive",
    "LeanConnection",
    "LeanPort",
    "LeanUnixConnection",
    "LeanUnixPort",
    "bind_tcp",
    "bind_unix",
    "listen_tcp",
    "listen_unix",
]
