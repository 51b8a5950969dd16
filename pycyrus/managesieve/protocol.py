"""ManageSieve on a Twisted transport: the only file here that knows one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from pycyrus.interfaces import IAuthenticator
from pycyrus.managesieve.commands import run
from pycyrus.managesieve.parts import Elsewhere, Parts
from pycyrus.managesieve.session import SieveSession
from pycyrus.managesieve.settings import SieveSettings
from pycyrus.net import session_id
from pycyrus.net.limits import ConnectionLimits
from pycyrus.net.server_protocol import ServerFactory, ServerProtocol

if TYPE_CHECKING:
    from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IReactorTime


class SieveProtocol(ServerProtocol[SieveSession]):
    """One connection."""


class SieveFactory(ServerFactory[SieveSession]):
    """Makes the connections of one ManageSieve service."""

    protocol = SieveProtocol  # type: ignore[assignment] # a class is what Twisted calls to build one

    def __init__(
        self,
        authenticator: IAuthenticator,
        settings: SieveSettings,
        limits: ConnectionLimits | None,
        tls: IOpenSSLServerConnectionCreator | None,
        reactor: IReactorTime,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        """@param elsewhere: The scripts of other servers; None for a server that stands alone."""
        super().__init__(limits, tls)
        self.parts = Parts(authenticator, settings, reactor, tls is not None, elsewhere)

    @override
    def make_session(self, link: ServerProtocol[SieveSession], peer: str, local_address: str) -> SieveSession:
        """Make the session of a connection."""
        name = session_id.make(self.parts.settings.server_name)
        return SieveSession(link, self.parts, run, peer=peer, local_address=local_address, session_id=name)
