"""Connections to the other servers, logged in, and kept for the next who needs one."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from pycyrus.errors import StoreUnavailable
from pycyrus.model.identity import Identity
from pycyrus.murder.servers.connection import ServerConnection
from pycyrus.murder.servers.health import Health
from pycyrus.murder.servers.imap_link import ImapLink
from pycyrus.murder.servers.login import entering, log_in
from pycyrus.murder.servers.naming import NamingCheck
from pycyrus.murder.servers.settings import BackendSettings
from pycyrus.net.client import Connector
from pycyrus.tasks import Tasks

_CHECK_AFTER = 2.0
"""Seconds without use after which a kept connection is asked whether it lives."""
_CHECK_WITHIN = 5.0
_KEEP_FOR = 60.0
_SWEEP_EVERY = 5.0
_MOST_KEPT = 500
_MOST_KEPT_PER_USER = 4
_WATCHED = frozenset({"imap", "lmtp", "pop3", "sieve"})
"""Services in whose connections somebody may wait for an answer for long."""
_ITSELF = Identity("")


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
        self._naming = None if settings.namespace is None else NamingCheck(settings.namespace, reactor.seconds)
        self._tasks = Tasks()
        self._sweeper: IDelayedCall | None = None
        self._is_closed = False

    # --- IMAP -----------------------------------------------------------------------

    async def link(self, server: str, identity: Identity) -> ImapLink:
        """
        A connection that acts for somebody, and has nothing selected.

        Give it back by L{give_back}.

        @raise StoreUnavailable: There is none, or a name would mean something else there.
        """
        key = (server, identity.user_id)
        while kept := self._kept.get(key):
            link = kept.pop()
            self._count -= 1
            if not kept:
                del self._kept[key]
            if link.lost_reason is None and await self._lives(link):
                return link
        if self._naming is None:
            return await self._open(server, identity)
        self._naming.check_known(server, identity)
        link = await self._open(server, identity)
        try:
            await self._naming.check(link, identity)
        except BaseException:
            link.log_out()
            raise
        return link

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
        with entering(link):
            try:
                await link.greeted()
                if not self.settings.address(server, "imap").skips_login:
                    await log_in(link, self.settings, identity.user_id)
                    if not link.capabilities:
                        await link.ask_capabilities()
            except StoreUnavailable as error:
                self.health.note_down(server, "imap", str(error))
                raise
        return link

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
