"""A copy of a master's directory."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.auth.client import ClientCredentials
from pycyrus.errors import StoreUnavailable
from pycyrus.interfaces import Location, LocationState
from pycyrus.model.internal_names import parse_internal
from pycyrus.mupdate.client import MupdateClient, Told
from pycyrus.murder.directory.kick import kick
from pycyrus.murder.directory.lookup import MurderDirectory
from pycyrus.murder.directory.master_link import MasterAddress, MasterSettings, connect_to_master
from pycyrus.murder.directory.slave import Slave
from pycyrus.store.locations import Locations
from pycyrus.test.mupdate.test_master import FRED, MasterCase

JANE = Location("user.jane", "b2", "default", "jane\tl\t")
net: Any = reactor


class SlaveCase(MasterCase):
    def setUp(self) -> None:
        super().setUp()
        # Its socket must have a short name.
        self.copies = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.copies)

    def slave(self, port: int | None = None, password: str = "secret") -> tuple[Slave, Locations]:
        copy = Locations(self.copies, net, is_copy=True)
        self.addCleanup(lambda: Deferred.fromCoroutine(copy.close()))
        settings = MasterSettings(
            MasterAddress("127.0.0.1", port or self.port), ClientCredentials("admin", password=password)
        )

        async def dial(told: Callable[[Sequence[Told]], None], gone: Callable[[str], None]) -> MupdateClient:
            return await connect_to_master(net, settings, told, gone)

        slave = Slave(copy, self.copies, dial, net, retry_delay=0.2)
        self.addCleanup(lambda: Deferred.fromCoroutine(slave.close()))
        slave.start()
        return slave, copy

    async def until(self, copy: Locations, condition: Callable[[], bool]) -> None:
        """Wait for changes of a copy."""
        done: Deferred[None] = Deferred()
        stop = copy.listen(lambda: done.callback(None) if condition() and not done.called else None)
        if not condition():
            await done
        stop()


class SlaveTests(SlaveCase):
    async def test_follows(self) -> None:
        """It takes over what there is, drops what there is no more, and hears of changes at once."""
        await self.locations.follow([FRED])
        stale = Locations(self.copies, net, is_copy=True)
        await stale.follow([JANE])
        await stale.close()
        slave, copy = self.slave()
        await self.until(copy, lambda: copy.find("user.fred") == FRED and copy.find("user.jane") is None)
        await self.locations.activate(JANE)
        await self.until(copy, lambda: copy.find("user.jane") == JANE)
        while not slave.is_connected:
            # It goes through what it has for others that are gone.
            await self.turn()
        await self.locations.delete("user.fred")
        await slave.catch_up()
        self.assertIsNone(copy.find("user.fred"))

    async def test_a_copy_that_lost_its_end(self) -> None:
        """The copy waits for no disk: what a power cut takes from it comes again from the master."""
        _, copy = self.slave()
        for location in (FRED, JANE):
            await self.locations.activate(location)
            await self.until(copy, lambda: copy.find(location.mailbox) is not None)  # noqa: B023 # awaited here
        size = (self.copies / "mupdate.db-wal").stat().st_size
        for kept in (size // 2, 100):
            after = Path(tempfile.mkdtemp())
            self.addCleanup(shutil.rmtree, after)
            for name in ("mupdate.db", "mupdate.db-wal"):
                shutil.copy(self.copies / name, after / name)
            os.truncate(after / "mupdate.db-wal", kept)
            found = Locations(after, net, is_copy=True)
            self.assertTrue(kept > 100 or found.find("user.jane") is None)
            await found.close()
            self.copies = after
            _, healed = self.slave()
            await self.until(healed, lambda: healed.find("user.jane") == JANE)  # noqa: B023 # awaited here
            self.assertEqual(healed.find("user.fred"), FRED)

    async def test_a_kick(self) -> None:
        """Whoever misses a mailbox finds it, in this process or another."""
        slave, copy = self.slave()
        await self.locations.activate(FRED)
        await self.until(copy, lambda: slave.is_connected or copy.find("user.fred") is not None)
        while not slave.is_connected:
            await self.turn()
        await self.locations.activate(JANE)
        await kick(net, self.copies)
        self.assertEqual(copy.find("user.jane"), JANE)
        other, _ = self.slave()
        directory = MurderDirectory(copy, "b2", other.catch_up, "DELETED")
        eve = Location("user.eve", "b3", "default", "eve\tl\t")
        await self.locations.activate(eve)
        self.assertEqual(await directory.locate(parse_internal("user.eve")), eve)
        here = await directory.locate(parse_internal("user.jane"))
        self.assertEqual(here and here.server, "")
        self.assertIsNone(await directory.locate(parse_internal("user.nobody")))
        half = Location("user.half", "b3", "default", "", LocationState.RESERVED)
        await self.locations.reserve(half)
        self.assertEqual(await directory.locate(parse_internal("user.half")), half)
        whole = Location("user.half", "b3", "default", "half\tl\t")
        await self.locations.activate(whole)
        self.assertEqual(await directory.locate(parse_internal("user.half")), whole)

    async def turn(self) -> None:
        waiting: Deferred[None] = Deferred()
        net.callLater(0.01, waiting.callback, None)
        await waiting

    async def test_without_a_master(self) -> None:
        """The copy serves; who asks is told that nobody answers."""
        stale = Locations(self.copies, net, is_copy=True)
        await stale.follow([FRED])
        await stale.close()
        slave, copy = self.slave(password="wrong")
        with self.assertRaises(StoreUnavailable):
            await slave.catch_up()
        directory = MurderDirectory(copy, "", slave.catch_up, "DELETED")
        self.assertEqual(await directory.locate(parse_internal("user.fred")), FRED)
        self.assertIsNone(await directory.locate(parse_internal("user.jane")))
        # A sender of mail would take that for the truth.
        self.assertEqual(await directory.locate(parse_internal("user.fred"), surely=True), FRED)
        with self.assertRaises(StoreUnavailable):
            await directory.locate(parse_internal("user.jane"), surely=True)

    async def test_cut_off_in_the_middle(self) -> None:
        """What the master has not come to yet is not taken for gone; the next connection makes it whole."""
        many = [Location(f"user.u{number:04d}", "b1", "default", "x\tl\t") for number in range(2000)]
        await self.locations.follow(many)
        copy = Locations(self.copies, net, is_copy=True)
        self.addCleanup(lambda: Deferred.fromCoroutine(copy.close()))
        await copy.follow([JANE, Location("user.zoe", "b1", "default", "x\tl\t")])
        settings = MasterSettings(MasterAddress("127.0.0.1", self.port), ClientCredentials("admin", password="secret"))
        kept: list[bool] = []

        async def dial(told: Callable[[Sequence[Told]], None], gone: Callable[[str], None]) -> MupdateClient:
            if len(kept) >= 3:
                return await connect_to_master(net, settings, told, gone)

            def cut(changes: Sequence[Told]) -> None:
                told(changes)
                if client.lost_reason is None:
                    kept.append(copy.find("user.zoe") is not None and copy.find("user.jane") is not None)
                    client.transport.abortConnection()  # type: ignore[union-attr] # a TCP transport's

            client = await connect_to_master(net, settings, cut, gone)
            return client

        slave = Slave(copy, self.copies, dial, net, retry_delay=0.05)
        self.addCleanup(lambda: Deferred.fromCoroutine(slave.close()))
        slave.start()
        while not slave.is_connected:
            await self.turn()
        self.assertEqual(set(kept), {True})
        self.assertEqual(copy.page("", "", 3000), many)

    async def test_another_takes_over(self) -> None:
        first, copy = self.slave()
        second, _ = self.slave()
        while not first.is_connected:
            await self.turn()
        self.assertFalse(second.is_connected)
        await first.close()
        while not second.is_connected:
            await self.turn()
        await self.locations.activate(FRED)
        await second.catch_up()
        self.assertEqual(copy.find("user.fred"), FRED)


class AddressTests(SynchronousTestCase):
    def test_forms(self) -> None:
        parse = MasterAddress.parse
        self.assertEqual(parse("host"), MasterAddress("host", 3905))
        self.assertEqual(parse("host:4000/tls", 1), MasterAddress("host", 4000, True))
        self.assertEqual(parse("host/noauth/tls", 7), MasterAddress("host", 7, True, True))
        self.assertEqual(parse("[::1]:9"), MasterAddress("::1", 9))
        self.assertEqual(parse("[::1]"), MasterAddress("::1", 3905))
        for text in ("", "host:x", "host:99999", "host/ssl"):
            self.assertRaises(ValueError, parse, text)
