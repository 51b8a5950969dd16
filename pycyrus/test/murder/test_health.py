"""Which backends answer."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.errors import StoreUnavailable
from pycyrus.murder.servers.health import LOOK_EVERY, Health
from pycyrus.murder.servers.imap_link import ImapLink
from pycyrus.test.murder.test_links import Transport

PATIENCE = 15.0


class HealthTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.looks: list[Any] = []
        self.greeting = b""
        self.is_refused = False
        self.health = Health(self._connect, self.clock, PATIENCE)
        self.addCleanup(self.health.close)

    async def _connect(self, server: str, service: str, protocol: Protocol) -> None:
        if self.is_refused:
            raise StoreUnavailable("refused")
        self.looks.append(protocol)
        protocol.makeConnection(Transport())
        if self.greeting:
            protocol.dataReceived(self.greeting)

    def _waiting(self) -> tuple[ImapLink, list[Any]]:
        """Somebody who waits for an answer, and what comes of it."""
        link = ImapLink("backend", self.clock)
        link.makeConnection(Transport())
        self.health.watch(link, "imap")
        found: list[Any] = []
        _ = Deferred.fromCoroutine(link.ask(b"SEARCH ALL", 300)).addBoth(found.append)
        return link, found

    def test_one_that_thinks(self) -> None:
        """While it greets others it may take its time, up to a limit."""
        self.greeting = b"* OK hi\r\n"
        link, found = self._waiting()
        self.clock.advance(PATIENCE)
        self.assertEqual((len(self.looks), found), (1, []))
        self.clock.advance(100)
        link.dataReceived(b"PROXY1 OK done\r\n")
        self.assertEqual(found, [(b"", b"OK", b"done")])
        self.health.check("backend", "imap")

    def test_one_that_hangs(self) -> None:
        """Whoever waits for it is told, by one look for all; and the next need not wait."""
        waiting = [self._waiting() for _ in range(3)]
        self.clock.advance(PATIENCE)
        self.assertEqual(len(self.looks), 1)
        self.clock.advance(PATIENCE)
        self.looks[0].connectionLost(Failure(ConnectionError("gone")))
        for link, found in waiting:
            link.connectionLost(Failure(ConnectionError("gone")))
            self.assertIsInstance(found[0].value, StoreUnavailable)
        self.assertRaises(StoreUnavailable, self.health.check, "backend", "imap")
        # Its other services may be well.
        self.health.check("backend", "lmtp")

    def test_one_that_comes_back(self) -> None:
        """It is looked at as long as somebody wants it, and used again at once."""
        self.is_refused = True
        self.health.note_down("backend", "imap", "refused")
        for _ in range(3):
            self.assertRaises(StoreUnavailable, self.health.check, "backend", "imap")
            self.clock.advance(LOOK_EVERY)
        self.is_refused, self.greeting = False, b"* OK hi\r\n"
        self.assertRaises(StoreUnavailable, self.health.check, "backend", "imap")
        self.clock.advance(LOOK_EVERY)
        self.health.check("backend", "imap")

    def test_one_that_nobody_wants(self) -> None:
        """It is not looked at for ever."""
        self.is_refused = True
        self.health.note_down("backend", "imap", "refused")
        self.clock.advance(LOOK_EVERY)
        self.clock.advance(LOOK_EVERY)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.health.check("backend", "imap")

    def test_the_end(self) -> None:
        """A server that ends waits for no answer."""
        self.health.note_down("backend", "imap", "refused")
        self.assertRaises(StoreUnavailable, self.health.check, "backend", "imap")
        self.clock.advance(LOOK_EVERY)
        [look] = self.looks
        self.health.close()
        self.assertTrue(look.transport.disconnecting or look.transport.disconnected)
        self.assertEqual(self.clock.getDelayedCalls(), [])
