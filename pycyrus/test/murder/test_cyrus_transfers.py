"""Users who move between us and a real Cyrus 3.6, as Cyrus's administrators move them."""

from __future__ import annotations

import shutil
import socket
import tempfile
from binascii import b2a_base64
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.threads import deferToThread
from typing_extensions import override

from pycyrus.errors import StoreUnavailable, TransferFailed
from pycyrus.interfaces import IMailbox, IMailboxPublisher, Location, LocationState
from pycyrus.model.flags import ANSWERED, FLAGGED, SEEN
from pycyrus.model.identity import Identity
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.model.quota import Limit
from pycyrus.mupdate.protocol import MupdateFactory
from pycyrus.mupdate.settings import MupdateSettings
from pycyrus.murder.moving.sync_intake import SyncIntake
from pycyrus.murder.moving.sync_link import SyncLink
from pycyrus.murder.servers.imap_link import ImapLink
from pycyrus.store.incoming import Arrivals
from pycyrus.store.locations import Locations
from pycyrus.store.store import MailStore
from pycyrus.test.murder.cluster import ADMIN
from pycyrus.test.murder.publishers import DirectPublisher
from pycyrus.test.murder.test_transfers import ALICE, INBOX, TransferServers
from pycyrus.testing.cyrus import PASSWORD, CyrusServer
from pycyrus.testing.imap import FixedAuthenticator

JOHN = MailboxName("", "john", ())
MESSAGES = [b"Subject: hello %d\r\nDate: Wed, 01 Jan 2020 09:00:00 +0000\r\n\r\nbody\r\n" % n for n in range(4)]
LARGE = b"Subject: large\r\n\r\n" + b"0123456789\r\n" * 20_000


