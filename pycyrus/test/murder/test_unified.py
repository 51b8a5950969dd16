"""Servers that have mailboxes and are frontends for those of others."""

from __future__ import annotations

from pycyrus.imap.settings import ImapSettings
from pycyrus.interfaces import Location
from pycyrus.model.internal_names import parse_internal
from pycyrus.murder.imap_create import ServerChoice, ServerChoiceSettings
from pycyrus.murder.imap_routes import ImapRoutes, RouteSettings
from pycyrus.test.murder.cluster import MurderCase


async def _at_once() -> None:
    """Nothing to wait for."""


class UnifiedTests(MurderCase):
    def has(self, server: int, mailbox: str) -> bool:
        return self.stores[self.servers[server]].directory.lookup(parse_internal(mailbox)) is not None

    async def test_what_is_new_is_made_here(self) -> None:
        """So that what another server passed on is not passed on again, for ever."""
        port = self.start_frontend(first=ImapSettings().server_name)
        admin = await self.client("admin", port)
        await self.do(admin, b"CREATE user.carol")
        self.assertFalse(self.has(0, "user.carol") or self.has(1, "user.carol"))
        # What is here is not copied elsewhere by an accident of names.
        await self.do(admin, b"SETACL user.carol admin lrswite")
        await self.do(admin, b"SELECT user.carol")
        await self.append(admin, b"user.carol", b"Subject: x\r\n\r\nx\r\n")
        for command in (b"COPY 1 user.bob", b"UID MOVE 1 user.bob"):
            self.assertIn(b"[CANNOT] inter-server COPY failed", await self.do(admin, command, b"NO"))
        # Below what is elsewhere it is made there.
        alice = await self.client("alice", port)
        await self.do(alice, b"CREATE INBOX.x")
        self.assertTrue(self.has(0, "user.alice.x"))
        self.assertFalse(self.has(1, "user.alice.x"))
        # And where an administrator wants it.
        await self.do(admin, b"CREATE user.dave " + self.servers[1].encode() + b"!default")
        self.assertTrue(self.has(1, "user.dave"))

    async def test_what_was_passed_on_stays(self) -> None:
        """A server that the directory sends to itself asks itself once, and says so."""
        self.directory.catch_up = _at_once  # type: ignore[method-assign] # what is known stays
        self.links = self.make_links(proxies=frozenset(("mailproxy",)))
        servers = ServerChoice(ServerChoiceSettings(tuple(self.servers)), self.links, None)
        routes = ImapRoutes(self.directory, self.links, servers, RouteSettings(), self.directory.catch_up, "DELETED")
        factory = self._factory(self._store(), elsewhere=routes, proxy_servers=("mailproxy",))
        port = self.listen(factory).getHost().port
        here = Location("user.alice", f"127.0.0.1:{port}", "default", "alice\tlrswipkxtecda\t")
        self.directory.locations[here.mailbox] = here
        alice = await self.client("alice", port)
        for command in (b"SELECT INBOX", b"STATUS INBOX (MESSAGES)", b"CREATE INBOX.x", b'LSUB "" "*"'):
            self.assertIn(b"[UNAVAILABLE]", await self.do(alice, command, b"NO"))
        self.assertEqual(len(factory.sessions), 2)
        # What it passes on for clients goes on.
        bob = await self.client("bob", port)
        await self.do(bob, b"SELECT INBOX")
