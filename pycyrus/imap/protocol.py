"""Sessions on Twisted transports: the only module of IMAP that knows one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IPushProducer, ISSLTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from pycyrus.imap.parts import Elsewhere, Parts
from pycyrus.imap.session import Session
from pycyrus.imap.settings import ImapSettings
from pycyrus.interfaces import (
    IAuthenticator,
    IMailStore,
    IMessageFile,
    ISessionWatch,
    IStoreObserver,
    ITransfers,
    SessionFacts,
)
from pycyrus.model.identity import Identity
from pycyrus.model.names import ExternalNames
from pycyrus.net import session_id
from pycyrus.net.compression import Deflate
from pycyrus.net.limits import ConnectionLimits
from pycyrus.net.splicing import Pipe
from pycyrus.net.tls import Exporter, exporter

if TYPE_CHECKING:
    from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IReactorTime

FILE_PIECE = 65_536
"""Octets read at a time where the transport cannot send files itself."""


@implementer(IPushProducer)
class ImapProtocol(Protocol):
    """
    One connection: hands octets to its session, and does to the transport what the session asks.

    It is the transport's producer, so that the session learns when the client
    reads too slowly.
    """

    factory: ImapFactory
    session: Session

    def __init__(self) -> None:
        self.is_secure = False
        self._deflate: Deflate | None = None
        self._is_paused = self._is_inflating = False

    # --- called by the transport ---

    @override
    def connectionMade(self) -> None:
        transport: Any = self.transport
        self.is_secure = ISSLTransport.providedBy(transport)
        factory = self.factory
        factory.sessions.add(self)
        transport.registerProducer(self, True)
        peer, local = transport.getPeer(), transport.getHost()
        name = session_id.make(factory.parts.settings.server_name)
        peer_host, local_host = getattr(peer, "host", ""), getattr(local, "host", "")
        watch: ISessionWatch | None = None
        if factory.parts.watcher is not None:
            ports = getattr(peer, "port", 0), getattr(local, "port", 0)
            facts = SessionFacts(factory.parts.settings.service, name, peer_host, ports[0], local_host, ports[1])
            watch = factory.parts.watcher.watch(factory.parts.store, facts)
        self.session = Session(factory.parts, self, peer_host, local_host, name, watch)
        self.session.connection_made()

    @override
    def dataReceived(self, data: bytes) -> None:
        if self._deflate is None:
            self._hand_on(data)
        else:
            self._deflate.feed(data)
            self._inflate(self._deflate)

    def _hand_on(self, data: bytes) -> None:
        telemetry = self.session.telemetry
        if telemetry is not None:
            telemetry.received(data)
        self.session.data_received(data)

    def _inflate(self, deflate: Deflate) -> None:
        """Hand on what came compressed, as far as the session takes it."""
        if self._is_inflating:
            return
        self._is_inflating = True
        try:
            while not self._is_paused and (data := deflate.next_piece()):
                self._hand_on(data)
        except ValueError as error:
            self.factory.log.info("compressed data cannot be read: {error}", error=str(error))
            self.session.abort()
        finally:
            self._is_inflating = False

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.sessions.discard(self)
        self.session.connection_lost()

    def pauseProducing(self) -> None:  # noqa: N802 - IPushProducer
        """The client reads too slowly."""
        self.session.hold_back()

    def resumeProducing(self) -> None:  # noqa: N802 - IPushProducer
        """The client has caught up."""
        self.session.go_on()

    def stopProducing(self) -> None:  # noqa: N802 - IPushProducer
        """The connection is lost, as C{connectionLost} tells as well."""

    # --- called by the session ---

    def send(self, data: bytes) -> None:
        """Write to the transport."""
        assert self.transport is not None
        telemetry = self.session.telemetry
        if telemetry is not None:
            telemetry.sent(data)
        self.transport.write(data if self._deflate is None else self._deflate.compress(data))

    def send_file(self, file: IMessageFile, offset: int, length: int) -> None:
        """Let the kernel send the file, where the transport is one of C{pycyrus.net}."""
        transport: Any = self.transport
        send_file = getattr(transport, "send_file", None)
        if send_file is not None and self._deflate is None and self.session.telemetry is None:
            send_file(file.fileno(), offset, length)
            return
        while length:
            data = file.read(offset, min(length, FILE_PIECE))
            if not data:
                self.session.abort()
                return
            self.send(data)
            offset += len(data)
            length -= len(data)

    @property
    def can_splice(self) -> bool:
        """Whether octets are sent as they are, and nobody wants to see them."""
        return self._deflate is None and self.session.telemetry is None and getattr(self.transport, "can_splice", False)

    def send_pipe(self, data: bytes, pipe: Pipe, length: int) -> None:
        """Send octets, and have the kernel send what is in a pipe."""
        transport: Any = self.transport
        transport.cork()
        transport.write(data)
        transport.send_pipe(pipe, length)
        transport.uncork()

    def pause_reading(self) -> None:
        """Take no more from the client."""
        transport: Any = self.transport
        self._is_paused = True
        transport.pauseProducing()

    def resume_reading(self) -> None:
        """Take from the client again."""
        transport: Any = self.transport
        self._is_paused = False
        transport.resumeProducing()
        if self._deflate is not None:
            self._inflate(self._deflate)

    @property
    def is_compressed(self) -> bool:
        """Whether COMPRESS was used."""
        return self._deflate is not None

    def start_compression(self) -> None:
        """Begin both streams."""
        self._deflate = Deflate()

    @property
    def can_start_tls(self) -> bool:
        """Whether there is a certificate, and a transport that can."""
        return self.factory.tls is not None and hasattr(self.transport, "startTLS")

    def start_tls(self) -> None:
        """Begin TLS when everything was sent."""
        transport: Any = self.transport
        self.is_secure = True
        transport.startTLS(self.factory.tls)

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

    def tls_exporter(self) -> Exporter | None:
        """Keying material of the TLS connection, for channel binding."""
        if not self.is_secure:
            return None
        handle = getattr(self.transport, "getHandle", None)
        return None if handle is None else exporter(handle())

    def client_certificate(self) -> bytes | None:
        """The client's verified certificate as DER, for EXTERNAL."""
        show = getattr(self.transport, "client_certificate", None) if self.is_secure else None
        return None if show is None else show()