class CyrusTransfers(TransferServers):
    """John is on a Cyrus server, Alice on the first of ours, of the same Murder."""

    @override
    async def setUp(self) -> None:  # type: ignore[override] # trial waits
        from twisted.internet import reactor

        self.reactor = reactor
        directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, directory)
        self.locations = Locations(directory, self.reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.locations.close()))
        master = MupdateFactory(
            self.locations, FixedAuthenticator(), MupdateSettings("mupdate.example"), None, None, self.reactor
        )
        port = self.reactor.listenTCP(0, master, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.addCleanup(master.shut_down)
        await super().setUp()
        self.cyrus = self.make_cyrus(port.getHost().port)
        await deferToThread(self.cyrus.start)
        self.boss = await self.cyrus_client("cyrus")
        await self.do(self.boss, b"CREATE user.john")

    def make_cyrus(self, master: int) -> CyrusServer:
        directory = Path(tempfile.mkdtemp(prefix="c-"))
        self.addCleanup(shutil.rmtree, directory)
        directory.chmod(0o755)
        server = CyrusServer(
            directory,
            "imapd",
            others=["timsieved"],
            users=["cyrus", "mailproxy", "john", "alice"],
            admins="cyrus mailproxy",
            unixhierarchysep="no",
            altnamespace="no",
            proxyservers="mailproxy",
            proxy_authname="mailproxy",
            proxy_password=PASSWORD,
            mupdate_server=f"localhost:{master}",
            mupdate_username="admin",
            mupdate_authname="admin",
            mupdate_password="secret",
            allowusermoves="yes",
            allowallsubscribe="yes",
            expunge_mode="delayed",
        )
        # It says good-bye to our servers, and waits for their answer.
        self.addCleanup(deferToThread, server.stop)
        return server

    @override
    def make_publisher(self, name: str, store: MailStore) -> IMailboxPublisher:
        return DirectPublisher(self.locations, name, store)

    async def cyrus_client(self, user: str) -> ImapLink:
        link = ImapLink("cyrus", self.reactor)
        await connectProtocol(TCP4ClientEndpoint(self.reactor, "127.0.0.1", self.cyrus.port), link)
        await link.greeted()
        await self.do(link, b"LOGIN %b %b" % (user.encode(), PASSWORD.encode()))
        self.addCleanup(link.abort, "over")
        return link

    def place(self, mailbox: str) -> tuple[str, LocationState]:
        found = self.locations.find(mailbox)
        assert found is not None
        return found.server, found.state

    async def furnish(self) -> None:
        """Give john what a user has."""
        john = await self.cyrus_client("john")
        await self.do(self.boss, b"SETQUOTA user.john (STORAGE 5000)")
        await self.do(self.boss, b"SETACL user.john bob lrs")
        for mailbox in (b"INBOX.Sent (USE (\\Sent))", b"INBOX.Empty"):
            await self.do(john, b"CREATE " + mailbox)
        await self.do(john, b"SUBSCRIBE INBOX.Sent")
        for number, message in enumerate(MESSAGES):
            date = b'"01-Jan-2020 10:00:0%d +0000"' % number
            await self.do(john, b"APPEND INBOX ($Work) %b {%d+}\r\n%b" % (date, len(message), message))
        await self.do(john, b"APPEND INBOX.Sent {%d+}\r\n%b" % (len(LARGE), LARGE))
        await self.do(john, b"SELECT INBOX")
        await self.do(john, b"STORE 1 +FLAGS (\\Seen \\Answered \\Flagged)")
        await self.do(john, b"STORE 2 +FLAGS (\\Deleted)")
        await self.do(john, b"EXPUNGE")
        await self.do(john, b'SETMETADATA INBOX (/private/comment "mine" /shared/comment "it\\"s ours")')
        john.log_out()

    async def check_inbox(self, store: MailStore, status: bytes) -> IMailbox:
        """
        Look whether john's INBOX is here as L{furnish} made it.

        @param status: What Cyrus said of it.
        """
        told = await store.status(Identity("john"), JOHN)
        numbers = b"UIDVALIDITY %d UIDNEXT %d HIGHESTMODSEQ %d" % (told.uidvalidity, told.uidnext, told.highest_modseq)
        self.assertEqual(sorted(numbers.split()), sorted(status.partition(b"(")[2].partition(b")")[0].split()))
        opened = await store.open(Identity("john"), JOHN, "r")
        self.addCleanup(opened.close)
        opened.refresh()
        view = opened.view()
        self.assertEqual(view.uids.tolist(), [1, 3, 4])
        self.assertEqual(view.flags.tolist(), [SEEN | ANSWERED | FLAGGED, 0, 0])
        self.assertEqual(opened.keyword_names()[0], b"$Work")
        self.assertEqual(view.keywords[:, 0].tolist(), [1, 1, 1])
        self.assertEqual(view.internaldates.tolist(), [1577872800, 1577872802, 1577872803])
        return opened


class FromCyrus(CyrusTransfers):
    async def test_user(self) -> None:
        """Cyrus's XFER brings a user to us, with all that the user has."""
        await self.furnish()
        john = await self.cyrus_client("john")
        status = await self.do(john, b"STATUS INBOX (UIDVALIDITY UIDNEXT HIGHESTMODSEQ)")
        john.log_out()
        server = self.servers[1]
        said = await self.do(self.boss, b"XFER user.john " + server.encode())
        self.assertEqual(said, b"* OK USER john\r\nOK Completed")
        for mailbox in ("user.john", "user.john.Sent", "user.john.Empty"):
            self.assertEqual(self.place(mailbox), (server, LocationState.ACTIVE))
        store = self.stores[server]
        opened = await self.check_inbox(store, status)
        self.assertEqual(opened.view().sent_times.tolist(), [1577869200] * 3)
        (spool,) = self.spools(server, "john")
        self.assertEqual((spool / "3.").read_bytes(), MESSAGES[2])
        self.assertEqual((spool / "Sent/1.").read_bytes(), LARGE)
        # What was expunged can be brought back as before.
        self.assertEqual((spool / "2.").read_bytes(), MESSAGES[1])
        entry = store.directory.lookup(JOHN.child("Sent"))
        self.assertEqual(entry.special_use if entry else (), ("\\Sent",))
        acl = dict((await store.acl(ADMIN, JOHN)).entries)
        self.assertEqual(acl["bob"], frozenset("lrs"))
        self.assertEqual((await store.quota(ADMIN, JOHN)).limits, (Limit("STORAGE", 5000),))
        notes = store.transfer_parts().annotations.all_of(opened.unique_id)
        self.assertIn(("john", "/comment", b"mine"), notes)
        self.assertIn(("", "/comment", b'it"s ours'), notes)

    def spools(self, server: str, user: str) -> list[Path]:
        parts = self.stores[server].transfer_parts()
        return list(parts.partitions.data_root("default").glob(f"user/{user}"))

    async def test_many(self) -> None:
        """More than a line of the usual length."""
        john = await self.cyrus_client("john")
        message = b"Subject: x\r\n\r\n"
        for _ in range(5):
            many = b"".join(b" (k%d) {%d+}\r\n%b" % (number, len(message), message) for number in range(100))
            await self.do(john, b"APPEND INBOX" + many)
        john.log_out()
        await self.do(self.boss, b"XFER user.john " + self.servers[1].encode())
        status = await self.stores[self.servers[1]].status(Identity("john"), JOHN)
        self.assertEqual((status.counts.messages, status.uidnext), (500, 501))

    async def test_written_meanwhile(self) -> None:
        """What Cyrus took while the user moves comes along, or stays where the user stays."""
        await self.furnish()
        real, waiting = SyncIntake.get, []

        async def get(intake: SyncIntake, kind: str, value: Any) -> Any:
            # Cyrus may hold the user meanwhile: nobody waits for it here.
            john = await self.cyrus_client("john")
            late = b"APPEND INBOX {%d+}\r\n%b" % (len(MESSAGES[3]), MESSAGES[3])
            waiting.append(Deferred.fromCoroutine(john.ask(late)))
            return await real(intake, kind, value)

        self.patch(SyncIntake, "get", get)
        said = await self.do(self.boss, b"XFER user.john " + self.servers[1].encode())
        self.assertIn(b"* OK USER john", said)
        taken = [status for _, status, _ in [await each for each in waiting] if status == b"OK"]
        self.assertGreater(len(waiting), 2)
        status = await self.stores[self.servers[1]].status(Identity("john"), JOHN)
        self.assertEqual(status.counts.messages, 3 + len(taken))

    async def test_not_handed_over(self) -> None:
        """Cyrus removes what it has even if the last step fails here; what is here is taken over then."""
        john = await self.cyrus_client("john")
        await self.do(john, b"APPEND INBOX {%d+}\r\n%b" % (len(LARGE), LARGE))
        john.log_out()

        async def fail(arrivals: Arrivals, transfer_id: str) -> None:
            raise StoreUnavailable("no room")

        patch = self.patch(Arrivals, "activate", fail)
        await self.do(self.boss, b"XFER user.john " + self.servers[1].encode())
        transfers = self.transfers[self.servers[1]]
        await transfers.accept_orphans()
        patch.restore()
        store = self.stores[self.servers[1]]
        self.assertIsNone(store.directory.lookup(JOHN))
        # Cyrus itself says that it has nothing of him; the master has him still reserved there.
        self.assertEqual(self.place("user.john"), (self.cyrus.name, LocationState.RESERVED))
        await transfers.accept_orphans()
        self.assertEqual((await store.status(Identity("john"), JOHN)).counts.size, len(LARGE))
        self.assertEqual(self.place("user.john"), (self.servers[1], LocationState.ACTIVE))
        self.assertEqual(len(self.flushLoggedErrors()), 0)

    async def test_killed(self) -> None:
        """Cyrus dies when it has removed what it had, and before it says so."""
        await self.furnish()

        async def killed(intake: SyncIntake, name: MailboxName) -> None:
            self.cyrus.kill()
            raise StoreUnavailable("killed")

        patch = self.patch(SyncIntake, "push", killed)
        with self.assertRaises(StoreUnavailable):
            await self.boss.ask(b"XFER user.john " + self.servers[1].encode())
        while self.factories[self.servers[1]].sessions:
            await self.turn()
        patch.restore()
        transfers = self.transfers[self.servers[1]]
        # While the master has it there, nobody can say that Cyrus does not.
        await transfers.accept_orphans()
        store = self.stores[self.servers[1]]
        self.assertIsNone(store.directory.lookup(JOHN))
        await deferToThread(self.cyrus.start)
        await transfers.accept_orphans()
        self.assertEqual((await store.status(Identity("john"), JOHN)).counts.messages, 3)
        for mailbox in ("user.john", "user.john.Sent", "user.john.Empty"):
            self.assertEqual(self.place(mailbox), (self.servers[1], LocationState.ACTIVE))
        self.assertEqual(self.logs[self.servers[1]].all_prepared(), [])

    async def test_once_more(self) -> None:
        """What came in an attempt before goes when all of it came again; where a mailbox did not, it is kept."""
        await self.furnish()
        there = b"XFER user.john " + self.servers[1].encode()
        log, real = self.logs[self.servers[1]], SyncIntake.get

        async def refuse(intake: SyncIntake, kind: str, value: Any) -> Any:
            answer = await real(intake, kind, value)
            if log.all_prepared():
                raise StoreUnavailable("not now")
            return answer

        async def killed(intake: SyncIntake, name: MailboxName) -> None:
            self.cyrus.kill()
            raise StoreUnavailable("killed")

        # It stays there.
        patch = self.patch(SyncIntake, "get", refuse)
        await self.boss.ask(there)
        patch.restore()
        (first,) = log.all_prepared()
        # With this client goes Cyrus's connection, where it would be the same attempt.
        self.boss.log_out()
        while self.factories[self.servers[1]].sessions:
            await self.turn()
        self.boss = await self.cyrus_client("cyrus")
        # It is removed there, and comes back as a user with nothing but an INBOX.
        patch = self.patch(SyncIntake, "push", killed)
        with self.assertRaises(StoreUnavailable):
            await self.boss.ask(there)
        while self.factories[self.servers[1]].sessions:
            await self.turn()
        patch.restore()
        (second,) = log.all_prepared()
        self.assertNotEqual(second.transfer_id, first.transfer_id)
        await deferToThread(self.cyrus.start)
        self.boss = await self.cyrus_client("cyrus")
        await self.do(self.boss, b"CREATE user.john")
        await self.do(self.boss, there)
        self.assertEqual((await self.stores[self.servers[1]].status(Identity("john"), JOHN)).counts.messages, 0)
        self.assertEqual(log.all_prepared(), [second])

    async def test_refused(self) -> None:
        """Where we have the user, nothing is changed on either side."""
        await self.stores[self.servers[1]].create(ADMIN, JOHN)
        await self.locations.activate(Location("user.john", self.cyrus.name, "default", "john\tlrswipkxtecdan\t"))
        said = (await self.boss.ask(b"XFER user.john " + self.servers[1].encode()))[0]
        self.assertIn(b"* NO USER john", said)
        john = await self.cyrus_client("john")
        self.assertIn(b"OK", await self.do(john, b"SELECT INBOX"))

    async def test_what_no_cyrus_says(self) -> None:
        admin = await self.client("admin", self.port(1))
        for command, status in [
            (b"SYNCGET USER john", b"OK"),
            (b"SYNCAPPLY MAILBOX %(UNIQUEID ../.. MBOXNAME user.john)", b"NO"),
            (b"SYNCAPPLY MAILBOX %(UNIQUEID abcd MBOXNAME user.jane RECORD ())", b"NO"),
            (b"SYNCAPPLY MAILBOX (", b"BAD"),
            (b"SYNCAPPLY MAILBOX %(A", b"BAD"),
            (b"SYNCAPPLY " + b"(" * 100 + b")" * 100, b"BAD"),
            (b"SYNCAPPLY", b"BAD"),
            (b"SYNCAPPLY NOTHING x", b"NO"),
            (b"SYNCAPPLY MESSAGE (%{default 7637ad79a002cb2bc6ecc189895e4f88a075124a 4}\r\nabcd)", b"NO"),
            (b"SYNCAPPLY RESERVE %(PARTITION default GUID (../../x))", b"NO"),
            (b"SYNCRESTORE MAILBOX x", b"NO"),
            (b"SYNCRESTART", b"OK"),
            (b"MUPDATEPUSH user.john", b"NO"),
        ]:
            await self.do(admin, command, status)
        alice = await self.client("alice", self.port(0))
        await self.do(alice, b"SYNCGET USER alice", b"BAD")
        self.assertNotIn(b"X-REPLICATION", await self.do(alice, b"CAPABILITY"))


def manage_sieve(port: int, *commands: bytes) -> bytes:
    """
    Say something to a ManageSieve server (RFC 5804) as john; waits for it.

    @return: What it said at last.
    """
    said = b"\0john\0" + PASSWORD.encode()
    login = b'AUTHENTICATE "PLAIN" "%b"' % b2a_base64(said, newline=False)
    answer = b""
    with socket.create_connection(("127.0.0.1", port), 60) as connection, connection.makefile("rwb") as wire:
        for command in (b"", login, *commands):
            if command:
                wire.write(command + b"\r\n")
                wire.flush()
            answer = b""
            while (line := wire.readline()) and not line.startswith((b"OK", b"NO", b"BYE")):
                answer += line
            assert line.startswith(b"OK"), (command, line)
    return answer


class ThereAndBack(CyrusTransfers):
    async def test_scripts_and_options(self) -> None:
        """Sieve scripts, the active one, and what Cyrus calls options come along, and are at Cyrus what they were."""
        at = self.cyrus.ports["timsieved"]
        keep = b" {7+}\r\nkeep;\r\n"
        commands = (b'PUTSCRIPT "one"' + keep, b'PUTSCRIPT "two"' + keep, b'SETACTIVE "two"')
        await deferToThread(manage_sieve, at, *commands)
        john = await self.cyrus_client("john")
        await self.do(john, b"CREATE INBOX.Shared")
        seen, twice = (b"/shared/vendor/cmu/cyrus-imapd/" + each for each in (b"sharedseen", b"duplicatedeliver"))
        await self.do(self.boss, b'SETMETADATA user.john.Shared (%b "true" %b "true")' % (seen, twice))
        john.log_out()
        await self.do(self.boss, b"XFER user.john " + self.servers[1].encode())
        sieve = await self.stores[self.servers[1]].open(Identity("john"), JOHN.child("#sieve"), "r")
        sieve.refresh()
        self.assertEqual([bool(flags & FLAGGED) for flags in sieve.view().flags.tolist()], [False, True])
        sieve.close()
        here = await self.client("admin", self.port(1))
        told = await self.do(here, b"GETMETADATA user.john.Shared (%b %b)" % (seen, twice))
        self.assertEqual(told.count(b'"true"'), 2)
        await self.do(here, b"XFER user.john " + self.cyrus.name.encode())
        told = await self.do(self.boss, b"GETMETADATA user.john.Shared (%b %b)" % (seen, twice))
        self.assertEqual(told.count(b'"true"'), 2)
        told = await deferToThread(manage_sieve, at, b'GETSCRIPT "two"', b"LISTSCRIPTS")
        self.assertEqual(told, b'"one"\r\n"two" ACTIVE\r\n')


class ToCyrus(CyrusTransfers):
    async def test_user(self) -> None:
        """XFER gives a user to a server of Cyrus's, with all that the user has; and it comes back."""
        ours = self.stores[self.servers[0]]
        alice = await self.client("alice", self.port(0))
        await self.append(alice, b"INBOX", *MESSAGES)
        await self.append(alice, b"INBOX.Sent", LARGE)
        await self.do(alice, b"CREATE INBOX.Drafts (USE (\\Drafts))")
        await self.do(alice, b"SELECT INBOX")
        await self.do(alice, b"STORE 1 +FLAGS (\\Seen $Work)")
        await self.do(alice, b"STORE 2 +FLAGS (\\Deleted)")
        await self.do(alice, b"EXPUNGE")
        await self.do(alice, b"SUBSCRIBE INBOX.Sent")
        await self.do(alice, b'SETMETADATA INBOX (/private/comment "mine")')
        await self.do(alice, b'STORE 2 ANNOTATION (/comment (value.priv "mine, too" value.shared "of all"))')
        await self.do(self.admin, b"SETQUOTA user.alice (STORAGE 5000)")
        await self.do(self.admin, b"SETACL user.alice bob lrs")
        await self.do(alice, b"UNSELECT")
        before = await ours.status(ALICE, INBOX)
        said = await self.do(self.admin, b"XFER user.alice " + self.cyrus.name.encode())
        self.assertEqual(said, b"* OK USER alice\r\nOK Completed")
        self.assertEqual(self.where(), [])
        for mailbox in ("user.alice", "user.alice.Sent", "user.alice.Drafts"):
            self.assertEqual(self.place(mailbox), (self.cyrus.name, LocationState.ACTIVE))
        there = await self.cyrus_client("alice")
        said = await self.do(there, b"STATUS INBOX (MESSAGES UIDNEXT UIDVALIDITY HIGHESTMODSEQ UNSEEN)")
        words = said.partition(b"(")[2].partition(b")")[0].split()
        found = dict(zip(words[::2], map(int, words[1::2]), strict=True))
        self.assertEqual(
            found,
            {
                b"MESSAGES": 3,
                b"UIDNEXT": before.uidnext,
                b"UIDVALIDITY": before.uidvalidity,
                b"HIGHESTMODSEQ": before.highest_modseq,
                b"UNSEEN": 2,
            },
        )
        await self.do(there, b"SELECT INBOX")
        fetched = await self.do(there, b"UID FETCH 1:* (FLAGS BODY.PEEK[])")
        self.assertIn(MESSAGES[2], fetched)
        self.assertIn(b"$Work", fetched)
        self.assertIn(b"INBOX.Sent", await self.do(there, b'LSUB "" *'))
        self.assertIn(b"\\Drafts", await self.do(there, b'LIST "" * RETURN (SPECIAL-USE)'))
        self.assertIn(b"mine", await self.do(there, b"GETMETADATA INBOX /private/comment"))
        noted = await self.do(there, b"UID FETCH 3 (ANNOTATION (/comment (value.priv value.shared)))")
        self.assertIn(b'(value.shared "of all" value.priv "mine, too")', noted)
        self.assertIn(b"5000", await self.do(self.boss, b"GETQUOTA user.alice"))
        self.assertIn(b"bob lrs", await self.do(self.boss, b"GETACL user.alice"))
        there.log_out()
        # And back, to the other of ours.
        await self.do(self.boss, b"XFER user.alice " + self.servers[1].encode())
        self.assertEqual(self.where(), self.servers[1:])
        self.assertEqual(await self.bodies(self.servers[1]), [MESSAGES[0], *MESSAGES[2:]])
        back = await self.client("alice", self.port(1))
        await self.do(back, b"SELECT INBOX")
        noted = await self.do(back, b"UID FETCH 3 (ANNOTATION (/comment (value.priv value.shared)))")
        self.assertIn(b'(value.priv "mine, too" value.shared "of all")', noted)
        after = await self.stores[self.servers[1]].status(ALICE, INBOX)
        self.assertEqual(after.uidvalidity, before.uidvalidity)
        self.assertEqual(after.unique_id, before.unique_id)

    async def test_shared(self) -> None:
        """A shared mailbox goes there, with what somebody has seen of it; what Cyrus has is let alone."""
        ours = self.stores[self.servers[0]]
        news = MailboxName("", None, ("news",))
        await ours.create(ADMIN, news)
        await self.do(self.admin, b"SETACL news anyone lrsip")
        alice = await self.client("alice", self.port(0))
        await self.append(alice, b"news", *MESSAGES)
        await self.do(alice, b"SELECT news")
        await self.do(alice, b"STORE 2 +FLAGS \\Seen")
        await self.do(alice, b"UNSELECT")
        said = await self.do(self.admin, b"XFER news " + self.cyrus.name.encode())
        self.assertEqual(said, b"* OK MAILBOX news\r\nOK Completed")
        self.assertIsNone(ours.directory.lookup(news))
        self.assertEqual(self.place("news"), (self.cyrus.name, LocationState.ACTIVE))
        there = await self.cyrus_client("alice")
        await self.do(there, b"EXAMINE news")
        fetched = await self.do(there, b"FETCH 1:* (FLAGS BODY.PEEK[])")
        self.assertEqual([fetched.count(each) for each in MESSAGES], [1] * 4)
        self.assertEqual(fetched.count(b"\\Seen"), 1)
        self.assertIn(b"* 2 FETCH (FLAGS (\\Seen)", fetched)
        # What is there is not ours to remove.
        await self.do(self.boss, b"SETACL news cyrus lrswipkxtecda")
        await ours.create(ADMIN, news)
        await self.do(self.boss, b"LOCALCREATE user.alice")
        for name in (b"news", b"user.alice"):
            said = await self.do(self.admin, b"XFER %b %b" % (name, self.cyrus.name.encode()), b"NO")
            self.assertIn(b"the other server has mailboxes of that name", said)
        self.assertIn(b"MESSAGES 4", await self.do(there, b"STATUS news (MESSAGES)"))
        self.assertEqual(await self.bodies(self.servers[0]), [])

    async def test_broken(self) -> None:
        """Wherever it breaks off, the user is in one place, and what is begun is ended."""
        alice = await self.client("alice", self.port(0))
        await self.append(alice, b"INBOX", *MESSAGES)
        for step in ("begin", "send_messages", "send_rest", "prepare", "activate"):
            for is_done in (False, True):
                real = getattr(SyncLink, step)

                async def broken(link: SyncLink, *args: Any, real: Any = real, is_done: bool = is_done) -> Any:
                    if is_done:
                        await real(link, *args)
                    link._link.abort("cut")
                    raise StoreUnavailable("the connection was cut")

                patch = self.patch(SyncLink, step, broken)
                with self.assertRaises(TransferFailed):
                    await self.transfers[self.servers[0]].move(ADMIN, INBOX, self.cyrus.name, "", lambda moved: None)
                patch.restore()
                await self.make_transfers(self.servers[0]).resume()
                (place, state) = self.place("user.alice")
                self.assertIs(state, LocationState.ACTIVE)
                if step == "activate":
                    self.assertEqual((place, self.where()), (self.cyrus.name, []))
                    said = await self.do(self.boss, b"XFER user.alice " + self.servers[0].encode())
                    self.assertIn(b"* OK USER alice", said)
                self.assertEqual(self.where(), self.servers[:1], (step, is_done))
                self.assertEqual(await self.bodies(self.servers[0]), MESSAGES)
