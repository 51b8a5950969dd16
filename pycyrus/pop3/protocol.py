"""POP3 on a Twisted transport: the only file here that knows one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typing_extensions import override

from pycyrus.interfaces import (
    IAuthenticator,
    IMaildropClaims,
    IMailStore,
    ISessionWatch,
    IStoreObserver,
    SessionFacts,
)
from pycyrus.net import session_id
from pycyrus.net.limits import ConnectionLimits
from pycyrus.net.server_protocol import ServerFactory, ServerProtocol
from pycyrus.pop3.commands import run
from pycyrus.pop3.parts import Elsewhere, Parts
from pycyrus.pop3.session import Pop3Session
from pycyrus.pop3.settings import Pop3Settings

if TYPE_CHECKING:
    from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IReactorTime


class Pop3Protocol(ServerProtocol[Pop3Session]):
    """One connection."""


class Pop3Factory(ServerFactory[Pop3Session]):
    """Makes the connections of one POP3 service."""

    protocol = Pop3Protocol  # type: ignore[assignment] # a class is what Twisted calls to build one

    def __init__(
        self,
        store: IMailStore,
        authenticator: IAuthenticator,
        settings: Pop3Settings,
        claims: IMaildropClaims,
        limits: ConnectionLimits | None,
        tls: IOpenSSLServerConnectionCreator | None,
        reactor: IReactorTime,
        elsewhere: Elsewhere | None = None,
        watcher: IStoreObserver | None = None,
    ) -> None:
        """
        @param claims: Keeps other sessions out of a maildrop.
        @param elsewhere: The maildrops of other servers; None for a server that stands alone.
        @param watcher: Who is told what sessions do; None for nobody.
        """
        super().__init__(limits, tls)
        self.parts = Parts(store, authenticator, settings, claims, reactor, tls is not None, elsewhere, watcher)

    @override
    def make_session(self, link: ServerProtocol[Pop3Session], peer: str, local_address: str) -> Pop3Session:
        """Make the session of a connection."""
        name = session_id.make(self.parts.settings.server_name)
        watch: ISessionWatch | None = None
        if self.parts.watcher is not None:
            transport: Any = link.transport
            ports = [getattr(address, "port", 0) for address in (transport.getPeer(), transport.getHost())]
            facts = SessionFacts(self.parts.settings.service, name, peer, ports[0], local_address, ports[1])
            watch = self.parts.watcher.watch(self.parts.store, facts)
        return Pop3Session(link, self.parts, run, peer=peer, local_address=local_address, session_id=name, watch=watch)
