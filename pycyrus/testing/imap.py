"""
IMAP sessions without sockets, for tests of commands and for conversations.

An L{ImapServer} has users, a store and a clock of the test's own; its
L{Client}s speak to real protocols and sessions over a transport in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IAddress, ITransport
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from pycyrus.errors import (
    AuthenticationFailed,
    AuthorizationDenied,
    MailboxExists,
    MailboxNotFound,
    MalformedExchange,
    MechanismUnavailable,
    PlaintextRefused,
)
from pycyrus.imap.protocol import ImapFactory, ImapProtocol
from pycyrus.imap.settings import ImapSettings, ServerInfo
from pycyrus.interfaces import Authenticated, Challenge, Channel, IAuthenticator, IMailStore, ISaslExchange
from pycyrus.model.identity import AdminScope, Identity
from pycyrus.model.names import ExternalNames, NamespaceSettings, inbox_of
from pycyrus.net.limits import ConnectionLimits
from pycyrus.store.settings import StoreSettings
from pycyrus.store.store import MailStore, open_store
from pycyrus.store.watch import WatchReactor
from pycyrus.testing.transcript import Connection, TranscriptError, options_of

PATIENCE = 60.0
"""Seconds of real time until a test gives up waiting for the server."""

PASSWORDS = {"alice": "secret", "bob": "secret", "admin": "secret"}


@implementer(ISaslExchange)
class PlainExchange:
    """PLAIN (RFC 4616) with fixed passwords."""

    def __init__(self, passwords: dict[str, str]) -> None:
        self._passwords = passwords

    async def step(self, response: bytes | None) -> Challenge | Authenticated:
        """Take the one response there is."""
        if response is None:
            return Challenge(b"")
        parts = response.split(b"\0")
        if len(parts) != 3:
            raise MalformedExchange("not three parts")
        return check(self._passwords, parts[1], parts[2])


@implementer(IAuthenticator)
class FixedAuthenticator:
    """
    Users with fixed passwords; C{admin} administers.

    @ivar plaintext: Whether passwords may be sent without TLS.
    """

    def __init__(self, passwords: dict[str, str] = PASSWORDS, *, plaintext: bool = True) -> None:
        self.passwords = passwords
        self.plaintext = plaintext

    def mechanisms(self, channel: Channel) -> Sequence[str]:
        """PLAIN, where it may be."""
        return ["PLAIN"] if self.allows_plaintext(channel) else []

    def allows_plaintext(self, channel: Channel) -> bool:
        """Under TLS, or if configured."""
        return self.plaintext or channel.tls

    def start(self, mechanism: str, channel: Channel) -> ISaslExchange:
        """Begin PLAIN."""
        if mechanism != "PLAIN":
            raise MechanismUnavailable(mechanism)
        if not self.allows_plaintext(channel):
            raise PlaintextRefused
        exchange: ISaslExchange = PlainExchange(self.passwords)
        return exchange

    async def login(self, user: bytes, password: bytes, channel: Channel) -> Authenticated:
        """Compare."""
        user, folder = channel.user_and_folder(user)
        return replace(check(self.passwords, user, password), folder=folder)

    async def act(self, user_id: str, acting_as: bytes, channel: Channel) -> Authenticated:
        """Refuse: there are no proxies."""
        raise AuthorizationDenied(user_id)

    def apop_timestamp(self, channel: Channel) -> bytes:
        """None: there is no APOP."""
        return b""

    async def apop(self, user: bytes, digest: bytes, said: bytes, channel: Channel) -> Authenticated:
        """Refuse."""
        raise MechanismUnavailable("APOP")


def check(passwords: dict[str, str], user: bytes, password: bytes) -> Authenticated:
    """
    Compare a password with the one of the user.

    @raise AuthenticationFailed: It is another.
    """
    name = user.decode("utf-8", "replace")
    if passwords.get(name, "").encode() != password or not password:
        raise AuthenticationFailed(name)
    scope = AdminScope.GLOBAL if name == "admin" else AdminScope.NONE
    local, _, domain = name.partition("@")
    return Authenticated(Identity(local, domain, admin=scope), name)


class EmptyStore:
    """A store without mailboxes, for sessions that open none."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def absent(*args: object, **kwargs: object) -> Any:
            raise MailboxNotFound(name)

        return absent


