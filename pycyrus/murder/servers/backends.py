"""The other servers: where they are, how to log in there, and connections kept for the next who needs one."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.abstract import isIPv6Address
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from pycyrus.auth.client import ClientCredentials, ClientExchange, choose
from pycyrus.errors import (
    AuthenticationFailed,
    MalformedExchange,
    MechanismUnavailable,
    StoreUnavailable,
)
from pycyrus.model.identity import Identity
from pycyrus.murder.servers.connection import ServerConnection
from pycyrus.murder.servers.health import Health
from pycyrus.murder.servers.imap_link import ImapLink
from pycyrus.net.client import Connector
from pycyrus.net.keepalive import Keepalive
from pycyrus.tasks import Tasks

_CHECK_AFTER = 2.0
"""Seconds without use after which a kept connection is asked whether it lives."""
_CHECK_WITHIN = 5.0
_KEEP_FOR = 60.0
_SWEEP_EVERY = 5.0
_MOST_KEPT = 500
_MOST_KEPT_PER_USER = 4
_WATCHED = frozenset({"imap", "lmtp"})
"""Services in whose connections somebody may wait for an answer for long."""
_ITSELF = Identity("")
DEFAULT_PORTS = {"imap": 143, "pop3": 110, "lmtp": 2003, "sieve": 4190, "smmap": 12345}


@dataclass(frozen=True, slots=True)
class Address:
    """
    Where a server is.

    @ivar wants_tls: Not without TLS.
    @ivar skips_login: It wants no login.
    """

    host: str
    port: int
    wants_tls: bool = False
    skips_login: bool = False


_HOST = re.compile(r"(?=.{1,253}\Z)(?:[0-9A-Za-z_-]{1,63}\.)*[0-9A-Za-z_-]{1,63}\.?\Z")


def _is_port(digits: str) -> bool:
    return digits.isascii() and digits.isdigit() and len(digits) <= 5 and 0 < int(digits) < 65536


@dataclass(frozen=True, slots=True)
class BackendSettings:
    """
    How to reach backends.

    @ivar credentials: Who the frontend is there; by the first part of a
        server's name where it is another (C{<host>_password}), and under the
        empty name for all others.
    @ivar mechanisms: The only ones to use, likewise (C{<host>_mechs}).
    @ivar ports: The port of a service, by server and service, where the one
        in the server's name is another's.
    @ivar connect_within: Seconds (C{client_timeout}).
    @ivar allow_plaintext: A password may go in clear where there is no TLS.
    @ivar tls: Gives what C{startTLS} takes, for a host name; None for never.
    @ivar proxies: Users that are other servers, which pass on what they believe to be here
        (C{proxyservers}).
    """

    credentials: Mapping[str, ClientCredentials]
    mechanisms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ports: Mapping[tuple[str, str], int] = field(default_factory=dict)
    connect_within: float = 10.0
    allow_plaintext: bool = True
    tls: Callable[[str], object] | None = None
    proxies: frozenset[str] = frozenset()

    @property
    def patience(self) -> float:
        """Seconds of silence from which it is doubted that a server lives."""
        return 1.5 * self.connect_within

    @property
    def keepalive(self) -> Keepalive:
        """So that a connection that is cut is known to be, at about the same time."""
        seconds = max(3, int(self.patience))
        return Keepalive(seconds, max(1, seconds // 3), 3, unacknowledged=seconds)

    def address(self, server: str, service: str) -> Address:
        """
        Where a service of a server is.

        @param server: C{host}, C{host:port} or C{[address]:port}, as the directory has it.
        @raise StoreUnavailable: This is none.
        """
        plain, *words = server.split("/")
        host, mark, digits = plain.rpartition(":")
        if not mark or "]" in digits or (":" in host and not host.startswith("[")):
            host, digits = plain, ""
        host = host.removeprefix("[").removesuffix("]")
        # The directory is others' word, and no resolver takes each text.
        if not (_HOST.match(host) or isIPv6Address(host)) or (digits and not _is_port(digits)):
            raise StoreUnavailable(f"{server!r} is no server")
        port = self.ports.get((server, service)) or int(digits or DEFAULT_PORTS[service])
        return Address(host, port, "tls" in words, "noauth" in words)

    def for_server(self, server: str) -> tuple[ClientCredentials, tuple[str, ...]]:
        """Who to be there, and by which mechanisms."""
        short = server.partition(".")[0].partition(":")[0]
        return (
            self.credentials.get(short) or self.credentials[""],
            self.mechanisms.get(short) or self.mechanisms.get("", ()),
        )

    def exchange(
        self, server: str, acting_as: str, offered: list[str], *, tls: bool, may_be_clear: bool, service: str
    ) -> ClientExchange:
        """
        Begin a login.

        @param acting_as: User id; empty for the frontend itself.
        @param may_be_clear: A password may be shown to whoever listens.
        @raise MechanismUnavailable: None that could be used is offered.
        """
        own, only = self.for_server(server)
        credentials = ClientCredentials(own.authentication_id, acting_as, own.realm, own.password)
        host = self.address(server, service).host
        return choose(
            offered, credentials, tls=tls, allow_plaintext=may_be_clear, only=only, service=service, host=host
        )


class Backends:
    """
    Connections to the other servers.

    A connection acts for one user.  One that nobody needs is kept for that user's next
    session or command.

    @ivar health: Knows which servers answer.
    """

    log = Logger()

    def __init__(self, settings: BackendSettings, reactor: Any) -> None:
        self.settings = settings
        self._reactor = reactor
        self._connector = Connector(reactor, settings.keepalive)
        self._kept: dict[tuple[str, str], list[ImapLink]] = {}
        self._count = 0
        self.health = Health(self.connect_quietly, reactor, settings.patience)
        self._tasks = Tasks()
        self._sweeper: IDelayedCall | None = None
        self._is_closed = False

    # --- IMAP -----------------------------------------------------------------------

    async def link(self, server: str, identity: Identity) -> ImapLink:
        """
        A connection that acts for somebody, and has nothing selected.

        Give it back by L{give_back}.

        @raise StoreUnavailable: There is none.
        """
        key = (server, identity.user_id)
        while kept := self._kept.get(key):
            link = kept.pop()
            self._count -= 1
            if not kept:
                del self._kept[key]
            if link.lost_reason is None and await self._lives(link):
                return link
        return await self._open(server, identity)

    async def own_link(self, server: str) -> ImapLink:
        """
        A connection of this server's own, which acts for nobody else; the caller ends it.

        @raise StoreUnavailable: There is none.
        """
        return await self._open(server, _ITSELF)

    async def _lives(self, link: ImapLink) -> bool:
        if self._reactor.seconds() - link.used < _CHECK_AFTER:
            return True
        try:
            await link.ask(b"NOOP", _CHECK_WITHIN)
        except StoreUnavailable:
            return False
        return True

    async def _open(self, server: str, identity: Identity) -> ImapLink:
        link = ImapLink(server, self._reactor)
        await self.connect(server, "imap", link)
        try:
            await link.greeted()
            address = self.settings.address(server, "imap")
            if not address.skips_login:
                await self._log_in(link, identity, wants_tls=address.wants_tls)
        except (AuthenticationFailed, MalformedExchange, MechanismUnavailable) as error:
            link.abort("cannot log in")
            # The client was let in: that a backend does not let in its proxy is the servers' affair.
            self.log.error("cannot log in at {server}: {error}", server=server, error=str(error))
            raise StoreUnavailable(f"{server}: cannot log in: {error}") from error
        except StoreUnavailable as error:
            self.health.note_down(server, "imap", str(error))
            raise
        except CancelledError:
            link.abort("given up")
            raise
        return link

    async def _log_in(self, link: ImapLink, identity: Identity, *, wants_tls: bool) -> None:
        settings = self.settings
        is_secure = False
        can_tls = settings.tls is not None and b"STARTTLS" in link.capabilities

        def choose_one(*, may_be_clear: bool) -> ClientExchange:
            return settings.exchange(
                link.server,
                identity.user_id,
                link.mechanisms,
                tls=is_secure,
                may_be_clear=may_be_clear,
                service="imap",
            )

        if wants_tls and not can_tls:
            raise MechanismUnavailable("no TLS, which its name demands")
        exchange = None
        if not wants_tls:
            try:
                exchange = choose_one(may_be_clear=settings.allow_plaintext and not can_tls)
            except MechanismUnavailable:
                if not can_tls:
                    raise
        if exchange is None:
            assert settings.tls is not None
            await link.start_tls(settings.tls(settings.address(link.server, "imap").host))
            is_secure = True
            exchange = choose_one(may_be_clear=True)
        await link.authenticate(exchange)
        if not link.capabilities:
            await link.ask_capabilities()

    def give_back(self, link: ImapLink, identity: Identity) -> None:
        """Take a connection back, with nothing selected and no command at work, for the same user's next need."""
        key = (link.server, identity.user_id)
        kept = self._kept.get(key, [])
        is_good = link.is_clean and not link.enabled and link.lost_reason is None
        if self._is_closed or not is_good or self._count >= _MOST_KEPT or len(kept) >= _MOST_KEPT_PER_USER:
            link.log_out()
            return
        link.listener = None
        kept.append(link)
        self._kept[key] = kept
        self._count += 1
        if self._sweeper is None:
            self._sweeper = self._reactor.callLater(_SWEEP_EVERY, self._sweep)

    def leave(self, link: ImapLink, identity: Identity) -> None:
        """Take a connection back on which a mailbox is selected; the client does not wait for that."""
        if link.lost_reason is not None or not link.is_clean or link.enabled or self._is_closed:
            link.log_out()
        else:
            self._tasks.spawn(self._leave(link, identity), self._failed)

    async def _leave(self, link: ImapLink, identity: Identity) -> None:
        try:
            _, status, _ = await link.ask(b"UNSELECT", _CHECK_WITHIN)
        except StoreUnavailable:
            return
        link.is_clean = status == b"OK"
        self.give_back(link, identity)

    def _sweep(self) -> None:
        self._sweeper = None
        oldest = self._reactor.seconds() - _KEEP_FOR
        for key, links in list(self._kept.items()):
            good = [link for link in links if link.lost_reason is None and link.used > oldest]
            for link in links:
                if link not in good:
                    link.log_out()
            self._count -= len(links) - len(good)
            if good:
                self._kept[key] = good
            else:
                del self._kept[key]
        if self._kept:
            self._sweeper = self._reactor.callLater(_SWEEP_EVERY, self._sweep)

    @contextlib.asynccontextmanager
    async def borrowed(self, server: str, identity: Identity) -> AsyncIterator[ImapLink]:
        """A connection for some commands; one on which something failed half-way is cut."""
        link = await self.link(server, identity)
        try:
            yield link
        except BaseException:
            link.abort("broken off")
            raise
        self.give_back(link, identity)

    def check_first(self, came_by: str, server: str) -> None:
        """
        Pass on what a client wants, but not what a server passed on: two that each take
        the other for a mailbox's home would go on for ever.

        @param came_by: Who logged in.
        @param server: Where it would go.
        @raise StoreUnavailable: It is a server.
        """
        if came_by in self.settings.proxies:
            raise StoreUnavailable(f"{came_by} passes on to us what is at {server}")

    # --- all services ---------------------------------------------------------------

    async def connect(self, server: str, service: str, protocol: Protocol) -> None:
        """
        Connect a protocol.

        @raise StoreUnavailable: There is no connection, or was none a moment ago.
        """
        self.health.check(server, service)
        try:
            await self.connect_quietly(server, service, protocol)
        except StoreUnavailable as error:
            self.health.note_down(server, service, str(error))
            raise
        if service in _WATCHED and isinstance(protocol, ServerConnection):
            self.health.watch(protocol, service)

    async def connect_quietly(self, server: str, service: str, protocol: Protocol) -> None:
        """
        Connect a protocol to a service that a server need not have.

        @raise StoreUnavailable: There is no connection.
        """
        address = self.settings.address(server, service)
        try:
            await self._connector.connect(address.host, address.port, protocol, self.settings.connect_within)
        except (ConnectError, DNSLookupError) as error:
            raise StoreUnavailable(f"{server}: {error}") from error

    def _failed(self, failure: Failure) -> None:
        self.log.failure("a connection to a backend failed", failure)

    def close(self) -> None:
        """End all connections that are kept."""
        self._is_closed = True
        self._tasks.cancel_all()
        self.health.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for links in self._kept.values():
            for link in links:
                link.log_out()
        self._kept.clear()
