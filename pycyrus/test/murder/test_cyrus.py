"""With Cyrus 3.6: its master for ours, and ours for its backends and frontends."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.threads import deferToThread
from typing_extensions import override

from pycyrus.auth.client import ClientCredentials
from pycyrus.errors import MailboxExists, StoreUnavailable
from pycyrus.interfaces import Location, LocationState
from pycyrus.model.acl import Acl
from pycyrus.model.internal_names import internal, parse_internal
from pycyrus.mupdate.client import MupdateClient
from pycyrus.murder.directory.comparison import Here, settle
from pycyrus.murder.directory.master_link import MasterAddress, MasterSettings, connect_to_master
from pycyrus.murder.directory.publisher import Publisher
from pycyrus.murder.directory.slave import Slave
from pycyrus.murder.servers.imap_link import ImapLink
from pycyrus.store.directory import published
from pycyrus.store.locations import Locations
from pycyrus.store.rows import Entry
from pycyrus.store.settings import StoreSettings
from pycyrus.store.store import open_store
from pycyrus.test.mupdate.test_master import MasterCase
from pycyrus.test.murder.test_publisher import ADMIN, FRED
from pycyrus.testing.cyrus import PASSWORD, CyrusServer

net: Any = reactor
OWN = "localhost:1143"


class CyrusCase(MasterCase):
    def make(
        self, program: str, *words: str, users: list[str], others: Sequence[str] = (), **options: str
    ) -> CyrusServer:
        directory = Path(tempfile.mkdtemp(prefix="c-"))
        self.addCleanup(shutil.rmtree, directory)
        directory.chmod(0o755)
        server = CyrusServer(directory, program, *words, users=users, others=others, **options)
        self.addCleanup(server.stop)
        return server

    async def start(self, server: CyrusServer) -> None:
        # It asks our master while it starts.
        await deferToThread(server.start)

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            waiting: Deferred[None] = Deferred()
            net.callLater(0.01, waiting.callback, None)
            await waiting

    def settings(self, server: CyrusServer, retry_delay: float = 0.2) -> MasterSettings:
        credentials = ClientCredentials("mupduser", "mupduser", password=PASSWORD)
        return MasterSettings(MasterAddress("127.0.0.1", server.port), credentials, retry_delay=retry_delay)


class CyrusMasterTests(CyrusCase):
    @override
    async def setUp(self) -> None:  # type: ignore[override] # trial waits
        super().setUp()
        self.master = self.make("mupdate", "-m", users=["mupduser"], admins="mupduser")
        await self.start(self.master)
        self.client = await self.dial()
        self.root = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.root)
        settings = StoreSettings(self.root / "c", {"default": self.root / "s"}, defaultpartition="default")
        self.store = open_store(settings, net)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.store.close()))

    async def dial(self, *callbacks: Any) -> MupdateClient:
        client = await connect_to_master(net, self.settings(self.master), *callbacks)
        self.addCleanup(client.log_out)
        return client

    def publish(self) -> Publisher:
        async def dial(gone: Callable[[str], None]) -> MupdateClient:
            return await self.dial(lambda changes: None, gone)

        def location(entry: Entry) -> Location:
            mailbox = published(entry)
            return Location(internal(mailbox.name), OWN, mailbox.partition, mailbox.acl)

        self.here = Here(lambda: map(location, self.store.directory.entries()), self.find(location))
        publisher = Publisher(dial, OWN, self.here, net, directory=self.root / "c", retry_delay=0.2)
        self.addCleanup(publisher.close)
        publisher.start()
        self.store.publish_to(publisher)
        return publisher

    def find(self, location: Callable[[Entry], Location]) -> Callable[[str], Location | None]:
        def find(mailbox: str) -> Location | None:
            entry = self.store.directory.lookup(parse_internal(mailbox))
            return None if entry is None else location(entry)

        return find

    def follow(self) -> tuple[Slave, Locations]:
        copies = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, copies)
        copy = Locations(copies, net)
        self.addCleanup(lambda: Deferred.fromCoroutine(copy.close()))
        slave = Slave(copy, copies, self.dial, net, retry_delay=0.2)
        self.addCleanup(lambda: Deferred.fromCoroutine(slave.close()))
        slave.start()
        return slave, copy

    async def test_our_backend_and_our_copy(self) -> None:
        """The life of mailboxes here, as Cyrus's master has it and as a copy hears it."""
        self.publish()
        slave, copy = self.follow()
        await self.store.create(ADMIN, parse_internal("user.fred"))
        await self.store.create(FRED, parse_internal("user.fred.a"))
        found = await self.client.find("user.fred")
        self.assertEqual(found, Location("user.fred", OWN, "default", "fred\tlrswipkxtecdan\t"))
        await self.until(lambda: slave.is_connected)
        await slave.catch_up()
        self.assertEqual(copy.find("user.fred"), found)
        await self.store.rename(FRED, parse_internal("user.fred.a"), parse_internal("user.fred.b"))
        await self.store.set_acl(ADMIN, parse_internal("user.fred.b"), Acl((("bob", frozenset("lr")),)))
        await slave.catch_up()
        self.assertIsNone(copy.find("user.fred.a"))
        moved = copy.find("user.fred.b")
        self.assertEqual(moved and moved.acl, "bob\tlr\t")
        await self.store.delete(ADMIN, parse_internal("user.fred.b"))
        await slave.catch_up()
        self.assertIsNone(copy.find("user.fred.b"))
        names = [each.mailbox for each in copy.page("", "", 10)]
        self.assertEqual(len(names), 2, names)
        # What the master does not know does not make it die.
        await settle(self.client, OWN, "user.nobody", self.here.find)
        await self.client.noop()

    async def test_a_name_that_a_cyrus_has(self) -> None:
        await self.client.activate(Location("user.fred", "b2", "default", "fred\tlrs\t"))
        self.publish()
        with self.assertRaises(MailboxExists):
            await self.store.create(ADMIN, parse_internal("user.fred"))

    async def test_the_master_is_away(self) -> None:
        """Nothing new is made meanwhile; what was deleted is told when it is there again, and the copy serves."""
        publisher = self.publish()
        slave, copy = self.follow()
        await self.store.create(ADMIN, parse_internal("user.fred"))
        await self.store.create(FRED, parse_internal("user.fred.a"))
        await self.until(lambda: slave.is_connected and copy.find("user.fred.a") is not None)
        await deferToThread(self.master.stop)
        await self.until(lambda: not slave.is_connected)
        with self.assertRaises(StoreUnavailable):
            await self.store.create(ADMIN, parse_internal("user.jane"))
        await self.store.delete(ADMIN, parse_internal("user.fred.a"))
        self.assertIsNotNone(copy.find("user.fred"))
        await self.start(self.master)
        await self.until(lambda: copy.find("user.fred.a") is None)
        await self.store.create(ADMIN, parse_internal("user.jane"))
        await self.until(lambda: slave.is_connected)
        await slave.catch_up()
        self.assertIsNotNone(copy.find("user.jane"))
        publisher.close()


