"""Servers that have mailboxes and are frontends for those of others."""

from __future__ import annotations

from pycyrus.imap.settings import ImapSettings
from pycyrus.interfaces import Location
from pycyrus.model.internal_names import parse_internal
from pycyrus.murder.imap import copy as imap_copy
from pycyrus.murder.imap.create import ServerChoice, ServerChoiceSettings
from pycyrus.murder.imap.routes import ImapRoutes, RouteSettings
from pycyrus.murder.servers.imap_link import ImapLink
from pycyrus.test.murder.cluster import MurderCase


async def _at_once() -> None:
    """Nothing to wait for."""


class UnifiedTests(MurderCase):
    def has(self, server: int, mailbox: str) -> bool:
        return self.stores[self.servers[server]].directory.lookup(parse_internal(mailbox)) is not None

    async def test_what_is_new_is_made_here(self) -> None:
        """So that what another server passed on is not passed on again, for ever."""
        port = self.start_frontend(is_unified=True, first=ImapSettings().server_name)
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

    async def _messages(self, client: ImapLink, mailbox: bytes) -> bytes:
        """What is in a mailbox."""
        await self.do(client, b"EXAMINE " + mailbox)
        said = await self.do(client, b"UID FETCH 1:* (FLAGS INTERNALDATE BODY.PEEK[])")
        await self.do(client, b"UNSELECT")
        return said.rpartition(b"OK")[0].replace(rb" \Recent", b"")

    async def test_lists_are_merged(self) -> None:
        """What is here is told by this server, whatever the directory knows of it, and once."""
        port = self.start_frontend(is_unified=True, first=ImapSettings().server_name)
        admin = await self.client("admin", port)
        await self.do(admin, b"CREATE user.carol " + ImapSettings().server_name.encode())
        await self.do(admin, b"CREATE shared")
        await self.do(admin, b"SETACL shared alice lrs")
        await self.do(admin, b"CREATE shared.there " + self.servers[1].encode() + b"!default")
        self.assertTrue(self.has(1, "shared.there"))
        await self.directory.catch_up()
        gone = Location("user.gone", "", "default", "gone\tlrs\talice\tlrs\t")
        self.directory.locations[gone.mailbox] = gone
        del self.directory.locations["user.carol"]
        said = await self.do(admin, b'LIST "" *')
        wanted = [b"shared", b"shared.there", b"user.alice", b"user.bob", b"user.carol"]
        self.assertEqual([line.split()[-1] for line in said.split(b"\r\n")[:-1]], wanted)
        self.assertIn(b'(\\HasChildren) "." shared\r\n', said)
        alice = await self.client("alice", port)
        said = await self.do(alice, b'LIST "" *')
        self.assertEqual(
            [line.split()[-1] for line in said.split(b"\r\n")[:-1]], [b"INBOX", b"shared", b"shared.there"]
        )

    async def test_copies_to_and_fro(self) -> None:
        """COPY and MOVE between a mailbox of this server and one of another: messages stay what they are."""
        port = self.start_frontend(is_unified=True, first=ImapSettings().server_name)
        admin = await self.client("admin", port)
        await self.do(admin, b"CREATE shared")
        await self.do(admin, b"SETACL shared alice lrswipte")
        self.assertFalse(self.has(0, "shared"))
        alice = await self.client("alice", port)
        bodies = [b"Subject: %d\r\n\r\n%b\r\n" % (number, b"x" * 300) for number in range(250)]
        bodies[120] = b"Subject: large\r\n\r\n" + b"y" * 2_500_000 + b"\r\n"
        await self.append(alice, b"INBOX", *bodies)
        before = await self._messages(alice, b"INBOX")
        await self.do(alice, b"SELECT INBOX")
        self.assertRegex(await self.do(alice, b"COPY 1:* shared"), rb"\[COPYUID [0-9]+ 1:250 1:250\]")
        self.assertIn(b"MESSAGES 250", await self.do(alice, b"STATUS INBOX (MESSAGES)"))
        self.assertEqual(await self._messages(alice, b"shared"), before)

        await self.do(alice, b"SELECT shared")
        await self.do(alice, b"STORE 2 +FLAGS ($Work)")
        said = await self.do(alice, b"UID MOVE 1:2 INBOX")
        self.assertRegex(said, rb"(?s)\[COPYUID [0-9]+ 1:2 251:252\].*\* 2 EXPUNGE\r\n\* 1 EXPUNGE\r\n")
        self.assertIn(b"MESSAGES 248", await self.do(alice, b"STATUS shared (MESSAGES)"))
        await self.do(alice, b"SELECT INBOX")
        self.assertIn(b"$Work", await self.do(alice, b"FETCH 252 FLAGS"))
        said = await self.do(alice, b"MOVE 252,251 shared")
        self.assertRegex(said, rb"(?s)\[COPYUID [0-9]+ 251:252 251:252\].*EXPUNGE")
        self.assertIn(b"MESSAGES 250", await self.do(alice, b"STATUS shared (MESSAGES)"))

    async def test_more_than_one_append_takes(self) -> None:
        """COPY of many is undone if the last of them do not arrive; MOVE goes by pieces."""
        self.patch(imap_copy, "MAX_MESSAGES", 3)
        port = self.start_frontend(is_unified=True, first=ImapSettings().server_name)
        admin = await self.client("admin", port)
        await self.do(admin, b"CREATE shared")
        await self.do(admin, b"SETACL shared alice lrswipte")
        alice = await self.client("alice", port)
        await self.append(alice, b"INBOX", *[b"Subject: %d\r\n\r\nx\r\n" % number for number in range(8)])
        for mailbox, other in ((b"INBOX", b"shared"), (b"shared", b"INBOX")):
            await self.do(admin, b"SETQUOTA shared (MESSAGE 7)")
            await self.do(admin, b"SETQUOTA user.alice (MESSAGE 15)")
            await self.do(alice, b"SELECT " + mailbox)
            self.assertIn(b"[OVERQUOTA]", await self.do(alice, b"COPY 1:8 " + other, b"NO"))
            self.assertIn(b"MESSAGES 8" if other == b"INBOX" else b"MESSAGES 0",
                          await self.do(alice, b"STATUS %b (MESSAGES)" % other))  # fmt: skip
            for root in (b"shared", b"user.alice"):
                await self.do(admin, b"SETQUOTA %b ()" % root)
            said = await self.do(alice, b"COPY 1:8 " + other)
            self.assertRegex(said, rb"\[COPYUID [0-9]+ [0-9]+:[0-9]+ [0-9]+:[0-9]+,[0-9]+:[0-9]+,[0-9]+:[0-9]+\]")
        await self.do(alice, b"SELECT INBOX")
        said = await self.do(alice, b"MOVE 1:8 shared")
        self.assertEqual(said.count(b"[COPYUID"), 3)
        self.assertIn(b"MESSAGES 8", await self.do(alice, b"STATUS INBOX (MESSAGES)"))
        self.assertIn(b"MESSAGES 16", await self.do(alice, b"STATUS shared (MESSAGES)"))

    async def test_a_copy_that_cannot_be(self) -> None:
        """Without rights, room or the target nothing was copied, and nothing removed."""
        port = self.start_frontend(is_unified=True, first=ImapSettings().server_name)
        admin = await self.client("admin", port)
        await self.do(admin, b"CREATE shared")
        await self.do(admin, b"SETACL shared alice lri")
        alice = await self.client("alice", port)
        await self.append(alice, b"INBOX", b"Subject: x\r\n\r\nx\r\n")
        await self.append(alice, b"shared", b"Subject: x\r\n\r\nx\r\n")
        await self.do(alice, b"SELECT shared")
        for command, code in ((b"MOVE 1 INBOX", b"[NOPERM]"), (b"COPY 2 INBOX", b""), (b"COPY 1 INBOX.no", b"[TRYC")):
            self.assertIn(code, await self.do(alice, command, b"BAD" if b"2" in command else b"NO"))
        self.assertIn(b"MESSAGES 1", await self.do(alice, b"STATUS INBOX (MESSAGES)"))
        await self.do(admin, b"SETACL shared alice lr")
        await self.do(alice, b"SELECT INBOX")
        self.assertIn(b"[NOPERM]", await self.do(alice, b"MOVE 1 shared", b"NO"))
        await self.do(alice, b"FETCH 1 FLAGS")
        await self.do(admin, b"SETACL shared alice lri")
        await self.do(admin, b"SETQUOTA shared (MESSAGE 1)")
        self.assertIn(b"[OVERQUOTA]", await self.do(alice, b"MOVE 1 shared", b"NO"))
        await self.do(alice, b"FETCH 1 FLAGS")
        self.assertIn(b"MESSAGES 1", await self.do(alice, b"STATUS shared (MESSAGES)"))
        # The server that has the messages dies.
        await self.stop_backend(self.servers[0])
        self.assertIn(b"[UNAVAILABLE]", await self.do(alice, b"COPY 1 shared", b"NO"))

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
