"""What IMAP's finer points come to behind a frontend."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.internet.protocol import Protocol, ServerFactory

from pycyrus.interfaces import Location
from pycyrus.murder.servers.imap_link import ImapLink
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
        await self.do(await self.client(), b"CREATE INBOX.x (USE (\\Sent))")
        client = await self.client("bob")
        await self.do(client, b"CREATE INBOX.x (USE (\\Trash))")
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


class ReplaceTests(MurderCase):
    """REPLACE into a mailbox of another server (RFC 8508)."""

    async def test_to_another_server(self) -> None:
        """The new message is there, then the old one goes."""
        other = await self.client("bob")
        await self.do(other, b"SETACL INBOX alice lrswi")
        client = await self.client()
        await self.append(client, b"INBOX", MESSAGE, MESSAGE)
        await self.do(client, b"SELECT INBOX")
        body = MESSAGE + b"x" * 300_000
        said = await self.do(client, b"UID REPLACE 1 user.bob (\\Draft) {%d+}\r\n%b" % (len(body), body))
        self.assertRegex(said, rb"^\* OK \[APPENDUID [0-9]+ 1\] Replacement message ready\r\n(.*\r\n)*\* 1 EXPUNGE\r\n")
        self.assertNotIn(b"UID 1 ", await self.do(client, b"FETCH 1:* (UID FLAGS)"))
        await self.do(other, b"SELECT INBOX")
        said = await self.do(other, b"FETCH 1 (FLAGS BODY.PEEK[])")
        self.assertTrue(body in said)
        self.assertIn(rb"\Draft", said[:100])

    async def test_what_is_refused_changes_nothing(self) -> None:
        """No right there, no such message, several: the old one stays."""
        client = await self.client()
        await self.append(client, b"INBOX", MESSAGE, MESSAGE)
        await self.do(await self.client("bob"), b"SETACL INBOX alice lrs")
        await self.do(client, b"SELECT INBOX")
        message = b"{%d+}\r\n%b" % (len(MESSAGE), MESSAGE)
        self.assertIn(b"[NOPERM]", await self.do(client, b"REPLACE 1 user.bob " + message, b"NO"))
        self.assertIn(b"[EXPUNGEISSUED]", await self.do(client, b"UID REPLACE 9 user.bob " + message, b"NO"))
        await self.do(client, b"REPLACE 1:2 user.bob " + message, b"BAD")
        self.assertIn(b"MESSAGES 2", await self.do(client, b"STATUS INBOX (MESSAGES)"))


class _OddProtocol(Protocol):
    """
    Hears no DONE that comes before it idles, as Cyrus does not.

    When it is asked for NOTIFY, something has just happened to the mailbox that is open.
    """

    is_open = False

    tag = b""

    def connectionMade(self) -> None:
        self._say(b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] hi\r\n")

    def dataReceived(self, data: bytes) -> None:
        tag, _, rest = data.partition(b" ")
        if rest[:4] == b"IDLE":
            self.tag = tag
            self._say(b"+ idling\r\n")
        elif data == b"DONE\r\n":
            self._say(self.tag + b" OK done\r\n")
        else:
            news = b"* 5 EXISTS\r\n" if rest[:6] == b"NOTIFY" and self.is_open else b""
            self.is_open = self.is_open or rest[:6] == b"SELECT"
            self._say(news + tag + b" OK [CAPABILITY IMAP4rev1 IDLE NOTIFY] done\r\n")

    def _say(self, data: bytes) -> None:
        transport: Any = self.transport
        transport.write(data)


class OddTests(MurderCase):
    """A server that is not like ours."""

    async def select(self, *before: bytes) -> tuple[ImapLink, bytes]:
        """Select a mailbox there; @return: What was said to that."""
        factory = ServerFactory.forProtocol(_OddProtocol)
        factory.noisy = False
        port = self.reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        server = f"127.0.0.1:{port.getHost().port}"
        self.directory.said["user.odd"] = Location("user.odd", server, "default", "anyone\tlrs\t")
        client = await self.client()
        for command in before:
            await self.do(client, command)
        return client, await self.do(client, b"SELECT user.odd")

    async def test_done_at_once(self) -> None:
        """DONE goes to the server when that idles."""
        client, _ = await self.select()
        client.send(b"i1 IDLE\r\nDONE\r\n")
        untagged, status, _ = await client.answer(b"i1")
        self.assertEqual((untagged, status), (b"+ idling\r\n", b"OK"))

    async def test_what_happens_as_a_mailbox_is_opened(self) -> None:
        """It is no part of the answer to SELECT, by which a client knows where it stands (RFC 7162 section 3.2.5)."""
        client, said = await self.select(b"NOTIFY SET (selected (MessageNew MessageExpunge))")
        self.assertNotIn(b"EXISTS", said)
        await self.do(client, b"NOTIFY SET (selected-delayed (MessageNew MessageExpunge))")


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
