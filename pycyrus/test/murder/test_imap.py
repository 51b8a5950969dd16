"""A frontend's IMAP, with backends of our own behind it."""

from __future__ import annotations

from dataclasses import replace

from pycyrus.interfaces import UserDefaults
from pycyrus.murder.imap import copy_sources
from pycyrus.murder.servers.imap_link import Kept
from pycyrus.test.murder.cluster import MurderCase
from pycyrus.testing.user_defaults import LaidDown

MESSAGE = b"From: a@example.com\r\nSubject: hello\r\n\r\nbody\r\n"


class SelectedTests(MurderCase):
    async def test_a_mailbox_elsewhere(self) -> None:
        """APPEND, SELECT, FETCH, STORE and EXPUNGE reach the backend, and its answers the client."""
        client = await self.client()
        self.assertIn(b"[APPENDUID ", await self.append(client, b"INBOX", MESSAGE))
        said = await self.do(client, b"SELECT INBOX")
        self.assertIn(b"* 1 EXISTS\r\n", said)
        self.assertIn(b"[READ-WRITE]", said)
        self.assertIn(b"BODY[] {%d}\r\n%b)" % (len(MESSAGE), MESSAGE), await self.do(client, b"FETCH 1 BODY[]"))
        self.assertIn(rb"\Deleted", await self.do(client, rb"STORE 1 +FLAGS (\Deleted)"))
        self.assertIn(b"* 1 EXPUNGE", await self.do(client, b"EXPUNGE"))
        await self.do(client, b"CLOSE")
        await self.do(client, b"FETCH 1 FLAGS", b"BAD")

    async def test_a_large_message_with_a_synchronising_literal(self) -> None:
        """It is spooled, and arrives whole."""
        body = b"Subject: large\r\n\r\n" + b"x" * 76 * 10_000 + b"\r\n"
        client = await self.client()
        client.send(b"t APPEND INBOX {%d}\r\n" % len(body))
        self.assertIsNone(await client.go_ahead(b"t", client_kept := _Nothing()))
        client.send(body + b"\r\n")
        _, status, _ = await client.answer(b"t")
        self.assertEqual((status, client_kept.said), (b"OK", b""))
        await self.do(client, b"EXAMINE INBOX")
        self.assertIn(body, await self.do(client, b"UID FETCH 1 BODY.PEEK[]"))

    async def test_from_one_server_to_another(self) -> None:
        """SELECT of another backend's mailbox closes the first; both have their own messages."""
        bob = await self.client("bob")
        await self.do(bob, b"SETACL INBOX alice lrswite")
        client = await self.client()
        await self.append(client, b"INBOX", MESSAGE)
        await self.append(client, b"user.bob", MESSAGE, MESSAGE)
        self.assertIn(b"* 1 EXISTS", await self.do(client, b"SELECT INBOX"))
        said = await self.do(client, b"SELECT user.bob")
        self.assertIn(b"[CLOSED]", said)
        self.assertIn(b"* 2 EXISTS", said)
        self.assertIn(b"MESSAGES 1", await self.do(client, b"STATUS INBOX (MESSAGES)"))

    async def test_a_select_that_fails(self) -> None:
        """Refused, it leaves nothing selected; not understood, it leaves what was (RFC 9051 section 6.3.2)."""
        client = await self.client()
        await self.append(client, b"INBOX", MESSAGE)
        await self.do(client, b"SELECT INBOX")
        await self.do(client, b"SELECT INBOX (RUBBISH)", b"BAD")
        await self.do(client, b"FETCH 1 FLAGS")
        await self.do(client, b"CREATE INBOX.hidden")
        await self.do(client, b"SETACL INBOX.hidden alice lkxa")
        await self.do(client, b"SELECT INBOX.hidden", b"NO")
        await self.do(client, b"FETCH 1 FLAGS", b"BAD")
        await self.do(client, b"SELECT INBOX")
        await self.do(client, b"FETCH 1 FLAGS")

    async def test_idle(self) -> None:
        """What happens on the backend is told at once."""
        client = await self.client()
        other = await self.client()
        await self.do(client, b"SELECT INBOX")
        client.send(b"i IDLE\r\n")
        outlet = _Nothing()
        self.assertIsNone(await client.go_ahead(b"i", outlet))
        await self.append(other, b"INBOX", MESSAGE)
        while b"* 1 EXISTS" not in outlet.said:
            data, line = client.take_news(b"i")
            self.assertIsNone(line)
            outlet.write(data)
            await self.turn()
        client.send(b"DONE\r\n")
        _, status, _ = await client.answer(b"i")
        self.assertEqual(status, b"OK")

    async def test_qresync_is_switched_on_there(self) -> None:
        """ENABLE is this server's answer, and holds on the backend; such a connection is nobody else's."""
        client = await self.client()
        await self.do(client, b"ENABLE QRESYNC")
        await self.append(client, b"INBOX", MESSAGE)
        self.assertIn(b"HIGHESTMODSEQ", await self.do(client, b"SELECT INBOX"))
        await self.do(client, rb"STORE 1 +FLAGS.SILENT (\Deleted)")
        self.assertIn(b"* VANISHED 1", await self.do(client, b"EXPUNGE"))


