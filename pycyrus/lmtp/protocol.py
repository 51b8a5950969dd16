"""LMTP on a Twisted transport: the only file here that knows one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from pycyrus.interfaces import IAuthenticator, IDeliveryAgent
from pycyrus.lmtp.commands import run
from pycyrus.lmtp.session import LmtpSession, Peer
from pycyrus.lmtp.settings import LmtpSettings
from pycyrus.net import session_id
from pycyrus.net.limits import ConnectionLimits
from pycyrus.net.peer_credentials import credentials_of
from pycyrus.net.server_protocol import ServerFactory, ServerProtocol

if TYPE_CHECKING:
    from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IReactorTime


class LmtpProtocol(ServerProtocol[LmtpSession]):
    """One connection."""


class LmtpFactory(ServerFactory[LmtpSession]):
    """Makes the connections of one LMTP service."""

    protocol = LmtpProtocol  # type: ignore[assignment] # a class is what Twisted calls to build one

    def __init__(
        self,
        delivery: IDeliveryAgent,
        authenticator: IAuthenticator,
        settings: LmtpSettings,
        limits: ConnectionLimits,
        tls: IOpenSSLServerConnectionCreator | None,
        reactor: IReactorTime,
    ) -> None:
        super().__init__(limits, tls)
        self.delivery = delivery
        self.authenticator = authenticator
        self.settings = settings
        self.reactor = reactor

    @override
    def make_session(self, link: ServerProtocol[LmtpSession], peer: str, local_address: str) -> LmtpSession:
        """Make the session of a connection."""
        return LmtpSession(
            link,
            Peer(peer, local_address, credentials_of(getattr(link.transport, "socket", None))),
            self.delivery,
            self.authenticator,
            self.settings,
            run,
            new_session_id=lambda: session_id.make(self.settings.server_name),
            clock=self.reactor,
            tls_available=self.tls is not None,
        )
