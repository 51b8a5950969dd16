"""A server tells the master of its mailboxes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from pycyrus.auth.client import ClientCredentials
from pycyrus.errors import MailboxExists, MailboxNotFound, PermissionDenied, StoreUnavailable
from pycyrus.interfaces import Location, LocationState
from pycyrus.model.acl import Acl
from pycyrus.model.identity import SERVER, Identity
from pycyrus.model.internal_names import internal, parse_internal
from pycyrus.mupdate.client import MupdateClient
from pycyrus.murder.directory.comparison import Here
from pycyrus.murder.directory.master_link import MasterAddress, MasterSettings, connect_to_master
from pycyrus.murder.directory.publisher import Publisher
from pycyrus.store.directory import published
from pycyrus.store.rows import Entry
from pycyrus.store.settings import StoreSettings
from pycyrus.store.store import MailStore, open_store
from pycyrus.test.mupdate.test_master import MasterCase

net: Any = reactor
ADMIN = SERVER
FRED = Identity("fred")
OWN = "b1:143"
ACL = "fred\tlrswipkxtecdan\t"


class PublisherCase(MasterCase):
    def setUp(self) -> None:
        super().setUp()
        self.root = Path(self.mktemp())
        self.store = self.open_store()
        self.publisher: Publisher | None = None

    def open_store(self) -> MailStore:
        settings = StoreSettings(self.root / "config", {"default": self.root / "spool"}, defaultpartition="default")
        store = open_store(settings, net)
        self.addCleanup(lambda: Deferred.fromCoroutine(store.close()))
        return store

    def publish(self, port: int | None = None) -> Publisher:
        settings = MasterSettings(
            MasterAddress("127.0.0.1", port or self.port), ClientCredentials("admin", password="secret")
        )

        async def dial(gone: Callable[[str], None]) -> MupdateClient:
            return await connect_to_master(net, settings, gone=gone)

        publisher = Publisher(
            dial,
            OWN,
            Here(lambda: map(self.location, self.store.directory.entries()), self.find),
            net,
            directory=self.root / "config",
            retry_delay=0.1,
        )
        self.addCleanup(publisher.close)
        publisher.start()
        self.store.publish_to(publisher)
        return publisher

    def location(self, entry: Entry) -> Location:
        mailbox = published(entry)
        return Location(internal(mailbox.name), OWN, mailbox.partition, mailbox.acl)

    def find(self, mailbox: str) -> Location | None:
        entry = self.store.directory.lookup(parse_internal(mailbox))
        return None if entry is None else self.location(entry)

    def known(self) -> dict[str, tuple[str, str, str]]:
        """What the master has."""
        return {each.mailbox: (each.where, each.acl, each.state.value) for each in self.locations.page("", "", 1000)}

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            waiting: Deferred[None] = Deferred()
            net.callLater(0.01, waiting.callback, None)
            await waiting


class PublisherTests(PublisherCase):
    async def test_life(self) -> None:
        """When a command is answered, the master knows what it did."""
        self.publish()
        await self.store.create(ADMIN, parse_internal("user.fred"))
        here = (f"{OWN}!default", ACL, "active")
        self.assertEqual(self.known(), {"user.fred": here})
        await self.store.create(FRED, parse_internal("user.fred.a.b"))
        self.assertEqual(list(self.known()), ["user.fred", "user.fred.a", "user.fred.a.b"])
        await self.store.rename(FRED, parse_internal("user.fred.a"), parse_internal("user.fred.c"))
        self.assertEqual(list(self.known()), ["user.fred", "user.fred.c", "user.fred.c.b"])
        await self.store.set_acl(ADMIN, parse_internal("user.fred.c"), Acl((("bob", frozenset("lr")),)))
        self.assertIn("bob\tlr\t", self.known()["user.fred.c"][1])
        await self.store.delete(FRED, parse_internal("user.fred.c.b"))
        self.assertEqual(
            [name for name in self.known() if not name.startswith("DELETED.")], ["user.fred", "user.fred.c"]
        )
        self.assertEqual(len(self.known()), 3)

    async def test_a_name_that_another_server_has(self) -> None:
        other = Location("user.fred", "b2", "default", ACL)
        await self.locations.activate(other)
        self.publish()
        with self.assertRaises(MailboxExists):
            await self.store.create(ADMIN, parse_internal("user.fred"))
        self.assertIsNone(self.store.directory.lookup(parse_internal("user.fred")))
        self.assertEqual(self.locations.find("user.fred"), other)

    async def test_what_could_not_be_made_is_free_again(self) -> None:
        self.publish()
        with self.assertRaises(MailboxNotFound):
            await self.store.rename(ADMIN, parse_internal("user.nobody"), parse_internal("user.new"))
        self.assertEqual(self.known(), {})

    async def test_who_may_not_rename_learns_nothing(self) -> None:
        """What another server has is no answer for those who could not have made it."""
        await self.locations.activate(Location("user.jane.a", "b2", "default", "jane\tl\t"))
        self.publish()
        await self.store.create(ADMIN, parse_internal("user.fred"))
        await self.store.create(FRED, parse_internal("user.fred.a"))
        before = self.known()
        for name in ("user.jane.a", "user.jane.b"):
            with self.assertRaises(PermissionDenied):
                await self.store.rename(FRED, parse_internal("user.fred.a"), parse_internal(name))
        self.assertEqual(self.known(), before)

    async def test_without_the_master(self) -> None:
        """Nothing new is made; all else is, and the master learns of it when it is there again."""
        self.publish()
        await self.store.create(ADMIN, parse_internal("user.fred"))
        await self.store.create(ADMIN, parse_internal("user.fred.a"))
        self.publish(port=1)
        self.patch_wait()
        with self.assertRaises(StoreUnavailable):
            await self.store.create(ADMIN, parse_internal("user.jane"))
        await self.store.delete(ADMIN, parse_internal("user.fred.a"))
        self.assertIn("user.fred.a", self.known())
        self.publish()
        await self.until(lambda: "user.fred.a" not in self.known())
        self.assertIn("user.fred", self.known())

    def patch_wait(self) -> None:
        from pycyrus.murder.directory import publisher

        self.patch(publisher, "_FIRST_WAIT", 0.05)

    async def test_both_lists_are_compared(self) -> None:
        """What the master does not know of us, or knows wrongly, it is told; what others have is theirs."""
        for mailbox in ("user.fred", "user.jane", "user.eve"):
            await self.store.create(ADMIN, parse_internal(mailbox))
        conflict = Location("user.jane", "b2", "default", "x\tl\t")
        reserved = Location("user.half", OWN, "default", "", LocationState.RESERVED)
        await self.locations.follow(
            [
                Location("user.gone", OWN, "default", "x\tl\t"),
                Location("user.eve", OWN, "other", "x\tl\t"),
                conflict,
                reserved,
            ]
        )
        self.publish()
        await self.until(lambda: set(self.known()) == {"user.fred", "user.eve", "user.jane"})
        await self.until(lambda: self.known()["user.eve"][0] == f"{OWN}!default")
        self.assertEqual(self.known()["user.fred"], (f"{OWN}!default", ACL, "active"))
        self.assertEqual(self.locations.find("user.jane"), conflict)
        self.assertIsNotNone(self.store.directory.lookup(parse_internal("user.jane")))