class CopyTests(MurderCase):
    async def asyncSetUp(self) -> None:
        bob = await self.client("bob")
        await self.do(bob, b"SETACL INBOX alice lrswite")
        self.user = await self.client()
        await self.append(self.user, b"INBOX", MESSAGE, b"Subject: other\r\n\r\n" + b"y" * 1_500_000 + b"\r\n")
        await self.do(self.user, b"SELECT INBOX")

    async def test_copy_to_another_server(self) -> None:
        """Messages arrive whole, with flags and dates, and the client is told their UIDs."""
        await self.asyncSetUp()
        self.assertRegex(await self.do(self.user, b"COPY 1:2 user.bob"), rb"\[COPYUID [0-9]+ 1:2 1:2\]")
        before = await self.do(self.user, b"UID FETCH 1:2 (FLAGS INTERNALDATE BODY.PEEK[])")
        await self.do(self.user, b"EXAMINE user.bob")
        after = await self.do(self.user, b"UID FETCH 1:2 (FLAGS INTERNALDATE BODY.PEEK[])")
        self.assertEqual(before.rpartition(b"OK")[0].replace(b" \\Recent", b""),
                         after.rpartition(b"OK")[0].replace(b" \\Recent", b""))  # fmt: skip

    async def test_copy_of_what_is_not_there(self) -> None:
        """The client is told what is wrong, as by the server itself."""
        await self.asyncSetUp()
        alone = await self.do(self.user, b"COPY 9 INBOX", b"BAD")
        self.assertEqual(await self.do(self.user, b"COPY 9 user.bob", b"BAD"), alone)
        self.assertEqual(await self.do(self.user, b"MOVE 1:9 user.bob", b"BAD"), alone)
        self.assertIn(b"Completed", await self.do(self.user, b"UID COPY 9 user.bob"))

    async def test_move_to_another_server(self) -> None:
        """The messages are there, and no longer here."""
        await self.asyncSetUp()
        said = await self.do(self.user, b"UID MOVE 1:2 user.bob")
        self.assertLess(said.index(b"[COPYUID"), said.index(b"* 1 EXPUNGE"))
        self.assertIn(b"MESSAGES 2", await self.do(self.user, b"STATUS user.bob (MESSAGES)"))
        self.assertIn(b"MESSAGES 0", await self.do(self.user, b"STATUS INBOX (MESSAGES)"))

    async def test_a_refused_move_changes_nothing(self) -> None:
        """Without the right to insert there, all stays here."""
        await self.asyncSetUp()
        bob = await self.client("bob")
        await self.do(bob, b"SETACL INBOX alice lr")
        await self.do(self.user, b"MOVE 1:2 user.bob", b"NO")
        self.assertIn(b"MESSAGES 2", await self.do(self.user, b"STATUS INBOX (MESSAGES)"))

    async def test_a_move_that_is_interrupted(self) -> None:
        """The server that gives the messages dies half-way: the other has none of them, and it all."""
        await self.asyncSetUp()
        self.patch(copy_sources, "PIECE", 500)
        self.user.send(b"m MOVE 1:2 user.bob\r\n")
        source, target = (self.factories[server].sessions for server in self.servers)
        while not any(session.session._intake.holds for session in target):
            await self.turn()
        for session in list(source):
            session.abort()
        _, status, text = await self.user.answer(b"m")
        self.assertEqual(status, b"NO", text)
        self.assertIn(b"MESSAGES 0", await self.do(self.user, b"STATUS user.bob (MESSAGES)"))
        self.assertIn(b"MESSAGES 2", await self.do(self.user, b"STATUS INBOX (MESSAGES)"))

    async def test_copy_within_a_server(self) -> None:
        """It is the backend's own."""
        await self.asyncSetUp()
        await self.do(self.user, b"CREATE INBOX.sub")
        self.assertIn(b"[COPYUID ", await self.do(self.user, b"COPY 1 INBOX.sub"))
        self.assertIn(b"TRYCREATE", await self.do(self.user, b"COPY 1 INBOX.none", b"NO"))


