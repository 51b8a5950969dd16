"""Servers that have mailboxes and are frontends for those of others."""

from __future__ import annotations

from pycyrus.imap.settings import ImapSettings
from pycyrus.model.internal_names import parse_internal
from pycyrus.test.murder.cluster import MurderCase


class UnifiedTests(MurderCase):
    def has(self, server: int, mailbox: str) -> bool:
        return self.stores[self.servers[server]].directory.lookup(parse_internal(mailbox)) is not None

    async def test_what_is_new_is_made_here(self) -> None:
        """So that what another server passed on is not passed on again, for ever."""
        port = self.start_frontend(first=ImapSettings().server_name)
        admin = await self.client("admin", port)
        await self.do(admin, b"CREATE user.carol")
        self.assertFalse(self.has(0, "user.carol") or self.has(1, "user.carol"))
        # Below what is elsewhere it is made there.
        alice = await self.client("alice", port)
        await self.do(alice, b"CREATE INBOX.x")
        self.assertTrue(self.has(0, "user.alice.x"))
        self.assertFalse(self.has(1, "user.alice.x"))
        # And where an administrator wants it.
        await self.do(admin, b"CREATE user.dave " + self.servers[1].encode() + b"!default")
        self.assertTrue(self.has(1, "user.dave"))
