"""Two servers, and users who move from one to the other: what administrators and users see."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from pycyrus.app.transfer_parts import make_dial
from pycyrus.errors import StoreUnavailable, TransferFailed
from pycyrus.imap.protocol import ImapFactory
from pycyrus.imap.settings import ImapSettings
from pycyrus.interfaces import IMailboxPublisher, Moved
from pycyrus.model.identity import Identity
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.model.names import ExternalNames, inbox_of
from pycyrus.murder.moving.transfer_link import TransferLink
from pycyrus.murder.moving.transfers import Transfers
from pycyrus.store.files import store_error
from pycyrus.store.incoming import Arrivals
from pycyrus.store.incoming_files import IncomingFiles
from pycyrus.store.outgoing import Departures
from pycyrus.store.store import MailStore
from pycyrus.store.transfer_log import Leaving, TransferLog
from pycyrus.test.murder.cluster import ADMIN, NAMES, MurderCase
from pycyrus.test.murder.publishers import DirectPublisher, Master

ALICE = Identity("alice")
INBOX = inbox_of(ALICE)
MESSAGE = b"Subject: hello\r\n\r\nbody\r\n"


class TransferServers(MurderCase):
    """Alice is on the first server, bob on the second."""

    async def setUp(self) -> None:  # type: ignore[override] # trial waits
        self.transfers: dict[str, Transfers] = {}
        self.logs: dict[str, TransferLog] = {}
        self.master = Master()
        self.publishers: dict[str, IMailboxPublisher] = {}
        await super().setUp()
        await self.stores[self.servers[0]].create(ALICE, INBOX.child("Sent"))
        self.admin = await self.client("admin", self.port(0))

    def port(self, number: int) -> int:
        return int(self.servers[number].rpartition(":")[2])

    def start_backend(self) -> str:
        store = self._store()
        factory = ImapFactory(
            store,
            self.authenticator(("admin", "mailproxy"), proxy_servers=("mailproxy",)),
            ImapSettings(),
            lambda identity: ExternalNames(NAMES, identity),
            None,
            None,
            self.reactor,
        )
        port = self.listen(factory)
        name = f"127.0.0.1:{port.getHost().port}"
        self.stores[name], self.factories[name], self.ports[name] = store, factory, port
        self.publishers[name] = self.make_publisher(name, store)
        store.publish_to(self.publishers[name])
        made = self.make_transfers(name)
        object.__setattr__(factory.parts, "transfers", made)
        return name

    def make_publisher(self, name: str, store: MailStore) -> IMailboxPublisher:
        """Who tells the master."""
        return DirectPublisher(self.master, name, store)

    def make_transfers(self, name: str) -> Transfers:
        """One more process's share."""
        parts = self.stores[name].transfer_parts()
        log = TransferLog(parts.settings.configdirectory, self.reactor)

        names = ExternalNames(NAMES, ADMIN)
        dial = make_dial(self.make_links(), lambda name: names.encode(name, utf8=False), self.reactor)

        made = Transfers(Departures(parts), Arrivals(parts, log), log, dial, name, self.publishers[name], self.reactor)
        self.addCleanup(made.close)
        self.transfers[name], self.logs[name] = made, log
        return made

    def where(self) -> list[str]:
        """On which servers alice's INBOX can be used."""
        return [name for name, store in self.stores.items() if self.is_at(store)]

    def is_at(self, store: MailStore) -> bool:
        entry = store.directory.lookup(INBOX)
        return entry is not None and not entry.mailbox_type

    async def bodies(self, server: str) -> list[bytes]:
        opened = await self.stores[server].open(ALICE, INBOX, "r")
        try:
            opened.refresh()
            found = []
            for uid in opened.view().uids.tolist():
                file = opened.message(uid)
                found.append(file.read(0, file.size))
                file.close()
            return found
        finally:
            opened.close()


