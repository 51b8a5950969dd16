"""LMTP on a Twisted transport: the only file here that knows one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IOpenSSLServerConnectionCreator,
    IPushProducer,
    IReactorTime,
    ISSLTransport,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from pycyrus.errors import LimitExceeded
from pycyrus.interfaces import IAuthenticator, IDeliveryAgent
from pycyrus.lmtp import replies
from pycyrus.lmtp.commands import run
from pycyrus.lmtp.session import LmtpSession, Peer
from pycyrus.lmtp.settings import LmtpSettings
from pycyrus.model.identity import POSTMAN
from pycyrus.net import session_id
from pycyrus.net.limits import Admission, ConnectionLimits
from pycyrus.net.threads import in_thread
from pycyrus.net.tls import Exporter, exporter

T = TypeVar("T")

CLOSE_TIMEOUT = 10.0
"""Seconds for a client to take the last reply; then the connection is aborted."""


@implementer(IPushProducer)
class LmtpProtocol(Protocol):
    """
    One connection: octets, time and back-pressure for an L{LmtpSession}.

    It is its transport's producer: a client that does not read its replies
    is not read from either.
    """

    factory: LmtpFactory
    session: LmtpSession

    def __init__(self) -> None:
        self._timer: IDelayedCall | None = None
        self._admission: Admission | None = None
        self._connected = False
        self._closing = False
        self._session_paused = False
        self._output_full = False

    # --- Twisted ----------------------------------------------------------------

    @override
    def connectionMade(self) -> None:
        factory = self.factory
        transport = self._transport()
        self._connected = True
        peer = Peer(_host(transport.getPeer()), _host(transport.getHost()))
        if peer.address:
            transport.setTcpNoDelay(True)
        transport.registerProducer(self, True)
        self.session = LmtpSession(
            self,
            peer,
            factory.delivery,
            factory.authenticator,
            factory.settings,
            run,
            new_session_id=lambda: session_id.make(factory.settings.server_name),
            clock=factory.reactor.seconds,
            tls_available=factory.tls is not None,
            tls_exporter=self._tls_exporter,
            client_certificate=self._client_certificate,
        )
        self.session.tls = ISSLTransport.providedBy(transport)
        factory.sessions.add(self.session)
        try:
            self._admission = factory.limits.connected(peer.address, self.session.session_id)
            if factory.settings.preauthenticated:
                self._admission.logged_in(POSTMAN.user_id)
        except LimitExceeded as limit:
            self.log.info("refused a connection from {peer}: {reason}", peer=peer.address, reason=limit.reason)
            self.session.end(replies.TOO_MANY_CONNECTIONS)
            return
        self.session.greet()
        self._look_at_time()

    @override
    def dataReceived(self, data: bytes) -> None:
        if self._admission is not None and self._admission.log is not None:
            self._admission.log.received(data)
        self.session.receive(data)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._connected = False
        self._stop_timer()
        if self._admission is not None:
            self._admission.close()
        self.factory.sessions.discard(self.session)
        self.session.lost()

    # --- IPushProducer, as the transport sees us ----------------------------------

    def pauseProducing(self) -> None:  # noqa: N802
        """The client does not read."""
        self._output_full = True
        self._read_or_not()

    def resumeProducing(self) -> None:  # noqa: N802
        """It does again."""
        self._output_full = False
        self._read_or_not()

    def stopProducing(self) -> None:  # noqa: N802
        """The transport is gone; C{connectionLost} says so too."""

    # --- Link, as the session sees us -----------------------------------------------

    def write(self, data: bytes) -> None:
        """Send octets."""
        if self._admission is not None and self._admission.log is not None:
            self._admission.log.sent(data)
        self._transport().write(data)

    def pause(self) -> None:
        """Read nothing until C{resume}."""
        self._session_paused = True
        self._read_or_not()

    def resume(self) -> None:
        """Read again."""
        self._session_paused = False
        self._read_or_not()

    def soon(self, function: Callable[[], None]) -> None:
        """Call a function in a later turn of the reactor."""
        self.factory.reactor.callLater(0, function)

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Have something computed that takes long, where other connections go on meanwhile."""
        return await in_thread(self.factory.reactor, work)

    def start_tls(self) -> None:
        """Begin the TLS handshake."""
        self._transport().startTLS(self.factory.tls)

    def logged_in(self, user_id: str) -> None:
        """
        Count the connection for a user.

        @raise LimitExceeded: The user has too many.
        """
        if self._admission is not None:
            self._admission.logged_in(user_id)

    def close(self) -> None:
        """Close when all was sent, or when that takes too long."""
        transport = self._transport()
        self._closing = True
        self._stop_timer()
        transport.unregisterProducer()
        transport.loseConnection()
        if self._connected:
            self._timer = self.factory.reactor.callLater(CLOSE_TIMEOUT, self._abort)

    # --- the rest --------------------------------------------------------------------

    log = Logger()

    def _transport(self) -> Any:
        # Which interfaces it has depends on the socket; all of them are used here.
        return cast(ITCPTransport, self.transport)

    def _read_or_not(self) -> None:
        if not self._connected or self._closing:
            return
        if self._session_paused or self._output_full:
            self._transport().pauseProducing()
        else:
            self._transport().resumeProducing()

    def _look_at_time(self) -> None:
        self._timer = None
        again = self.session.check_time()
        # The session may have ended just now, and another timer run.
        if self._connected and self._timer is None:
            self._timer = self.factory.reactor.callLater(again, self._look_at_time)

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _abort(self) -> None:
        self._timer = None
        self._transport().abortConnection()

    def _tls_exporter(self) -> Exporter | None:
        handle = getattr(self._transport(), "getHandle", None)
        return None if handle is None else exporter(handle())

    def _client_certificate(self) -> bytes | None:
        show = getattr(self._transport(), "client_certificate", None)
        return None if show is None else cast("bytes | None", show())


def _host(address: IAddress) -> str:
    """The IP address; empty for a Unix socket, which has none."""
    return address.host if isinstance(address, IPv4Address | IPv6Address) else ""


class LmtpFactory(Factory):
    """
    Makes the connections of one LMTP service.

    @ivar sessions: Those that are open.
    """

    protocol = LmtpProtocol  # type: ignore[assignment] # a class is what Twisted calls to build one
    noisy = False

    def __init__(
        self,
        delivery: IDeliveryAgent,
        authenticator: IAuthenticator,
        settings: LmtpSettings,
        limits: ConnectionLimits,
        tls: IOpenSSLServerConnectionCreator | None,
        reactor: IReactorTime,
    ) -> None:
        self.delivery = delivery
        self.authenticator = authenticator
        self.settings = settings
        self.limits = limits
        self.tls = tls
        self.reactor = reactor
        self.sessions: set[LmtpSession] = set()

    def shut_down(self) -> None:
        """Tell all clients that the server goes; a delivery being committed is answered first."""
        for session in list(self.sessions):
            session.shut_down()
