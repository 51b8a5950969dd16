"""Names through a frontend: its own spelling, and servers that would understand them otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.imap.protocol import ImapFactory
from pycyrus.model.identity import AdminScope, Identity
from pycyrus.model.internal_names import parse_internal
from pycyrus.model.names import ExternalNames, NamespaceSettings
from pycyrus.model.scopes import Namespace
from pycyrus.murder.imap.routes import RouteSettings
from pycyrus.murder.servers.naming import Prefix, difference, parse_namespaces
from pycyrus.test.murder.cluster import ADMIN, NAMES, MurderCase
from pycyrus.testing.logs import captured

FRED = Identity("fred")
BOSS = Identity("boss", admin=AdminScope.GLOBAL)
SETTINGS = NamespaceSettings()
OTHERS = {
    "unixhierarchysep": replace(SETTINGS, unixhierarchysep=False),
    "altnamespace": replace(SETTINGS, altnamespace=False),
    "userprefix": replace(SETTINGS, userprefix="Colleagues"),
    "sharedprefix": replace(SETTINGS, sharedprefix="Public"),
}
"""What may be set otherwise on another server, by the option that is at fault."""


def told(settings: NamespaceSettings, identity: Identity, *visible: Namespace) -> Any:
    lines = ExternalNames(settings, identity).namespace_lines(frozenset(visible or Namespace))
    return parse_namespaces(b"* NAMESPACE " + lines + b"\r\n")


class DifferenceTests(SynchronousTestCase):
    def test_alike(self) -> None:
        for settings in (SETTINGS, *OTHERS.values()):
            for identity in (FRED, BOSS):
                self.assertEqual(difference(told(settings, identity), settings, identity), "")

    def test_each_option(self) -> None:
        for option, settings in OTHERS.items():
            self.assertEqual(difference(told(settings, FRED), SETTINGS, FRED).partition(":")[0], option)

    def test_what_cannot_be_seen(self) -> None:
        """Who sees nothing shared is told no prefix of it, and administrators' names are real everywhere."""
        for option in ("userprefix", "sharedprefix"):
            self.assertEqual(difference(told(OTHERS[option], FRED, Namespace.PERSONAL), SETTINGS, FRED), "")
        self.assertEqual(difference(told(OTHERS["altnamespace"], BOSS), SETTINGS, BOSS), "")
        self.assertIn("unixhierarchysep", difference(told(OTHERS["unixhierarchysep"], BOSS), SETTINGS, BOSS))

    def test_what_is_not_understood(self) -> None:
        """Nothing is concluded from it."""
        for untagged in (b"", b"* NAMESPACE\r\n", b"* NAMESPACE NIL\r\n", b"* NAMESPACE ((( NIL NIL\r\n", b"\xff" * 99):
            self.assertEqual(parse_namespaces(untagged), ())
            self.assertEqual(difference((), SETTINGS, FRED), "")
        said = parse_namespaces(b'* OK x\r\n* namespace (("" NIL)("#mh/" "/")) nil (("a\\"" "/" "X-PARAM" ("b")))\r\n')
        self.assertEqual(said, [Prefix(b"", b""), None, Prefix(b'a\\"', b"/")])


class OtherNamesTests(MurderCase):
    """bob's server is set up otherwise than the frontend and alice's."""

    there = replace(NAMES, unixhierarchysep=True)

    def _factory(self, store: Any, elsewhere: Any = None, **auth: Any) -> ImapFactory:
        self.namespace = self.there if len(self.stores) == 1 and elsewhere is None else NAMES
        return super()._factory(store, elsewhere, **auth)

    async def setUp(self) -> None:  # type: ignore[override] # trial waits
        await super().setUp()
        self.links = self.make_links(namespace=NAMES)
        self.frontend = self.start_frontend(RouteSettings())

    async def test_a_server_that_is_not_used(self) -> None:
        """Nothing is done to another mailbox than the one meant; whose mailboxes are elsewhere do not notice."""
        bob = await self.client("bob")
        with captured() as log:
            for command in (b"SELECT INBOX", b"CREATE INBOX.a", b"STATUS INBOX (MESSAGES)", b"SUBSCRIBE INBOX"):
                _, status, text = await bob.ask(command)
                self.assertEqual((status, text), (b"NO", b"[UNAVAILABLE] Server(s) unavailable to complete operation"))
        self.assertEqual(len(list(self.stores[self.servers[1]].directory.entries())), 1)
        alice = await self.client("alice")
        await self.do(alice, b"SELECT INBOX")
        await self.do(alice, b"CREATE INBOX.a")
        said = [each for each in log.texts() if "names mailboxes otherwise than" in each]
        self.assertEqual(len(said), 1, said)
        self.assertIn("unixhierarchysep: the separator there is '/'", said[0])


class RenameTests(MurderCase):
    """What other servers have in the way of a rename."""

    async def setUp(self) -> None:  # type: ignore[override] # trial waits
        await super().setUp()
        for server, names in zip(self.servers, (("a", "a.x", "c", "c.y"), ("a.z", "d.y")), strict=True):
            for name in names:
                await self.stores[server].create(ADMIN, parse_internal(name))
        await self.directory.catch_up()
        self.admin = await self.client("admin")

    async def test_what_would_be_left_behind(self) -> None:
        """RFC 9051 section 6.3.6: what is below goes along, and here cannot."""
        self.assertIn(b"[CANNOT] Mailboxes below it", await self.do(self.admin, b"RENAME a b", b"NO"))
        await self.do(self.admin, b"RENAME a.x a.y")

    async def test_what_is_there(self) -> None:
        """As the name itself, or as what is below it."""
        for command in (b"RENAME c a.z", b"RENAME c d", b"RENAME a.z a.x"):
            self.assertIn(b"[ALREADYEXISTS]", await self.do(self.admin, command, b"NO"), command)
        self.assertIn(b"[CANNOT]", await self.do(self.admin, b"RENAME c a.z.q", b"NO"))
        await self.do(self.admin, b"RENAME c e")
