"""What IMAP's finer points come to behind a frontend."""

from __future__ import annotations

from dataclasses import replace

from pycyrus.test.murder.cluster import MurderCase
from pycyrus.test.murder.test_imap import MESSAGE


class EnableTests(MurderCase):
    """ENABLE while a mailbox of another server is selected."""

    async def test_nothing_is_lost(self) -> None:
        """What others did meanwhile is told, and where the client stands (RFC 7162 section 3.1)."""
        client, other = await self.client(), await self.client()
        await self.do(client, b"SELECT INBOX")
        await self.append(other, b"INBOX", MESSAGE)
        said = await self.do(client, b"ENABLE CONDSTORE")
        said += await self.do(client, b"NOOP")
        self.assertEqual(said.count(b"* ENABLED CONDSTORE"), 1)
        self.assertIn(b"HIGHESTMODSEQ", said)
        self.assertIn(b"* 1 EXISTS", said)

    async def test_what_a_server_cannot(self) -> None:
        """Without message numbers no mailbox is opened where only these are known."""
        factory = self.factories[self.servers[0]]
        settings = replace(factory.parts.settings, suppressed_capabilities=frozenset({"UIDONLY"}))
        factory.parts = replace(factory.parts, settings=settings)
        client = await self.client()
        await self.do(client, b"SELECT INBOX")
        self.assertIn(b"[CANNOT]", await self.do(client, b"ENABLE UIDONLY", b"NO"))
        await self.do(client, b"FETCH 1:* FLAGS")
        await self.do(client, b"UNSELECT")
        await self.do(client, b"ENABLE UIDONLY")
        self.assertIn(b"[CANNOT]", await self.do(client, b"SELECT INBOX", b"NO"))
        await self.do(client, b"STATUS INBOX (MESSAGES)")


class ListTests(MurderCase):
    """LIST of what the directory does not know."""

    async def test_special_uses(self) -> None:
        """An administrator sees those of all servers, and everybody what is below."""
        for user, use in (("alice", b"Sent"), ("bob", b"Trash")):
            client = await self.client(user)
            await self.do(client, b"CREATE INBOX.x (USE (\\%b))" % use)
        await self.do(client, b"CREATE INBOX.x.old")
        said = await self.do(client, b'LIST (SPECIAL-USE) "" *')
        self.assertIn(b'* LIST (\\HasChildren \\Trash) "." INBOX.x\r\n', said)
        said = await self.do(await self.client("admin"), b'LIST (SPECIAL-USE) "" *')
        self.assertIn(b'* LIST (\\HasNoChildren \\Sent) "." user.alice.x\r\n', said)
        self.assertIn(b'* LIST (\\HasChildren \\Trash) "." user.bob.x\r\n', said)

    async def test_values(self) -> None:
        """Values of mailboxes of all servers are told in listings (RFC 9590)."""
        client, other = await self.client(), await self.client("bob")
        await self.do(other, b"SETACL INBOX alice lrs")
        value = b'a "quoted"\r\nlong one'
        await self.do(client, b"SETMETADATA user.bob (/private/comment {%d+}\r\n%b)" % (len(value), value))
        said = await self.do(client, b'LIST "" * RETURN (METADATA (/private/comment))')
        self.assertIn(b"* METADATA user.bob (/private/comment {%d}\r\n%b)" % (len(value), value), said)
        self.assertIn(b"* METADATA INBOX (/private/comment NIL)", said)


class NoticesTests(MurderCase):
    """NOTIFY, where the selected mailbox is one of those of which a server tells."""

    async def test_of_the_selected_mailbox_no_status(self) -> None:
        """It is told of by EXISTS alone (RFC 5465 section 6)."""
        client, other = await self.client(), await self.client()
        await self.do(other, b"CREATE INBOX.work")
        await self.do(client, b"SELECT INBOX")
        await self.do(
            client, b"NOTIFY SET (selected (MessageNew MessageExpunge)) (personal (MessageNew MessageExpunge))"
        )
        await self.append(other, b"INBOX", MESSAGE)
        await self.append(other, b"INBOX.work", MESSAGE)
        said = b""
        while b"* STATUS INBOX.work" not in said or b"* 1 EXISTS" not in said:
            said += await self.do(client, b"NOOP")
            await self.turn()
        self.assertNotIn(b"* STATUS INBOX (", said)