class OurMasterTests(CyrusCase):
    async def test_a_cyrus_backend(self) -> None:
        """Cyrus's imapd tells our master; a backend that starts again mends what was wrong (C{ctl_mboxlist -m})."""
        backend = self.make(
            "imapd",
            users=["cyrus"],
            admins="cyrus",
            unixhierarchysep="no",
            proxyservers="mailproxy",
            mupdate_server=f"localhost:{self.port}",
            mupdate_username="admin",
            mupdate_authname="admin",
            mupdate_password="secret",
        )
        await self.start(backend)
        link = await self.log_in_at(backend)
        await self.do(link, b"CREATE user.fred")
        fred = Location("user.fred", backend.name, "default", "fred\tlrswipkxtecdan\t")
        self.assertEqual(self.locations.find("user.fred"), fred)
        await self.do(link, b"CREATE user.fred.a")
        await self.do(link, b"RENAME user.fred.a user.fred.b")
        self.assertIsNone(self.locations.find("user.fred.a"))
        await self.do(link, b"SETACL user.fred.b bob lr")
        renamed = self.locations.find("user.fred.b")
        self.assertIn("bob\tlr\t", renamed.acl if renamed else "")
        await self.locations.activate(Location("user.jane", "elsewhere", "default", "jane\tl\t"))
        _, status, text = await link.ask(b"CREATE user.jane")
        self.assertEqual(status, b"NO", text)
        # Administrators of Cyrus may give themselves rights, and have none else.
        await self.do(link, b"SETACL user.fred.b cyrus lrx")
        await self.do(link, b"DELETE user.fred.b")
        self.assertIsNone(self.locations.find("user.fred.b"))
        (kept,) = self.locations.page("DELETED.", "", 10)
        # Its partition is told at the next comparison only.
        self.assertEqual((kept.server, kept.partition), (backend.name, ""))
        link.log_out()
        await deferToThread(backend.stop)
        await self.locations.delete("user.fred")
        await self.locations.activate(Location("user.gone", backend.name, "default", "x\tl\t"))
        await self.start(backend)
        self.assertEqual(self.locations.find("user.fred"), fred)
        self.assertIsNone(self.locations.find("user.gone"))
        self.assertEqual([each.partition for each in self.locations.page("DELETED.", "", 10)], ["default"])

    async def log_in_at(self, server: CyrusServer) -> ImapLink:
        link = ImapLink("cyrus", net)
        await connectProtocol(TCP4ClientEndpoint(net, "127.0.0.1", server.port), link)
        await link.greeted()
        await self.do(link, b"LOGIN cyrus " + PASSWORD.encode())
        return link

    async def do(self, link: ImapLink, command: bytes) -> None:
        _, status, text = await link.ask(command)
        self.assertEqual(status, b"OK", text)

    async def test_a_cyrus_frontend(self) -> None:
        """Cyrus's slave takes over what our master has, and hears what changes."""
        before = [Location(f"user.u{number}", "b1", "default", f"u{number}\tlrs\t") for number in range(300)]
        before.append(Location("user.half", "b1", "default", "", LocationState.RESERVED))
        await self.locations.follow(before)
        frontend = self.make(
            "mupdate",
            users=["mupduser"],
            admins="cyrus mupduser",
            mupdate_server=f"localhost:{self.port}",
            mupdate_username="admin",
            mupdate_authname="admin",
            mupdate_password="secret",
            mupdate_retry_delay="1",
        )
        await self.start(frontend)
        client = await connect_to_master(net, self.settings(frontend))
        self.addCleanup(client.log_out)
        self.assertEqual(set(await client.list_begun("b1!")), set(before))
        jane = Location("user.jane", "b2", "default", "jane\tl\t")
        await self.locations.activate(jane)
        await self.locations.delete("user.u7")
        # A slave of Cyrus asks its master at a NOOP only where it streams itself.
        while await client.find("user.jane") != jane or await client.find("user.u7") is not None:
            await self.turn()

    async def turn(self) -> None:
        waiting: Deferred[None] = Deferred()
        net.callLater(0.02, waiting.callback, None)
        await waiting