@implementer(ITransport)
class MemoryTransport:
    """
    The server's side of a connection in memory.

    @ivar output: What the server sent and nobody has read.
    @ivar window: Octets that may lie unread before the producer is paused;
        None for no end.
    @ivar is_paused: The server does not read now.
    @ivar disconnecting: The server closes.
    @ivar was_aborted: It did so without regard for what is unread.
    @ivar is_secure: TLS was begun; the octets stay as they are.
    """

    def __init__(self, address: IPv4Address) -> None:
        self.address = address
        self.output = b""
        self.window: int | None = None
        self.is_paused = False
        self.disconnecting = False
        self.was_aborted = False
        self.is_secure = False
        self._producer: Any = None
        self._is_full = False

    def write(self, data: bytes) -> None:
        """Take octets from the server."""
        self.output += data
        if self.window is not None and len(self.output) > self.window and not self._is_full and self._producer:
            self._is_full = True
            self._producer.pauseProducing()

    def writeSequence(self, data: Iterable[bytes]) -> None:  # noqa: N802 - ITransport
        """Take octets from the server."""
        self.write(b"".join(data))

    def take(self, count: int) -> bytes:
        """Read some of what was written."""
        data, self.output = self.output[:count], self.output[count:]
        if self._is_full and not self.output:
            self._is_full = False
            if self._producer:
                self._producer.resumeProducing()
        return data

    def registerProducer(self, producer: object, streaming: bool) -> None:  # noqa: N802 - IConsumer
        """Tell it from now on when it is too fast."""
        self._producer = producer

    def unregisterProducer(self) -> None:  # noqa: N802 - IConsumer
        """Tell it no more."""
        self._producer = None

    def pauseProducing(self) -> None:  # noqa: N802 - IPushProducer
        """Stop reading."""
        self.is_paused = True

    def resumeProducing(self) -> None:  # noqa: N802 - IPushProducer
        """Read again."""
        self.is_paused = False

    def loseConnection(self) -> None:  # noqa: N802 - ITransport
        """Close when all was read."""
        self.disconnecting = True

    def abortConnection(self) -> None:  # noqa: N802 - ITCPTransport
        """Close now."""
        self.was_aborted = True
        self.disconnecting = True

    def startTLS(self, context: object, normal: bool = True) -> None:  # noqa: N802 - ITLSTransport
        """Note that TLS begins."""
        self.is_secure = True

    def getPeer(self) -> IAddress:  # noqa: N802 - ITransport
        """The client."""
        return self.address

    def getHost(self) -> IAddress:  # noqa: N802 - ITransport
        """The server."""
        return IPv4Address("TCP", "127.0.0.1", 143)


class Client:
    """A client's end of a connection to an L{ImapServer}."""

    def __init__(self, server: ImapServer) -> None:
        self._server = server
        self._is_lost = False
        address = IPv4Address("TCP", "127.0.0.1", 40_000)
        self.transport = MemoryTransport(address)
        protocol: Any = server.factory.buildProtocol(address)
        self.protocol: ImapProtocol = protocol
        protocol.makeConnection(self.transport)
        self.settle()

    @property
    def is_closed(self) -> bool:
        """Whether the server has closed it."""
        return self._is_lost

    def send(self, data: bytes) -> None:
        """Send octets, in one packet."""
        if not self._is_lost:
            self.protocol.dataReceived(data)
        self.settle()

    def settle(self) -> None:
        """Let the server do what it can do now."""
        self._server.advance(0)
        if self.transport.disconnecting and not self._is_lost:
            self._lose(Failure(ConnectionAborted() if self.transport.was_aborted else ConnectionDone()))

    def _lose(self, reason: Failure) -> None:
        self._is_lost = True
        self.protocol.connectionLost(reason)

    def pending(self) -> bytes:
        """What came and was not taken."""
        return self.transport.output

    def receive(self) -> bytes:
        """Take all that came."""
        return self.transport.take(len(self.pending()))

    async def receive_line(self) -> bytes | None:
        """Take a line, without its end; None if none comes."""
        while True:
            line, end, _ = self.pending().partition(b"\r\n")
            if end:
                self.transport.take(len(line) + 2)
                return line
            self.settle()
            if b"\r\n" not in self.pending() and (self._is_lost or not await self._wait()):
                return None

    async def _wait(self) -> bool:
        """
        Wait for what the server cannot say at once: its store works in threads.

        @return: False if it will say nothing.
        @raise TranscriptError: It still does not after a long time.
        """
        reactor = self._server.reactor
        if reactor is None:
            return False
        deadline = reactor.seconds() + PATIENCE
        session = self.protocol.session
        # Busy, or with something to tell at any time (RFC 5465).
        while (session.is_busy or session.telling.notices) and not self._is_lost and b"\r\n" not in self.pending():
            if reactor.seconds() > deadline:
                raise TranscriptError("the server does not answer")
            turn: Deferred[None] = Deferred()
            reactor.callLater(0.001, turn.callback, None)
            await turn
            self.settle()
        return b"\r\n" in self.pending()

    def drop(self) -> None:
        """Close it from the client's side."""
        if not self._is_lost:
            self._lose(Failure(ConnectionDone()))


