"""What the servers of line protocols have in common on a Twisted transport."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar
from typing import Protocol as TypingProtocol

from twisted.internet.interfaces import IPushProducer, ISSLTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from pycyrus.errors import LimitExceeded
from pycyrus.net.limits import Admission, ConnectionLimits
from pycyrus.net.tls import Exporter, describe, exporter

if TYPE_CHECKING:
    from twisted.internet.interfaces import IOpenSSLServerConnectionCreator


class Link(TypingProtocol):
    """What a session asks of its connection, a L{ServerProtocol}."""

    def write(self, data: bytes) -> None:
        """Send octets; when the client reads slowly, C{Session.hold_back} is called."""

    def pause(self) -> None:
        """Read nothing until C{resume}."""

    def resume(self) -> None:
        """Read again."""

    def start_tls(self) -> None:
        """Begin the server's side of a TLS handshake, after what was written."""

    def tls_exporter(self) -> Exporter | None:
        """Keying material of the TLS connection; None without TLS."""

    def tls_description(self) -> str:
        """Version, cipher and so on of TLS, as Received fields have them; empty without TLS."""

    def client_certificate(self) -> bytes | None:
        """The client's verified certificate as DER; None if it showed none."""

    def logged_in(self, user_id: str) -> None:
        """
        Count the connection for a user.

        @raise LimitExceeded: The user has too many.
        """

    def logged_out(self) -> None:
        """The connection is nobody's any more, or not yet somebody else's."""

    def close(self) -> None:
        """Close the connection once all was sent."""

    def abort(self) -> None:
        """Close it now."""


class Session(TypingProtocol):
    """What a connection tells its session."""

    is_secure: bool

    @property
    def session_id(self) -> str:
        """For logs."""

    def greet(self) -> None:
        """Say what this is."""

    def receive(self, data: bytes) -> None:
        """Take octets from the client."""

    def hold_back(self) -> None:
        """The client reads too slowly."""

    def go_on(self) -> None:
        """The client has caught up."""

    def refuse(self) -> None:
        """There are too many connections: say so, and end."""

    def shut_down(self) -> None:
        """The server goes; what is being done is answered first."""

    def lost(self) -> None:
        """The connection is gone."""


S = TypeVar("S", bound=Session)


class ServerFactory(Factory, Generic[S]):
    """
    Makes the connections of one service.

    @ivar tls: What STARTTLS begins with; None if it is not offered.
    @ivar sessions: Those that are open.
    """

    noisy = False

    def __init__(self, limits: ConnectionLimits | None, tls: IOpenSSLServerConnectionCreator | None) -> None:
        self.limits = limits
        self.tls = tls
        self.sessions: set[S] = set()

    def make_session(self, link: ServerProtocol[S], peer: str, local_address: str) -> S:
        """
        Make the session of a connection.

        @param peer: Address of the client; empty on a Unix socket.
        @param local_address: Where it connected to.
        """
        raise NotImplementedError

    def shut_down(self) -> None:
        """Tell all clients that the server goes; what is being done is answered first."""
        for session in list(self.sessions):
            session.shut_down()


@implementer(IPushProducer)
class ServerProtocol(Protocol, Generic[S]):
    """
    One connection: hands octets to its session, and does to the transport what the session asks.

    It is the transport's producer, so that the session learns when the client
    reads too slowly.
    """

    factory: ServerFactory[S]
    session: S
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
        self.session = factory.make_session(self, peer, getattr(transport.getHost(), "host", ""))
        self.session.is_secure = ISSLTransport.providedBy(transport)
        factory.sessions.add(self.session)
        try:
            if factory.limits is not None:
                self._admission = factory.limits.connected(peer, self.session.session_id)
        except LimitExceeded as limit:
            self.log.info("refused a connection from {peer}: {reason}", peer=peer, reason=limit.reason)
            self.session.refuse()
            return
        self.session.greet()

    @override
    def dataReceived(self, data: bytes) -> None:
        self.hand_on(data)

    def hand_on(self, data: bytes) -> None:
        """Give the session octets that the client sent."""
        if self._admission is not None and self._admission.log is not None:
            self._admission.log.received(data)
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
        if self._admission is not None and self._admission.log is not None:
            self._admission.log.sent(data)
        self.send(data)

    def send(self, data: bytes) -> None:
        """Hand octets to the transport."""
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

    def tls_exporter(self) -> Exporter | None:
        """Keying material of the TLS connection, for channel binding."""
        handle = getattr(self.transport, "getHandle", None) if self.session.is_secure else None
        return None if handle is None else exporter(handle())

    def tls_description(self) -> str:
        """Version, cipher and so on of TLS; empty without."""
        handle = getattr(self.transport, "getHandle", None) if self.session.is_secure else None
        return describe(handle()) if handle is not None else ""

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

    def logged_out(self) -> None:
        """The connection is nobody's any more."""
        if self._admission is not None:
            self._admission.logged_out()

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
