"""What a server has, and what the master has of it, while both change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from typing_extensions import override

from pycyrus.errors import StoreUnavailable
from pycyrus.interfaces import Location, LocationState
from pycyrus.mupdate.client import MupdateClient
from pycyrus.murder.directory.comparison import Compared, Here, Order, compare, settle
from pycyrus.test.mupdate.test_master import MasterCase

OWN = "b1"


def here(mailbox: str, acl: str = "fred\tlr\t", partition: str = "default") -> Location:
    return Location(mailbox, OWN, partition, acl)


class ComparisonTests(MasterCase):
    @override
    def setUp(self) -> None:
        super().setUp()
        self.mine: dict[str, Location] = {}
        self.told: list[tuple[str, str]] = []

    async def compare(self, client: MupdateClient, **order: Any) -> Compared:
        wanted = Order(lambda what, mailbox: self.told.append((what, mailbox)), **order)
        mailboxes = Here(lambda: list(self.mine.values()), self.mine.get)
        return await compare(client, OWN, mailboxes, reactor, wanted)

    def known(self) -> dict[str, Location]:
        return {each.mailbox: each for each in self.locations.page("", "", 10_000)}

    def has(self, *mailboxes: Location) -> None:
        self.mine.update({each.mailbox: each for each in mailboxes})

    async def test_many(self) -> None:
        self.has(*(here(f"user.u{number}") for number in range(500)))
        done = await self.compare(await self.connect())
        self.assertEqual((done.changed, done.conflicts), (500, 0))
        self.assertEqual(self.known(), self.mine)
        self.assertEqual((await self.compare(await self.connect())).changed, 0)

    async def test_one_that_was_handed_over(self) -> None:
        """A move of which only the end is missing here is no conflict, and is left to those who end it."""
        there = Location("user.jane", "b2", "default", "jane\tl\t")
        await self.locations.follow([there])
        self.has(Location("user.jane", OWN, "default", "jane\tl\t", LocationState.RESERVED))
        done = await self.compare(await self.connect())
        self.assertEqual((done.changed, done.conflicts, self.told), (0, 0, []))
        self.assertEqual(self.known(), {"user.jane": there})

    async def test_in_words(self) -> None:
        """As Cyrus's C{ctl_mboxlist -m -w} says it; nothing is changed."""
        self.has(here("user.new"), here("user.same"), here("user.other", partition="p2"), here("user.jane"))
        before = [
            here("user.same"),
            here("user.other"),
            here("user.gone"),
            Location("user.half", OWN, "default", "", LocationState.RESERVED),
            Location("user.jane", "b2", "default", "jane\tl\t"),
            Location("user.eve", "b2", "default", "eve\tl\t"),
        ]
        await self.locations.follow(before)
        client = await self.connect()
        await self.compare(client, dry_run=True)
        expected = {
            ("Force Activate", "user.new"),
            ("Force Activate", "user.other"),
            ("Conflict", "user.jane"),
            ("Remove from MUPDATE", "user.gone"),
            ("Remove from MUPDATE", "user.half"),
        }
        self.assertEqual(set(self.told), expected)
        self.assertEqual(self.known(), {each.mailbox: each for each in before})
        done = await self.compare(client)
        self.assertEqual((done.changed, done.conflicts), (4, 1))
        self.assertEqual(self.known()["user.jane"].server, "b2")
        await self.compare(client, is_right=True)
        self.assertEqual(self.known(), {**self.mine, "user.eve": before[-1]})

    async def test_what_changes_meanwhile(self) -> None:
        """A mailbox that is removed, or changed, while the master is told of it."""
        client = await self.connect()
        for after in (None, here("user.fred", "fred\tlrs\t")):
            self.has(here("user.fred"))
            self.change_when_told(client, after)
            await settle(client, OWN, "user.fred", self.mine.get)
            self.assertEqual(self.known().get("user.fred"), after)

    def change_when_told(self, client: MupdateClient, after: Location | None) -> None:
        activate: Callable[[Location], Any] = MupdateClient.activate.__get__(client)

        async def slow(location: Location) -> None:
            self.patch(client, "activate", activate)
            # Another process changes it, and tells the master, which hears that first.
            self.mine.clear()
            if after is not None:
                self.has(after)
                await activate(after)
            await activate(location)

        self.patch(client, "activate", slow)

    async def test_made_meanwhile(self) -> None:
        """What was reserved as the comparison began, and is there as it ends, is not removed."""
        await self.locations.reserve(here("user.fred"))
        client = await self.connect()

        def find(mailbox: str) -> Location:
            return here(mailbox)

        await compare(client, OWN, Here(list, find), reactor)
        self.assertEqual(self.known()["user.fred"].state, LocationState.RESERVED)

    async def test_the_master_goes_away(self) -> None:
        """It ends with one error, whatever was on its way."""
        self.has(*(here(f"user.u{number}") for number in range(200)))
        client = await self.connect()
        waiting = Deferred.fromCoroutine(self.compare(client))
        assert client.transport is not None
        client.transport.abortConnection()  # type: ignore[attr-defined] # a TCP transport's
        with self.assertRaises(StoreUnavailable):
            await waiting
