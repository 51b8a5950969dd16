"""The PostgreSQL server dies under load, and its standby takes its place."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from pycyrus.auth.client import ClientCredentials, choose
from pycyrus.errors import MailStoreError
from pycyrus.interfaces import Location
from pycyrus.mupdate.client import MupdateClient
from pycyrus.mupdate.protocol import MupdateFactory
from pycyrus.mupdate.settings import MupdateSettings
from pycyrus.murder.directory.slave import Slave
from pycyrus.murder.shared.locations import SharedLocations
from pycyrus.store.locations import Locations
from pycyrus.store.threads import sleep
from pycyrus.tasks import gather
from pycyrus.test.murder.shared.parts import access_to, all_entries, new_directory
from pycyrus.testing.imap import FixedAuthenticator
from pycyrus.testing.postgresql import Postgresql

WRITERS = 6


class FailoverTests(TestCase):
    """Two masters, each with a copy that follows it."""

    timeout = 120

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.primary = self.server()
        self.primary.start("synchronous_standby_names=*")
        self.standby = self.server(of=self.primary)
        self.standby.start()
        # In another order than they are found, so that one begins at a server that takes no changes.
        self.orders = ((self.primary.port, self.standby.port), (self.standby.port, self.primary.port))
        self.acknowledged: dict[str, Location] = {}
        self.refused = 0
        self.enough = False

    def directory(self) -> Path:
        directory = new_directory()
        self.addCleanup(shutil.rmtree, directory)
        return directory

    def server(self, of: Postgresql | None = None) -> Postgresql:
        server = Postgresql(self.directory(), of=of)
        self.addCleanup(server.stop)
        return server

    async def master(self, ports: tuple[int, ...]) -> tuple[SharedLocations, int]:
        """@return: Its directory, and its port."""
        directory = self.directory()
        locations = SharedLocations(
            Locations(directory, self.reactor), directory, access_to(*ports), self.reactor, patience=20.0
        )
        locations.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(locations.close()))
        factory = MupdateFactory(
            locations, FixedAuthenticator(), MupdateSettings(), None, None, self.reactor, locations.catch_up
        )
        port = self.reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.addCleanup(factory.shut_down)
        await locations.catch_up()
        return locations, port.getHost().port

    async def client(self, port: int, *callbacks: Any) -> MupdateClient:
        client = MupdateClient(self.reactor, *callbacks)
        await connectProtocol(TCP4ClientEndpoint(self.reactor, "127.0.0.1", port), client)
        self.addCleanup(client.log_out)
        await client.greeted()
        credentials = ClientCredentials("admin", password="secret")
        await client.authenticate(choose(client.banner.mechanisms, credentials, tls=False, allow_plaintext=True))
        return client

    async def copy(self, port: int) -> tuple[Locations, Slave]:
        """A frontend's, of the master at this port."""
        directory = self.directory()
        copy = Locations(directory, self.reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(copy.close()))
        slave = Slave(copy, directory, lambda told, gone: self.client(port, told, gone), self.reactor, retry_delay=0.1)
        self.addCleanup(lambda: Deferred.fromCoroutine(slave.close()))
        slave.start()
        while not slave.is_connected:
            await sleep(self.reactor, 0.01)
        return copy, slave

    async def write(self, number: int, port: int) -> None:
        """Make mailboxes, move some and remove some, until it is enough."""
        client = await self.client(port)
        turn = 0
        while not self.enough:
            turn += 1
            name = f"user.u{number}.m{turn}"
            here, there = Location(name, f"b{number}", "default", "x\tlrs\t"), Location(name, "b9", "p", "y\tl\t")
            for location in (here, there):
                # What is refused for now is done again, as backends do.
                while not await self.told(client, location):
                    await sleep(self.reactor, 0.02)

    async def told(self, client: MupdateClient, location: Location) -> bool:
        try:
            await client.activate(location)
        except MailStoreError:
            self.refused += 1
            return False
        self.acknowledged[location.mailbox] = location
        return True

    async def until(self, count: int) -> None:
        while len(self.acknowledged) < count:
            await sleep(self.reactor, 0.01)

    async def test_nothing_acknowledged_is_lost(self) -> None:
        masters = [await self.master(ports) for ports in self.orders]
        copies = [await self.copy(port) for _, port in masters]
        writers = gather([self.write(number, masters[number % 2][1]) for number in range(WRITERS)])
        done = Deferred.fromCoroutine(writers)
        await self.until(100)
        await deferToThread(self.primary.stop)
        # Who is away harms nobody who reads.
        known = set(self.acknowledged)
        refused = self.refused
        while self.refused < refused + WRITERS:
            await sleep(self.reactor, 0.01)
        for locations, _ in masters:
            self.assertTrue(known & {each.mailbox for each in all_entries(locations)})
        await deferToThread(self.standby.promote)
        await self.until(len(self.acknowledged) + 100)
        self.enough = True
        for outcome in await done:
            self.assertIsNone(outcome)
        for (locations, _), (_, slave) in zip(masters, copies, strict=True):
            await locations.catch_up()
            await slave.catch_up()
        told = [list(copy.page("", "", 1_000_000)) for copy, _ in copies]
        self.assertEqual(told[0], told[1])
        found = {each.mailbox: each for each in told[0]}
        for name, location in self.acknowledged.items():
            self.assertEqual(found.get(name), location)
        self.assertEqual(all_entries(masters[0][0]), told[0])
