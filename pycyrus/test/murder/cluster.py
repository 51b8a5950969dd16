"""A frontend and its backends, in one process, on ports of the loopback."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from pycyrus.auth.assemble import Authentication
from pycyrus.auth.authenticator import AuthSettings
from pycyrus.auth.checkers.chain import CheckerChain
from pycyrus.auth.client import ClientCredentials
from pycyrus.auth.delays import DelaySettings
from pycyrus.auth.identity import IdentitySettings
from pycyrus.errors import MailStoreError
from pycyrus.imap.protocol import ImapFactory
from pycyrus.imap.settings import ImapSettings
from pycyrus.interfaces import IMailboxDirectory, Location
from pycyrus.model.acl_text import write_acl
from pycyrus.model.identity import SERVER, AdminScope, Identity
from pycyrus.model.internal_names import internal
from pycyrus.model.names import ExternalNames, MailboxName, NamespaceSettings, inbox_of
from pycyrus.model.scopes import ListScope, Namespace
from pycyrus.murder.imap.create import ServerChoice, ServerChoiceSettings
from pycyrus.murder.imap.routes import ImapRoutes, RouteSettings
from pycyrus.murder.servers.backends import Backends
from pycyrus.murder.servers.imap_link import ImapLink
from pycyrus.murder.servers.settings import BackendSettings
from pycyrus.net.transport import listen_tcp
from pycyrus.store.settings import StoreSettings
from pycyrus.store.store import MailStore, open_store
from pycyrus.test.auth.parts import CACHE, at_once
from pycyrus.test.auth.services import SecretsChecker

USERS = dict.fromkeys(("alice", "bob", "admin", "mailproxy"), "secret")
NAMES = NamespaceSettings(altnamespace=False, unixhierarchysep=False)
ADMIN = Identity("admin", admin=AdminScope.GLOBAL, admin_rights=SERVER.admin_rights)
_ALL = (
    ListScope(Namespace.OTHER),
    ListScope(Namespace.SHARED),
    ListScope(Namespace.SHARED, deleted=True),
)


@implementer(IMailboxDirectory)
class Directory:
    """
    What the backends have, as it is when it is looked at.

    @ivar own: Mailboxes of the frontend itself, if it is a unified server.
    @ivar said: What is said to be somewhere else.
    """

    def __init__(self, stores: dict[str, MailStore]) -> None:
        self._stores = stores
        self.own: MailStore | None = None
        self.said: dict[str, Location] = {}
        self.locations: dict[str, Location] = {}
        self.asked = 0

    async def catch_up(self) -> None:
        """Ask the backends."""
        self.asked += 1
        self.locations = dict(self.said)
        stores = self._stores if self.own is None else {**self._stores, "": self.own}
        for server, store in stores.items():
            for listing in await store.list(ADMIN, _ALL):
                acl = await store.acl(ADMIN, listing.name)
                name = internal(listing.name)
                self.locations[name] = Location(name, server, "default", write_acl(acl))

    async def locate(self, name: MailboxName, *, surely: bool = False) -> Location | None:
        """As L{IMailboxDirectory}."""
        found = self.locations.get(internal(name))
        if found is None:
            await self.catch_up()
            found = self.locations.get(internal(name))
        return found

    def known(self, prefix: str, after: str, limit: int, *, shared: bool = False) -> Sequence[Location]:
        """As L{IMailboxDirectory}."""
        names = sorted(name for name in self.locations if name.startswith(prefix) and name > after)
        return [self.locations[name] for name in names[:limit]]


class MurderCase(TestCase):
    """
    A frontend, and two backends: alice is on the first, bob on the second.

    @ivar backends: By name, C{127.0.0.1:PORT}.
    @ivar namespace: How names look, on all servers.
    @ivar users: Their passwords.
    @ivar identities: How user ids are read, and who administers.
    """

    mechanisms: tuple[str, ...] = ()
    namespace = NAMES
    users: Mapping[str, str] = USERS
    identities = IdentitySettings()

    async def setUp(self) -> None:  # type: ignore[override] # trial waits
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.stores: dict[str, MailStore] = {}
        self.factories: dict[str, ImapFactory] = {}
        self.ports: dict[str, Any] = {}
        self.servers = [self.start_backend(), self.start_backend()]
        self.directory = Directory(self.stores)
        for user, server in zip(("alice", "bob"), self.servers, strict=True):
            await self.stores[server].create(ADMIN, inbox_of(Identity(user)))
        await self.directory.catch_up()
        self.links = self.make_links()
        self.frontend = self.start_frontend()
        self._clients: list[ImapLink] = []

    def make_links(self, **settings: Any) -> Backends:
        """The frontend's connections."""
        links = Backends(
            BackendSettings({"": ClientCredentials("mailproxy", password="secret")}, **settings), self.reactor
        )
        self.addCleanup(links.close)
        return links

    def _store(self) -> MailStore:
        directory = Path(tempfile.mkdtemp(prefix="m-"))
        self.addCleanup(rmtree, directory, True)
        store = open_store(
            StoreSettings(
                directory / "c", {"default": directory / "s"}, defaultpartition="default", allowallsubscribe=True
            ),
            self.reactor,
        )
        self.addCleanup(store.close)
        return store

    def authenticator(self, admins: Sequence[str] = ("admin",), **settings: Any) -> Any:
        """Who may come in."""
        parts = Authentication(
            Clock(), CheckerChain([SecretsChecker(self.users)]), at_once, CACHE, DelaySettings(pause=0)
        )
        identities = replace(self.identities, admins=(*self.identities.admins, *admins))
        return parts.authenticator(identities, AuthSettings(allow_plaintext=True, **settings))

    def start_backend(self) -> str:
        """Start one; @return: its name."""
        store = self._store()
        factory = self._factory(store, proxy_servers=("mailproxy",), mechanisms=self.mechanisms)
        port = self.listen(factory)
        name = f"127.0.0.1:{port.getHost().port}"
        self.stores[name], self.factories[name], self.ports[name] = store, factory, port
        return name

    def start_frontend(
        self,
        settings: RouteSettings = RouteSettings(),  # noqa: B008
        user_defaults: Any = None,
        *,
        is_unified: bool = False,
        **choice: Any,
    ) -> int:
        """Start it, with or without mailboxes of its own; @return: its port."""
        servers = ServerChoice(ServerChoiceSettings(tuple(self.servers), **choice), self.links, user_defaults)
        routes = ImapRoutes(self.directory, self.links, servers, settings, self.directory.catch_up, "DELETED")
        store = self._store()
        if is_unified:
            self.directory.own = store
            routes.settings = replace(settings, has_own=True)
        number: int = self.listen(self._factory(store, elsewhere=routes)).getHost().port
        return number

    def _factory(self, store: MailStore, elsewhere: Any = None, **auth: Any) -> ImapFactory:
        return ImapFactory(
            store,
            self.authenticator(**auth),
            ImapSettings(),
            partial(ExternalNames, self.namespace),
            None,
            None,
            self.reactor,
            elsewhere,
        )

    def listen(self, factory: Any) -> Any:
        """Listen on a port of the loopback."""
        port = listen_tcp(self.reactor, "127.0.0.1", 0, factory)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.stop(port, factory)))
        return port

    async def stop(self, port: Any, factory: Any) -> None:
        """Stop listening, and cut what is connected."""
        await maybeDeferred(port.stopListening)
        while factory.sessions:
            for session in list(factory.sessions):
                session.abort()
            await self.turn()

    async def turn(self) -> None:
        """Let others go on."""
        turn: Deferred[None] = Deferred()
        self.reactor.callLater(0.005, turn.callback, None)
        await turn

    async def stop_backend(self, server: str) -> None:
        """Have a backend be away."""
        await self.stop(self.ports[server], self.factories[server])

    async def client(self, user: str = "alice", port: int | None = None) -> ImapLink:
        """A client, logged in."""
        link = ImapLink("client", self.reactor)
        await connectProtocol(TCP4ClientEndpoint(self.reactor, "127.0.0.1", port or self.frontend), link)
        await link.greeted()
        _, status, text = await link.ask(b"LOGIN %b secret" % user.encode())
        self.assertEqual(status, b"OK", text)

        def end() -> None:
            with contextlib.suppress(MailStoreError):
                link.log_out()

        self.addCleanup(end)
        return link

    async def do(self, client: ImapLink, command: bytes, status: bytes = b"OK") -> bytes:
        """Have a command done; @return: all that was said to it."""
        untagged, found, text = await client.ask(command)
        self.assertEqual(found, status, text)
        return untagged + found + b" " + text

    async def append(self, client: ImapLink, mailbox: bytes, *bodies: bytes) -> bytes:
        """Append messages."""
        return await self.do(
            client,
            b"APPEND " + mailbox + b"".join(b" (\\Flagged) {%d+}\r\n%b" % (len(body), body) for body in bodies),
        )