class ImapFactory(Factory):
    """
    Makes the connections of one IMAP service.

    @ivar tls: What STARTTLS begins with; None if it is not offered.
    @ivar sessions: Connections that are open.
    """

    protocol = ImapProtocol  # type: ignore[assignment] # a class is what Twisted calls to build one
    noisy = False
    log = Logger()

    def __init__(
        self,
        store: IMailStore,
        authenticator: IAuthenticator,
        settings: ImapSettings,
        names: Callable[[Identity], ExternalNames],
        limits: ConnectionLimits | None,
        tls: IOpenSSLServerConnectionCreator | None,
        reactor: IReactorTime,
        elsewhere: Elsewhere | None = None,
        watcher: IStoreObserver | None = None,
        transfers: ITransfers | None = None,
    ) -> None:
        """
        @param names: Makes the codec of mailbox names for an identity.
        @param reactor: For time limits.
        @param elsewhere: The mailboxes of other servers; None for a server that stands alone.
        @param watcher: Who is told what sessions do; None for nobody.
        @param transfers: Moves mailboxes to other servers; None where they stay.
        """
        self.parts = Parts(store, authenticator, settings, names, limits, reactor, elsewhere, watcher, transfers)
        self.tls = tls
        self.sessions: set[ImapProtocol] = set()

    def shut_down(self) -> None:
        """Tell all clients that the server goes (RFC 9051 section 7.1.5); what is being done is answered first."""
        for protocol in list(self.sessions):
            protocol.session.shut_down()
