"""A frontend in memory, with backends on ports of the loopback, against which conversations are played."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from zope.interface import implementer

from pycyrus.auth.client import ClientCredentials
from pycyrus.errors import AuthorizationDenied
from pycyrus.imap.protocol import ImapFactory
from pycyrus.imap.settings import ImapSettings
from pycyrus.interfaces import Authenticated, Challenge, Channel, IAuthenticator, ISaslExchange
from pycyrus.model.identity import Identity
from pycyrus.model.mailbox_name import inbox_of
from pycyrus.model.names import ExternalNames, NamespaceSettings
from pycyrus.murder.imap.create import ServerChoice, ServerChoiceSettings
from pycyrus.murder.imap.routes import ImapRoutes, RouteSettings
from pycyrus.murder.servers.backends import Backends
from pycyrus.murder.servers.settings import BackendSettings
from pycyrus.net.transport import listen_tcp
from pycyrus.store.settings import StoreSettings
from pycyrus.store.store import MailStore, open_store
from pycyrus.test.murder.cluster import Directory
from pycyrus.testing.imap import ADMIN, FixedAuthenticator, ImapServer, PlainExchange, check

_PROXY = "mailproxy"


class _ProxyExchange(PlainExchange):
    """PLAIN of a frontend, which says for whom it comes."""

    async def step(self, response: bytes | None) -> Challenge | Authenticated:
        """Take the one response there is."""
        if response is None:
            return Challenge(b"")
        acting_as, who, password = response.split(b"\0")
        if who != _PROXY.encode() or password != b"secret":
            raise AuthorizationDenied(who.decode())
        user = acting_as.decode()
        return check({user: "secret"}, acting_as, b"secret")


@implementer(IAuthenticator)
class ProxyAuthenticator(FixedAuthenticator):
    """Lets a frontend in, for anybody."""

    def start(self, mechanism: str, channel: Channel) -> ISaslExchange:
        """Begin PLAIN."""
        exchange: ISaslExchange = _ProxyExchange({})
        return exchange


class Frontend(ImapServer):
    """
    A frontend, and two backends.

    All have the clock of the test; connections between them are real ones.

    @ivar stores: Of the backends, by their names.
    """

    def __init__(self, directory: Path, settings: ImapSettings, reactor: Any, tls: object = None) -> None:
        super().__init__(settings, reactor=reactor, tls=tls)
        self._settings = settings
        self._real: Any = reactor
        self._listening: list[tuple[Any, ImapFactory]] = []
        self.stores: dict[str, MailStore] = {}
        for number in ("1", "2"):
            self._start_backend(directory / number)
        self._own = self._open(directory / "own")
        self._directory = Directory(self.stores)
        self._links = Backends(BackendSettings({"": ClientCredentials(_PROXY, password="secret")}), reactor)
        servers = tuple(self.stores)
        choice = ServerChoice(ServerChoiceSettings(servers, first=servers[0]), self._links)
        catch_up = self._directory.catch_up
        routes = ImapRoutes(self._directory, self._links, choice, RouteSettings(), catch_up, "DELETED")
        self.factory.parts = replace(self.factory.parts, store=self._own, elsewhere=routes)

    def _open(self, directory: Path) -> MailStore:
        directory.mkdir(parents=True)
        settings = StoreSettings(
            directory / "config",
            {"default": directory / "spool"},
            defaultpartition="default",
            allowallsubscribe=True,
        )
        return open_store(settings, self._real)

    def _start_backend(self, directory: Path) -> None:
        store = self._open(directory)

        def names(identity: Identity) -> ExternalNames:
            return ExternalNames(NamespaceSettings(), identity)

        factory = ImapFactory(store, ProxyAuthenticator(), self._settings, names, None, None, self.clock)
        port = listen_tcp(self._real, "127.0.0.1", 0, factory)
        self.stores[f"127.0.0.1:{port.getHost().port}"] = store
        self._listening.append((port, factory))

    async def add_users(self, *users: str) -> None:
        """Make the INBOX of each user, on one server after the other."""
        for number, user in enumerate(users):
            store = list(self.stores.values())[number % len(self.stores)]
            await store.create(ADMIN, inbox_of(Identity(user)))
        await self._directory.catch_up()

    async def shut_down(self) -> None:
        """End all connections, and close the stores."""
        self.close()
        self._links.close()
        for port, factory in self._listening:
            await maybeDeferred(port.stopListening)
            while factory.sessions:
                for session in list(factory.sessions):
                    session.abort()
                turn: Deferred[None] = Deferred()
                self._real.callLater(0.002, turn.callback, None)
                await turn
        for store in (*self.stores.values(), self._own):
            await store.close()