_READERS: dict[str, Callable[[str], object]] = {
    "int": int,
    "float": float,
    "bool": lambda text: text in ("yes", "true", "on", "1"),
    "str": str,
    "ServerInfo": ServerInfo,
    "frozenset[str]": lambda text: frozenset(text.split()),
}


def settings_of(conversation: str) -> ImapSettings:
    """The settings that a conversation's C{@option} lines ask for."""
    known = {field.name: _READERS[str(field.type)] for field in fields(ImapSettings) if str(field.type) in _READERS}
    return ImapSettings(**options_of(conversation, known))  # type: ignore[arg-type] # read by the type of each


class ImapServer:
    """
    A server for tests.

    @ivar clock: Time, as far as sessions know it.
    @ivar reactor: The real one, if the store waits for threads; then tests
        wait with it.
    """

    def __init__(
        self,
        settings: ImapSettings = ImapSettings(),  # noqa: B008 - frozen
        *,
        store: IMailStore | None = None,
        authenticator: IAuthenticator | None = None,
        namespace: NamespaceSettings = NamespaceSettings(),  # noqa: B008 - frozen
        limits: ConnectionLimits | None = None,
        tls: object = None,
        reactor: WatchReactor | None = None,
    ) -> None:
        self.clock = Clock()
        self.reactor = reactor
        self.clients: list[Client] = []
        users: IAuthenticator = FixedAuthenticator() if authenticator is None else authenticator
        mailboxes: Any = EmptyStore() if store is None else store
        self.factory = ImapFactory(
            mailboxes,
            users,
            settings,
            lambda identity: ExternalNames(namespace, identity),
            limits,
            tls,  # type: ignore[arg-type] # never used to encrypt
            self.clock,
        )

    def connect(self) -> Client:
        """Open a connection; the greeting is the first thing to receive."""
        client = Client(self)
        self.clients.append(client)
        return client

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)
        if seconds:
            for client in self.clients:
                client.settle()

    async def log_in(self, connection: Connection, user: str) -> None:
        """Log in, and take what the server says to that."""
        connection.send(b"login LOGIN %b secret\r\n" % user.encode())
        line = await connection.receive_line()
        if line is None or not line.startswith(b"login OK"):
            raise TranscriptError(f"{user} could not log in: {line!r}")

    def close(self) -> None:
        """End all connections."""
        for client in self.clients:
            client.drop()


ADMIN = Identity("admin", admin=AdminScope.GLOBAL)


class MailServer(ImapServer):
    """
    A server with the real store, in a directory of its own.

    Make it with L{open_mail_server}.

    @ivar store: For what a test does behind the sessions' backs.
    """

    def __init__(self, store: MailStore, settings: ImapSettings, reactor: WatchReactor, **parts: Any) -> None:
        super().__init__(settings, store=store, reactor=reactor, **parts)
        self.store = store

    async def shut_down(self) -> None:
        """End all connections, and close the store."""
        self.close()
        await self.store.close()


async def open_mail_server(
    directory: Path,
    settings: ImapSettings = ImapSettings(),  # noqa: B008 - frozen
    *,
    reactor: WatchReactor,
    users: Sequence[str] = ("alice", "bob"),
    **parts: Any,
) -> MailServer:
    """
    Make a store with the INBOXes of some users, and a server for it.

    @param directory: Where configuration and spool go; it may be there, and
        hold a store already.
    @param parts: As L{ImapServer} takes them.
    """
    store = open_store(
        StoreSettings(directory / "config", {"default": directory / "spool"}, defaultpartition="default"), reactor
    )
    for user in users:
        with suppress(MailboxExists):
            await store.create(ADMIN, inbox_of(Identity(user)))
    return MailServer(store, settings, reactor, **parts)
