"""A lean connection over a Unix socket."""

from __future__ import annotations

import socket

from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import (
    IProtocol,
    IReactorFDSet,
)
from typing_extensions import override

from pycyrus.net.connection import LeanConnection, ServingPort


class LeanUnixConnection(LeanConnection):
    """The server's side of a connection on a Unix socket."""

    def __init__(
        self,
        sock: socket.socket,
        protocol: IProtocol,
        client: str,
        server: ServingPort,
        sessionno: int,
        reactor: IReactorFDSet,
    ) -> None:
        super().__init__(sock, protocol, (client, None), server, sessionno, reactor)

    @override
    def getHost(self) -> UNIXAddress:
        return UNIXAddress(self.socket.getsockname())

    @override
    def getPeer(self) -> UNIXAddress:
        return UNIXAddress(str(self.hostname) if self.hostname else None)

    @override
    def getTcpNoDelay(self) -> bool:
        return False

    @override
    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing to switch."""