class Xfer(TransferServers):
    async def test_user(self) -> None:
        alice = await self.client("alice", self.port(0))
        await self.append(alice, b"INBOX", MESSAGE, MESSAGE + b"2" * 300_000)
        await self.do(alice, b"SELECT INBOX")
        said = await self.do(self.admin, b"XFER user.alice " + self.servers[1].encode())
        self.assertEqual(said, b"* OK USER alice\r\nOK Completed")
        self.assertEqual(self.where(), self.servers[1:])
        self.assertEqual(self.master.places[INBOX], (self.servers[1], True))
        self.assertEqual(self.master.places[INBOX.child("Sent")], (self.servers[1], True))
        # The session is not told that its messages were expunged; new ones find it there only.
        said = await self.do(alice, b"NOOP")
        self.assertNotIn(b"EXPUNGE", said)
        while alice.lost_reason is None:
            await self.turn()
        self.assertIn(b"* BYE [UNAVAILABLE] Mailbox has been moved", alice._scanner._buffer)
        await self.do(await self.client("alice", self.port(0)), b"SELECT INBOX", b"NO")
        there = await self.client("alice", self.port(1))
        self.assertIn(b"* 2 EXISTS", await self.do(there, b"SELECT INBOX"))
        fetched = await self.do(there, b"FETCH 1 (FLAGS BODY.PEEK[])")
        self.assertIn(MESSAGE, fetched)
        self.assertIn(rb"\Flagged", fetched)
        (transfer,) = self.logs[self.servers[0]].outgoing()
        self.assertEqual(transfer.state, Leaving.DONE)
        self.assertGreater(transfer.octets, 300_000)
        # And back, by cyradm's other way.
        admin = await self.client("admin", self.port(1))
        name = self.servers[0].encode()
        said = await self.do(admin, b"RENAME user.alice user.alice %b!default" % name)
        self.assertEqual(self.where(), self.servers[:1])
        self.assertEqual(await self.bodies(self.servers[0]), [MESSAGE, MESSAGE + b"2" * 300_000])
        await self.do(self.admin, b"RENAME user.alice user.alice " + self.servers[1].encode())
        self.assertEqual(self.where(), self.servers[1:])

    async def test_idle(self) -> None:
        """Who waits is told at once."""
        alice = await self.client("alice", self.port(0))
        await self.append(alice, b"INBOX", MESSAGE)
        await self.do(alice, b"SELECT INBOX")
        alice.send(b"i1 IDLE\r\n")
        await self.turn()
        await self.do(self.admin, b"XFER user.alice " + self.servers[1].encode())
        while alice.lost_reason is None:
            await self.turn()
        self.assertIn(b"* BYE [UNAVAILABLE] Mailbox has been moved", alice._scanner._buffer)
        self.assertNotIn(b"EXPUNGE", alice._scanner._buffer)

    async def test_frontend(self) -> None:
        """Sessions on a frontend that have the mailbox selected end: for ever it is not where they have it from."""
        selected, idle = [await self.client("alice") for _ in range(2)]
        for client in (selected, idle):
            await self.do(client, b"SELECT INBOX")
        waiting = Deferred.fromCoroutine(idle.ask(b"IDLE"))
        await self.do(self.admin, b"XFER user.alice " + self.servers[1].encode())
        # While it was on its way that could be told only.
        with contextlib.suppress(StoreUnavailable):
            self.assertIn(b"UNAVAILABLE", (await waiting)[2])
        for client, command in ((selected, b"NOOP"), (idle, b"IDLE")):
            with contextlib.suppress(StoreUnavailable):
                while client.lost_reason is None:
                    await client.ask(command)
            self.assertIn(b"* BYE [UNAVAILABLE] Mailbox has been moved", client._scanner._buffer)
        await self.do(await self.client("alice"), b"SELECT INBOX")

    async def test_watched(self) -> None:
        """Who watches is not told that the mailboxes were deleted, there or through a frontend, but to look again."""
        for events in (b"(MessageNew MessageExpunge)", b"(MailboxName)"):
            source, target = self.servers
            watching = [await self.client("alice", port) for port in (None, self.port(0))]
            for client in watching:
                await self.do(client, b"NOTIFY SET (personal %b)" % events)
            await self.do(self.admin, b"XFER user.alice " + target.encode())
            for client in watching:
                told = b""
                while b"\r\n" not in told:
                    told += client.take_news(b"-")[0]
                    await self.turn()
                self.assertEqual(
                    told, b"* OK [NOTIFICATIONOVERFLOW] Mailbox has been moved to another server\r\n", events
                )
            # By the frontend, which the master has told by now, the new server is asked.
            await self.directory.catch_up()
            await self.do(watching[0], b"NOTIFY SET (personal (MessageNew MessageExpunge))")
            await self.append(await self.client("alice", self.port(1)), b"INBOX", MESSAGE)
            while b"* STATUS INBOX (MESSAGES" not in watching[0].take_news(b"-")[0]:
                await self.turn()
            await self.do(await self.client("admin", self.port(1)), b"XFER user.alice " + source.encode())
            await self.directory.catch_up()

    async def test_refused(self) -> None:
        server = self.servers[1].encode()
        for command, words in [
            (b"XFER user.nobody " + server, b"NO [NONEXISTENT]"),
            (b"XFER user.alice.Sent " + server, b"NO [CANNOT]"),
            (b"XFER user.alice " + self.servers[0].encode(), b"NO [CANNOT] Invalid server requested"),
            (b"XFER user.alice 127.0.0.1:1", b"NO [UNAVAILABLE]"),
            (b"XFER user.alice %b none" % server, b"NO [CANNOT] Unknown/invalid partition"),
            (b"XFER user.alice", b"BAD"),
            # Who moves keeps the name, as in Cyrus.
            (b"RENAME user.alice user.jane " + server, b"NO [CANNOT]"),
            (b"RENAME user.alice user.jane %b!default" % server, b"NO [CANNOT]"),
            (b"RENAME user.alice.Sent user.alice.Sent " + server, b"NO [CANNOT]"),
        ]:
            said = await self.do(self.admin, command, words.partition(b" ")[0])
            self.assertIn(words, said.splitlines()[-1])
        await self.stores[self.servers[1]].create(ADMIN, INBOX)
        said = await self.do(self.admin, b"XFER user.alice " + server, b"NO")
        self.assertEqual(said, b"* NO USER alice (Mailbox already exists)\r\nNO [CANNOT] Mailbox already exists")
        alice = await self.client("alice", self.port(0))
        self.assertIn(b"NOPERM", await self.do(alice, b"XFER INBOX " + server, b"NO"))
        self.assertIn(b"NOPERM", await self.do(alice, b"XTRANSFER STATE abc {2+}\r\n{}", b"NO"))
        await self.do(alice, b"SELECT INBOX")
        await self.do(self.admin, b"SELECT user.alice", b"NO")
        self.assertEqual(await self.bodies(self.servers[0]), [])

    async def test_pattern(self) -> None:
        """All that match, each for itself."""
        first = self.stores[self.servers[0]]
        for name in (Identity("anna"), Identity("zoe")):
            await first.create(ADMIN, inbox_of(name))
        await self.stores[self.servers[1]].create(ADMIN, inbox_of(Identity("anna")))
        server = self.servers[1].encode()
        said = await self.do(self.admin, b"XFER user.a* " + server, b"NO")
        self.assertEqual(
            said,
            b"* OK USER alice\r\n* NO USER anna (Mailbox already exists)\r\nNO [CANNOT] 1 were not moved",
        )
        self.assertEqual(self.where(), self.servers[1:])
        self.assertIsNotNone(first.directory.lookup(inbox_of(Identity("zoe"))))
        self.assertIn(b"[NONEXISTENT]", await self.do(self.admin, b"XFER user.n* " + server, b"NO"))

    async def test_partition(self) -> None:
        """All users and shared mailboxes of a partition; a mailbox that is called like it goes before it."""
        first, second = (self.stores[name] for name in self.servers)
        news = MailboxName("", None, ("news",))
        await first.create(ADMIN, news)
        server = self.servers[1].encode()
        said = await self.do(self.admin, b"XFER default " + server)
        self.assertEqual(said, b"* OK MAILBOX news\r\n* OK USER alice\r\nOK Completed")
        self.assertEqual(self.where(), self.servers[1:])
        self.assertIsNone(first.directory.lookup(news))
        self.assertIsNotNone(second.directory.lookup(INBOX.child("Sent")))
        self.assertIn(b"NONEXISTENT", await self.do(self.admin, b"XFER none " + server, b"NO"))
        default = MailboxName("", None, ("default",))
        await first.create(ADMIN, default)
        await first.create(ADMIN, news)
        said = await self.do(self.admin, b"XFER default " + server)
        self.assertEqual(said, b"* OK MAILBOX default\r\nOK Completed")

    async def test_local(self) -> None:
        """What is made and removed without a word to the master."""
        news = MailboxName("", None, ("news",))
        self.assertIn(b"MAILBOXID", await self.do(self.admin, b"LOCALCREATE news"))
        self.assertNotIn(news, self.master.places)
        await self.do(self.admin, b"MUPDATEPUSH news")
        self.assertEqual(self.master.places[news], (self.servers[0], True))
        await self.do(self.admin, b"LOCALDELETE news")
        self.assertEqual(self.master.places[news], (self.servers[0], True))
        self.assertIsNone(self.stores[self.servers[0]].directory.lookup(news))
        await self.do(self.admin, b"MUPDATEPUSH news", b"NO")
        await self.do(self.admin, b"LOCALDELETE user.alice", b"NO")
        alice = await self.client("alice", self.port(0))
        for command in (b"DUMP user.alice", b"DUMP user.alice 5"):
            said = await self.do(self.admin, command, b"NO")
            self.assertEqual(said, b"NO [CANNOT] Mailboxes leave by XFER, to servers with X-REPLICATION")
        await self.do(self.admin, b"DUMP user.alice x", b"BAD")
        for command in (
            b"DUMP INBOX",
            b"LOCALCREATE INBOX.x",
            b"LOCALDELETE INBOX.Sent",
            b"MUPDATEPUSH INBOX",
            b"XFER * somewhere",
        ):
            self.assertIn(b"NOPERM", await self.do(alice, command, b"NO"))

    async def test_steps_that_are_none(self) -> None:
        strange = b'{"root": ["", "x\\u0001y", [], null], "partition": ""}'
        for command, status in [
            (b"XTRANSFER NONE abc {2+}\r\n{}", b"NO"),
            (b"XTRANSFER BEGIN abc {2+}\r\n{}", b"NO"),
            (b"XTRANSFER BEGIN abc {%d+}\r\n%b" % (len(strange), strange), b"NO"),
            (b"XTRANSFER BEGIN ../abc {2+}\r\n{}", b"BAD"),
            (b"XTRANSFER PIECES abc {2+}\r\n[] {1+}\r\nx", b"NO"),
            (b"XTRANSFER PREPARE abc {2+}\r\n{}", b"NO"),
            (b"XTRANSFER ACTIVATE abc {2+}\r\n{}", b"NO"),
            (b"XTRANSFER STATE abc {2+}\r\n{}", b"OK"),
            (b"XTRANSFER ABORT abc {2+}\r\n{}", b"OK"),
            (b"XTRANSFER FORGET abc {2+}\r\n{}", b"OK"),
        ]:
            await self.do(self.admin, command, status)

    async def test_cannot(self) -> None:
        """What keeps a user from moving is told, and the user goes on here, whole."""
        alice = await self.client("alice", self.port(0))
        await self.append(alice, b"INBOX", *[MESSAGE] * 3)
        (path,) = self.stores[self.servers[0]].transfer_parts().partitions.data_root("default").glob("**/alice/2.")
        xfer = b"XFER user.alice " + self.servers[1].encode()

        def broken() -> None:
            path.chmod(0o600)
            path.write_bytes(MESSAGE.replace(b"body", b"bode"))

        def no_room(files: IncomingFiles, pieces: Any, data: bytes) -> None:
            raise store_error(OSError(errno.ENOSPC, "No space left on device"), "mailboxes cannot come in")

        def full() -> None:
            path.write_bytes(MESSAGE)
            self.patch(IncomingFiles, "write", no_room)

        for change, reason in (
            (broken, b"2. is not what it was when it came: reconstruct"),
            (path.unlink, b"2. is missing: reconstruct"),
            (full, b"no room left"),
        ):
            change()
            said = await self.do(self.admin, xfer, b"NO")
            self.assertIn(b"* NO USER alice (", said)
            self.assertIn(reason, said)
            self.assertEqual(self.where(), self.servers[:1])
            self.assertEqual(self.master.places[INBOX], (self.servers[0], True))
            await self.append(alice, b"INBOX", MESSAGE)
        self.assertEqual((await self.stores[self.servers[0]].status(ALICE, INBOX)).counts.messages, 6)
        (state,) = {each.state for each in self.logs[self.servers[0]].outgoing()}
        self.assertIs(state, Leaving.FAILED)

    async def test_at_once(self) -> None:
        """Of two who move a user at the same time one does it."""
        alice = await self.client("alice", self.port(0))
        await self.append(alice, b"INBOX", MESSAGE)
        other = await self.client("admin", self.port(0))
        asked = [
            Deferred.fromCoroutine(each.ask(b"XFER user.alice " + self.servers[1].encode()))
            for each in (self.admin, other)
        ]
        answers = sorted([(await each)[1:] for each in asked])
        self.assertEqual(answers[1], (b"OK", b"Completed"))
        self.assertEqual(answers[0][0], b"NO")
        self.assertIn(b"already on its way", answers[0][1])
        self.assertEqual(self.where(), self.servers[1:])
        self.assertEqual(await self.bodies(self.servers[1]), [MESSAGE])

    async def test_master_away(self) -> None:
        """Nothing moves that nobody could find afterwards."""
        alice = await self.client("alice", self.port(0))
        await self.append(alice, b"INBOX", MESSAGE)
        self.master.is_away = True
        await self.do(self.admin, b"XFER user.alice " + self.servers[1].encode(), b"NO")
        self.assertEqual(self.where(), self.servers[:1])
        await self.append(alice, b"INBOX", MESSAGE)
        self.master.is_away = False
        await self.do(self.admin, b"XFER user.alice " + self.servers[1].encode())
        self.assertEqual(await self.bodies(self.servers[1]), [MESSAGE] * 2)

    async def test_written_meanwhile(self) -> None:
        """What comes before the last moment goes along; what comes later is refused, and none is lost."""
        alice = await self.client("alice", self.port(0))
        await self.append(alice, b"INBOX", *[MESSAGE] * 20)
        count, answers = 20, []
        real = TransferLink.send

        async def send(link: TransferLink, packets: Any) -> None:
            answers.append((await alice.ask(b"APPEND INBOX {%d+}\r\n%b" % (len(MESSAGE), MESSAGE)))[1:])
            await real(link, packets)

        self.patch(TransferLink, "send", send)
        await self.do(self.admin, b"XFER user.alice " + self.servers[1].encode())
        taken = [status for status, _ in answers if status == b"OK"]
        self.assertTrue(taken)
        refused = {text for status, text in answers if status != b"OK"}
        self.assertEqual(refused, {b"[INUSE] Mailbox is being moved to another server"})
        self.assertEqual(len(await self.bodies(self.servers[1])), count + len(taken))

    async def test_cancelled(self) -> None:
        """Up to the moment at which the other server decides it can be called off; what is there goes."""
        alice = await self.client("alice", self.port(0))
        await self.append(alice, b"INBOX", *[MESSAGE] * 3)
        log = self.logs[self.servers[0]]
        cancelled: list[bool] = []

        def at(step: str) -> None:
            real = getattr(TransferLink, step)

            async def cancel(link: TransferLink, *arguments: Any) -> Any:
                result = await real(link, *arguments)
                (transfer,) = log.unfinished()
                cancelled.append(await log.cancel(transfer.transfer_id))
                return result

            self.patch(TransferLink, step, cancel)

        for step in ("begin", "prepare"):
            at(step)
            said = await self.do(self.admin, b"XFER user.alice " + self.servers[1].encode(), b"NO")
            self.assertIn(b"* NO USER alice (cancelled)", said)
            self.assertEqual(self.where(), self.servers[:1])
            self.assertEqual(self.master.places[INBOX], (self.servers[0], True))
            other = self.stores[self.servers[1]].transfer_parts().partitions.data_root("default")
            while list(other.glob("uuid/incoming/*")):
                # It goes when the connection does.
                await self.turn()
            await self.append(alice, b"INBOX", MESSAGE)
        self.assertEqual(cancelled[0], True)
        self.assertEqual([(each.state, each.error) for each in log.outgoing()], [(Leaving.FAILED, "cancelled")] * 2)
        transfer = log.outgoing()[-1]
        self.assertFalse(await log.cancel(transfer.transfer_id))

    async def test_cancelled_too_late(self) -> None:
        """The other server decides by then."""
        alice = await self.client("alice", self.port(0))
        await self.append(alice, b"INBOX", MESSAGE)
        log, found = self.logs[self.servers[0]], []
        real = TransferLink.activate

        async def activate(link: TransferLink, *arguments: Any) -> None:
            (transfer,) = log.unfinished()
            found.append(await log.cancel(transfer.transfer_id))
            await real(link, *arguments)

        self.patch(TransferLink, "activate", activate)
        await self.do(self.admin, b"XFER user.alice " + self.servers[1].encode())
        self.assertEqual(found, [False])
        self.assertEqual(self.where(), self.servers[1:])


