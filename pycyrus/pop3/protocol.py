"""POP3 on a Twisted transport: the only file here that knows one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IPushProducer, ISSLTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from pycyrus.errors import LimitExceeded
from pycyrus.interfaces import IAuthenticator, IMaildropClaims, IMailStore
from pycyrus.net import session_id
from pycyrus.net.limits import Admission, ConnectionLimits
from pycyrus.pop3 import replies
from pycyrus.pop3.commands import run
from pycyrus.pop3.parts import Parts
from pycyrus.pop3.session import Pop3Session
from pycyrus.pop3.settings import Pop3Settings

if TYPE_CHECKING:
    from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IReactorTime


@implementer(IPushProducer)
class Pop3Protocol(Protocol):
    """
    One connection: hands octets to its session, and does to the transport what the session asks.

    It is the transport's producer, so that the session learns when the client
    reads too slowly.
    """

    factory: Pop3Factory
    session: Pop3Session
    log = Logger()

    def __init__(self) -> None:
        self._admission: Admission | None = None

    # --- called by the transport ---

    @override
    def connectionMade(self) -> None:
        transport: Any = self.transport
        factory = self.factory
        transport.registerProducer(self, True)
        peer = getattr(transport.getPeer(), "host", "")
        self.session = Pop3Session(
            self,
            factory.parts,
            run,
            peer=peer,
            local_address=getattr(transport.getHost(), "host", ""),
            session_id=session_id.make(factory.parts.settings.server_name),
        )
        self.session.is_secure = ISSLTransport.providedBy(transport)
        factory.sessions.add(self.session)
        try:
            if factory.limits is not None:
                self._admission = factory.limits.connected(peer)
        except LimitExceeded as limit:
            self.log.info("refused a connection from {peer}: {reason}", peer=peer, reason=limit.reason)
            self.session.end(replies.TOO_MANY_CONNECTIONS)
            return
        self.session.greet()

    @override
    def dataReceived(self, data: bytes) -> None:
        self.session.receive(data)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.sessions.discard(self.session)
        if self._admission is not None:
            self._admission.close()
        self.session.lost()

    def pauseProducing(self) -> None:  # noqa: N802 - IPushProducer
        """The client reads too slowly."""
        self.session.hold_back()

    def resumeProducing(self) -> None:  # noqa: N802 - IPushProducer
        """The client has caught up."""
        self.session.go_on()

    def stopProducing(self) -> None:  # noqa: N802 - IPushProducer
        """The connection is lost, as C{connectionLost} tells as well."""

    # --- called by the session ---

    def write(self, data: bytes) -> None:
        """Send octets."""
        assert self.transport is not None
        self.transport.write(data)

    def pause(self) -> None:
        """Take no more from the client."""
        transport: Any = self.transport
        transport.pauseProducing()

    def resume(self) -> None:
        """Take from the client again."""
        transport: Any = self.transport
        transport.resumeProducing()

    def start_tls(self) -> None:
        """Begin TLS when everything was sent."""
        transport: Any = self.transport
        transport.startTLS(self.factory.tls)

    def tls_exporter(self) -> Callable[[bytes, int], bytes] | None:
        """Keying material of the TLS connection, for channel binding."""
        handle = getattr(self.transport, "getHandle", None) if self.session.is_secure else None
        export = getattr(handle(), "export_keying_material", None) if handle is not None else None
        return None if export is None else lambda label, length: bytes(export(label, length))

    def client_certificate(self) -> bytes | None:
        """The client's verified certificate as DER, for EXTERNAL."""
        show = getattr(self.transport, "client_certificate", None) if self.session.is_secure else None
        return None if show is None else show()

    def logged_in(self, user_id: str) -> None:
        """
        Count the connection for a user.

        @raise LimitExceeded: The user has too many.
        """
        if self._admission is not None:
            self._admission.logged_in(user_id)

    def close(self) -> None:
        """Close when everything was sent."""
        transport: Any = self.transport
        # A transport waits for its producer before it closes.
        transport.unregisterProducer()
        transport.loseConnection()

    def abort(self) -> None:
        """Close now."""
        transport: Any = self.transport
        transport.abortConnection()


class Pop3Factory(Factory):
    """
    Makes the connections of one POP3 service.

    @ivar tls: What STLS begins with; None if it is not offered.
    @ivar sessions: Those that are open.
    """

    protocol = Pop3Protocol  # type: ignore[assignment] # a class is what Twisted calls to build one
    noisy = False

    def __init__(
        self,
        store: IMailStore,
        authenticator: IAuthenticator,
        settings: Pop3Settings,
        claims: IMaildropClaims,
        limits: ConnectionLimits | None,
        tls: IOpenSSLServerConnectionCreator | None,
        reactor: IReactorTime,
    ) -> None:
        """@param claims: Keeps other sessions out of a maildrop."""
        self.parts = Parts(store, authenticator, settings, claims, reactor, tls is not None)
        self.limits = limits
        self.tls = tls
        self.sessions: set[Pop3Session] = set()

    def shut_down(self) -> None:
        """Tell all clients that the server goes; what is being done is answered first."""
        for session in list(self.sessions):
            session.shut_down()
