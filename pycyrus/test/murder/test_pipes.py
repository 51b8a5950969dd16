"""Sessions that are pipes to a backend, which does not answer."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.errors import StoreUnavailable
from pycyrus.murder.servers.health import Health
from pycyrus.murder.servers.pop3_link import Pop3Link
from pycyrus.test.murder.test_links import Transport
from pycyrus.test.murder.test_pop3 import Pop3Case

PATIENCE = 15.0
GONE = Failure(ConnectionError("gone"))


class SilenceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.looks: list[Any] = []
        self.greeting = b""
        self.heard = b""
        self.owed: list[bool] = []
        self.health = Health(self._connect, self.clock, PATIENCE)
        self.addCleanup(self.health.close)
        self.link = Pop3Link("backend", self.clock)
        self.link.makeConnection(Transport())
        self.health.watch(self.link, "pop3")
        session: Any = self
        self.link.join(session)

    async def _connect(self, server: str, service: str, protocol: Protocol) -> None:
        self.looks.append(protocol)
        protocol.makeConnection(Transport())
        if self.greeting:
            protocol.dataReceived(self.greeting)

    # What a session does for a pipe.

    def take_piped(self, data: bytes) -> None:
        self.heard += data

    def pipe_ended(self, *, owes: bool = False) -> None:
        self.owed.append(owes)

    def go_on_piping(self) -> None:
        """Nothing was held."""

    def test_one_that_thinks(self) -> None:
        """While it greets others it may take its time; who is idle waits for nothing."""
        self.greeting = b"+OK hi\r\n"
        self.clock.advance(10 * PATIENCE)
        self.assertEqual(self.looks, [])
        self.link.pass_on(b"RETR 1\r\n")
        for _ in range(3):
            self.clock.advance(PATIENCE)
        self.assertEqual(len(self.looks), 3)
        self.link.dataReceived(b"+OK 10 octets\r\n")
        self.clock.advance(10 * PATIENCE)
        self.assertEqual((len(self.looks), self.owed, self.heard), (3, [], b"+OK 10 octets\r\n"))
        self.link.close()
        self.health.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_that_hangs(self) -> None:
        """The client is told, and the next need not wait."""
        self.link.pass_on(b"STAT\r\n")
        self.clock.advance(PATIENCE)
        self.clock.advance(PATIENCE)
        self.looks[0].connectionLost(GONE)
        self.assertEqual(self.link.lost_reason, "it answers nobody")
        self.link.connectionLost(GONE)
        self.assertEqual(self.owed, [True])
        self.assertRaises(StoreUnavailable, self.health.check, "backend", "pop3")

    def test_in_the_middle(self) -> None:
        """Nothing is said within an answer that broke off, nor to who waits for none."""
        self.link.pass_on(b"RETR 1\r\n")
        self.link.dataReceived(b"+OK\r\nhalf a li")
        self.link.pass_on(b"NOOP\r\n")
        self.link.connectionLost(GONE)
        self.assertEqual(self.owed, [False])


class ToldTests(Pop3Case):
    async def test_pop3(self) -> None:
        """Who waits for an answer when the backend is given up is told so."""
        await self.client()
        client = await self._connect()
        client.send(b"USER alice\r\nPASS secret\r\nSTAT\r\n")
        for _ in range(3):
            self.assertIn(b"+OK", await client.line())
        # It waits for the end of the line.
        client.send(b"NOO")
        (session,) = self.pop3_factories[""].sessions
        pipe: Any = session._pipe
        while pipe._asked is None:
            await self.turn()
        pipe.abort("it answers nobody")
        self.assertIn(b"-ERR [SYS/TEMP]", await client.line())
        with self.assertRaises(StoreUnavailable):
            await client.line()