class AdministrationTests(MurderCase):
    async def test_create_follows_the_parent(self) -> None:
        """A mailbox is where its parent is, and is seen at once."""
        client = await self.client()
        await self.do(client, b"CREATE INBOX.work")
        self.assertEqual(self.directory.locations["user.alice.work"].server, self.servers[0])
        listed = await self.do(client, b'LIST "" "*"')
        self.assertIn(b'* LIST (\\HasChildren) "." INBOX\r\n', listed)
        self.assertIn(b'* LIST (\\HasNoChildren) "." INBOX.work\r\n', listed)
        await self.do(client, b"RENAME INBOX.work INBOX.play")
        await self.do(client, b"DELETE INBOX.play")
        self.assertNotIn(b"INBOX.", await self.do(client, b'LIST "" "*"'))

    async def test_an_administrator_names_the_server(self) -> None:
        """CREATE with a server makes it there, and nobody else may say so."""
        admin = await self.client("admin")
        for number, server in enumerate(self.servers):
            await self.do(admin, b"CREATE user.u%d %b!default" % (number, server.encode()))
            self.assertEqual(self.directory.locations[f"user.u{number}"].server, server)
        await self.do(admin, b"CREATE user.u2 %b" % self.servers[1].encode())
        self.assertEqual(self.directory.locations["user.u2"].server, self.servers[1])
        await self.do(admin, b"CREATE user.u3 (SERVER %b USE (\\Junk))" % self.servers[1].encode(), b"NO")
        client = await self.client()
        await self.do(client, b"CREATE INBOX.x %b!default" % self.servers[1].encode(), b"NO")

    async def test_an_administrator_sees_all(self) -> None:
        """Under their full names."""
        admin = await self.client("admin")
        listed = await self.do(admin, b'LIST "" "*"')
        self.assertIn(b"user.alice\r\n", listed)
        self.assertIn(b"user.bob\r\n", listed)

    async def test_a_server_is_chosen(self) -> None:
        """A new user's mailbox is on one of serverlist."""
        admin = await self.client("admin", self.start_frontend(mode="random"))
        await self.do(admin, b"CREATE user.new")
        self.assertIn(self.directory.locations["user.new"].server, self.servers)

    async def test_a_server_is_laid_down(self) -> None:
        """A directory says which of serverlist a user has; others are not believed, and in an outage there is none."""
        wanted = [self.servers[number] for number in (1, 0, 1)]
        known = {f"new{number}": UserDefaults(mail_host=server) for number, server in enumerate(wanted)}
        laid_down = LaidDown({**known, "mallory": UserDefaults(mail_host="elsewhere.example")})
        admin = await self.client("admin", self.start_frontend(user_defaults=laid_down, mode="random"))
        for number in range(3):
            await self.do(admin, b"CREATE user.new%d" % number)
        self.assertEqual([self.directory.locations[f"user.new{number}"].server for number in range(3)], wanted)
        await self.do(admin, b"CREATE user.mallory")
        self.assertIn(self.directory.locations["user.mallory"].server, self.servers)
        laid_down.is_down = True
        await self.do(admin, b"CREATE user.late", b"NO")
        self.assertNotIn("user.late", self.directory.locations)

    async def test_rights_quota_and_annotations(self) -> None:
        """They are the backend's."""
        admin = await self.client("admin")
        await self.do(admin, b"SETQUOTA user.alice (STORAGE 1000)")
        client = await self.client()
        self.assertIn(b"STORAGE 0 1000", await self.do(client, b"GETQUOTAROOT INBOX"))
        await self.do(client, b"SETACL INBOX bob lr")
        self.assertIn(b"bob lr", await self.do(client, b"GETACL INBOX"))
        await self.do(client, b'SETMETADATA INBOX (/private/comment "mine")')
        self.assertIn(b"mine", await self.do(client, b"GETMETADATA INBOX /private/comment"))
        bob = await self.client("bob")
        self.assertIn(b"user.alice", await self.do(bob, b'LIST "" "*"'))
        self.assertIn(b"* MYRIGHTS user.alice lr\r\n", await self.do(bob, b"MYRIGHTS user.alice"))
        self.assertIn(b"[NOPERM]", await self.do(bob, b"GETACL user.alice", b"NO"))
        await self.do(client, b"DELETEACL INBOX bob")
        for command in (b"MYRIGHTS user.alice", b"GETACL user.alice", b"MYRIGHTS user.nobody"):
            self.assertIn(b"[NONEXISTENT]", await self.do(bob, command, b"NO"))
        self.assertIn(b"alice lrswipkxtecda", await self.do(admin, b"GETACL user.alice"))

    async def test_subscriptions_are_at_home(self) -> None:
        """Also those to mailboxes of another server."""
        bob = await self.client("bob")
        await self.do(bob, b"SETACL INBOX alice lr")
        client = await self.client()
        await self.do(client, b"SUBSCRIBE user.bob")
        await self.do(client, b"SUBSCRIBE INBOX")
        self.assertIn(b'"." user.bob\r\n', await self.do(client, b'LSUB "" "*"'))
        self.assertIn(b"\\Subscribed", await self.do(client, b'LIST (SUBSCRIBED) "" "*"'))
        await self.do(client, b"UNSUBSCRIBE user.bob")
        self.assertNotIn(b"user.bob", await self.do(client, b'LSUB "" "*"'))
        # Backends would take any name, as they do not know what others have.
        for name in (b"INBOX.none", b"user.none"):
            self.assertIn(b"[NONEXISTENT]", await self.do(client, b"SUBSCRIBE " + name, b"NO"))
        await self.do(bob, b"DELETEACL INBOX alice")
        self.assertIn(b"[NONEXISTENT]", await self.do(client, b"SUBSCRIBE user.bob", b"NO"))

    async def test_subscriptions_of_those_without_mail(self) -> None:
        """An administrator without an INBOX has them at the frontend."""
        admin = await self.client("admin")
        await self.do(admin, b"SUBSCRIBE user.bob")
        self.assertIn(b'"." user.bob\r\n', await self.do(admin, b'LSUB "" "*"'))
        self.assertIn(b"[NONEXISTENT]", await self.do(admin, b"SUBSCRIBE user.none", b"NO"))

    async def test_what_was_subscribed_to_has_its_use(self) -> None:
        """As the backend would tell it."""
        client = await self.client()
        await self.do(client, b"CREATE INBOX.sent (USE (\\Sent))")
        await self.do(client, b"SUBSCRIBE INBOX.sent")
        self.assertIn(b"* LSUB (\\Sent) ", await self.do(client, b'LSUB "" "*"'))
        self.assertIn(b"\\Sent", await self.do(client, b'LIST (SUBSCRIBED) "" "*"'))

    async def test_names_that_begin_with_a_number_sign(self) -> None:
        """They are listed, but for those in which Cyrus keeps other things than mail."""
        client = await self.client()
        await self.do(client, b"CREATE INBOX.#one")
        known = self.directory.locations["user.alice"]
        self.directory.locations["user.alice.#sieve"] = replace(known, mailbox="user.alice.#sieve")
        listed = await self.do(client, b'LIST "" "*"')
        self.assertIn(b"INBOX.#one", listed)
        self.assertNotIn(b"#sieve", listed)

    async def test_a_listing_with_numbers_and_uses(self) -> None:
        """What the directory does not know is asked."""
        client = await self.client()
        await self.do(client, b"CREATE INBOX.sent (USE (\\Sent))")
        await self.append(client, b"INBOX.sent", MESSAGE)
        said = await self.do(client, b'LIST "" "*" RETURN (SPECIAL-USE STATUS (MESSAGES))')
        self.assertIn(b"\\Sent", said)
        self.assertIn(b"* STATUS INBOX.sent (MESSAGES 1)", said)

    async def test_names_that_do_not_exist(self) -> None:
        """The answers are those of a single server."""
        client = await self.client()
        self.assertIn(b"NONEXISTENT", await self.do(client, b"SELECT INBOX.none", b"NO"))
        self.assertIn(b"[", await self.do(client, b"APPEND INBOX.none {5+}\r\nabcde", b"NO"))
        await self.do(client, b"STATUS user.bob (MESSAGES)", b"NO")

    async def test_referrals(self) -> None:
        """A client that asked for them is referred (RFC 2193 section 3)."""
        client = await self.client()
        await self.do(client, b'RLIST "" "*"')
        said = await self.do(client, b"SELECT INBOX", b"NO")
        self.assertIn(b"[REFERRAL imap://;AUTH=*@%b/INBOX] Remote mailbox." % self.servers[0].encode(), said)
        self.assertIn(b"[REFERRAL", await self.do(client, b"APPEND INBOX {5+}\r\nabcde", b"NO"))
        # As Cyrus's frontends, which pass the rest on.
        for command in (b"STATUS INBOX (MESSAGES)", b"GETQUOTAROOT INBOX", b"LISTRIGHTS INBOX bob", b"CREATE INBOX.a"):
            await self.do(client, command)
        await self.do(client, b"RENAME INBOX.a INBOX.b")
        self.assertIn(b"INBOX.b]", await self.do(client, b"DELETE INBOX.b", b"NO"))


class _Nothing(Kept):
    said = b""

    def write(self, data: bytes) -> None:
        self.said += data
