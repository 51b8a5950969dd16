"""Commands about mailboxes of several servers at a frontend: ESEARCH and NOTIFY."""

from __future__ import annotations

from pycyrus.murder.servers.imap_link import ImapLink
from pycyrus.test.murder.cluster import MurderCase

_TAG = b"-"
_EVENTS = b"(MessageNew MessageExpunge FlagChange)"


class SeveralCase(MurderCase):
    """Alice sees bob's INBOX, which is on another server."""

    async def begin(self) -> None:
        bob = await self.client("bob")
        await self.do(bob, b"SETACL INBOX alice lrswite")
        self.user, self.other = await self.client(), await self.client()
        for mailbox in (b"INBOX", b"user.bob"):
            await self.append(self.other, mailbox, b"Subject: one\r\n\r\nx\r\n", b"Subject: two\r\n\r\nx\r\n")

    async def told(self, client: ImapLink, *wanted: bytes) -> bytes:
        """What comes between commands, until all that is wanted is there."""
        said = b""
        deadline = self.reactor.seconds() + 60
        while not all(each in said for each in wanted):
            self.assertLess(self.reactor.seconds(), deadline, (wanted, said))
            data, _ = client.take_news(_TAG)
            said += data
            await self.turn()
        return said


class SearchTests(SeveralCase):
    async def test_in_mailboxes_of_all_servers(self) -> None:
        """Each is told once, by the server that has it; the selected one as well."""
        await self.begin()
        said = await self.do(self.user, b'ESEARCH IN (subtree user.bob personal) RETURN (ALL) SUBJECT "two"')
        for mailbox in (b"INBOX", b"user.bob"):
            self.assertRegex(said, rb"\* ESEARCH \(TAG [^)]* MAILBOX %b [^)]*\) UID ALL 2\r\n" % mailbox)
        self.assertEqual(said.count(b"* ESEARCH"), 2)
        await self.do(self.user, b"SELECT user.bob")
        said = await self.do(self.user, b"ESEARCH IN (selected personal mailboxes user.bob) SUBJECT {3+}\r\none")
        self.assertEqual((said.count(b"* ESEARCH"), said.count(b"UID ALL 1")), (2, 2))
        self.assertIn(b"UID ALL 1:2", await self.do(self.user, b"ESEARCH ALL"))
        self.assertEqual(await self.do(self.user, b"ESEARCH IN (mailboxes user.nobody) ALL"), b"OK Completed")

    async def test_one_server_is_away(self) -> None:
        """The others have searched, and the client is told that not all have."""
        await self.begin()
        await self.stop_backend(self.servers[1])
        said = await self.do(self.user, b"ESEARCH IN (mailboxes (user.bob INBOX)) ALL", b"NO")
        self.assertIn(b"UID ALL 1:2", said)
        self.assertIn(b"[UNAVAILABLE]", said)
        await self.do(self.user, b"ESEARCH IN (selected) ALL", b"BAD")


class NotifyTests(SeveralCase):
    async def test_mailboxes_of_all_servers(self) -> None:
        """What happens in any of them is told at once; of the selected one as the client asked."""
        await self.begin()
        command = b"NOTIFY SET STATUS (selected %b) (mailboxes (user.bob INBOX) %b) (personal (MailboxName))"
        said = await self.do(self.user, command % (_EVENTS, _EVENTS))
        for mailbox in (b"INBOX", b"user.bob"):
            self.assertIn(b"* STATUS %b (MESSAGES 2 " % mailbox, said)
        await self.append(self.other, b"user.bob", b"Subject: three\r\n\r\nx\r\n")
        await self.do(self.other, b"CREATE INBOX.new")
        await self.told(self.user, b"* STATUS user.bob (MESSAGES 3 ", b"INBOX.new\r\n")
        await self.do(self.user, b"SELECT user.bob")
        await self.append(self.other, b"user.bob", b"Subject: four\r\n\r\nx\r\n")
        await self.append(self.other, b"INBOX", b"Subject: three\r\n\r\nx\r\n")
        said = await self.told(self.user, b"* 4 EXISTS\r\n", b"* STATUS INBOX (MESSAGES 3 ")
        # Commands go on as ever, and so does IDLE.
        self.assertIn(b"four", await self.do(self.user, b"FETCH 4 BODY.PEEK[]"))
        self.user.send(b"- IDLE\r\n")
        await self.append(self.other, b"INBOX", b"Subject: four\r\n\r\nx\r\n")
        await self.do(self.other, b"SELECT user.bob")
        await self.do(self.other, rb"STORE 1 +FLAGS (\Answered)")
        await self.told(self.user, b"* STATUS INBOX (MESSAGES 4 ", rb"\Answered")
        self.user.send(b"DONE\r\n")
        _, status, _ = await self.user.answer(b"-")
        self.assertEqual(status, b"OK")

    async def test_nothing_more(self) -> None:
        """After NOTIFY NONE nothing is told, and nobody holds a connection for it."""
        await self.begin()
        await self.do(self.user, b"SELECT INBOX")
        await self.do(self.user, b"NOTIFY SET (selected %b) (subtree (user.bob) %b)" % (_EVENTS, _EVENTS))
        await self.append(self.other, b"user.bob", b"Subject: x\r\n\r\nx\r\n")
        await self.told(self.user, b"* STATUS user.bob")
        await self.do(self.user, b"NOTIFY NONE")
        await self.append(self.other, b"user.bob", b"Subject: x\r\n\r\nx\r\n")
        await self.append(self.other, b"INBOX", b"Subject: x\r\n\r\nx\r\n")
        self.assertEqual(await self.do(self.user, b"NOOP"), b"* 3 EXISTS\r\n* 3 RECENT\r\nOK Completed")
        while any(each.session.telling.notices for server in self.servers for each in self.factories[server].sessions):
            await self.turn()

    async def test_a_server_that_goes(self) -> None:
        """The client is told that it has to look for itself (RFC 5465 section 5.8)."""
        await self.begin()
        await self.do(self.user, b"NOTIFY SET (mailboxes (user.bob INBOX) %b)" % _EVENTS)
        await self.stop_backend(self.servers[1])
        await self.told(self.user, b"* OK [NOTIFICATIONOVERFLOW] ")
        self.assertIn(
            b"[UNAVAILABLE]", await self.do(self.user, b"NOTIFY SET (mailboxes user.bob %b)" % _EVENTS, b"NO")
        )
        await self.do(self.user, b"NOTIFY SET (personal (Unheard))", b"NO")
        await self.do(self.user, b"NOTIFY SET (personal)", b"BAD")