class Killed(Exception):
    """The process is no more."""


class Broken(TransferServers):
    """Wherever it breaks off, the mailbox is whole in one place, and what is begun is ended."""

    STEPS = ("state", "begin", "send", "prepare", "activate", "publish", "give_up", "forget")

    async def check(self) -> list[str]:
        """What holds after each failure; @return: where the mailbox is."""
        where = self.where()
        self.assertLessEqual(len(where), 1)
        # Another process comes, here and there.
        for name in self.servers:
            await self.make_transfers(name).resume()
        where = self.where()
        self.assertEqual(len(where), 1, where)
        self.assertEqual(await self.bodies(where[0]), [MESSAGE])
        self.assertEqual(self.master.places[INBOX], (where[0], True))
        states = [transfer.state for transfer in self.logs[self.servers[0]].outgoing()]
        self.assertEqual([state for state in states if not state.is_over], [])
        return where

    async def bring_back(self, where: list[str]) -> None:
        if where != self.servers[:1]:
            await self.transfers[where[0]].move(ADMIN, INBOX, self.servers[0], "", lambda moved: None)

    async def test_steps(self) -> None:
        """Before each step, and after it was done and before its answer, the connection goes."""
        alice = await self.client("alice", self.port(0))
        await self.append(alice, b"INBOX", MESSAGE)
        ends = {}
        for step in self.STEPS:
            for is_done in (False, True):
                real = getattr(TransferLink, step)

                async def broken(link: TransferLink, *args: Any, real: Any = real, is_done: bool = is_done) -> Any:
                    if is_done:
                        await real(link, *args)
                    link._link.abort("cut")
                    raise StoreUnavailable("the connection was cut")

                patch = self.patch(TransferLink, step, broken)
                told: list[Moved] = []
                try:
                    await self.transfers[self.servers[0]].move(ADMIN, INBOX, self.servers[1], "", told.append)
                except TransferFailed:
                    self.assertTrue(told[0].error)
                patch.restore()
                while self.factories[self.servers[1]].sessions:
                    await self.turn()
                where = await self.check()
                ends[step, is_done] = self.servers.index(where[0])
                await self.bring_back(where)
        self.assertEqual(
            ends,
            {
                **dict.fromkeys([(s, d) for s in ("state", "begin", "send", "prepare") for d in (False, True)], 0),
                **dict.fromkeys([(s, d) for s in self.STEPS[4:] for d in (False, True)], 1),
            },
        )

    async def test_killed(self) -> None:
        """Whoever moves it is killed before or after something is written down."""
        alice = await self.client("alice", self.port(0))
        await self.append(alice, b"INBOX", MESSAGE)
        places, is_over = [], False
        for point in range(1, 20):
            log = self.logs[self.servers[0]]
            calls = 0

            def dying(real: Callable[..., Any], point: int = point) -> Callable[..., Any]:
                async def call(*args: Any) -> Any:
                    nonlocal calls
                    calls += 2
                    if calls == point + 1:
                        raise Killed
                    done = await real(*args)
                    if calls == point:
                        raise Killed
                    return done

                return call

            patches = [self.patch(log, each, dying(getattr(log, each))) for each in ("begin", "note")]
            is_over = True
            try:
                await self.transfers[self.servers[0]].move(ADMIN, INBOX, self.servers[1], "", lambda moved: None)
            except Killed:
                is_over = False
            for patch in patches:
                patch.restore()
            if is_over:
                break
            while self.factories[self.servers[1]].sessions:
                await self.turn()
            where = await self.check()
            places.append(self.servers.index(where[0]))
            await self.bring_back(where)
        self.assertTrue(is_over)
        self.assertEqual(sorted(places), places)
        self.assertEqual(set(places), {0, 1})
