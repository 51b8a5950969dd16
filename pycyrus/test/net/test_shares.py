"""Workers that wait at one socket have about as many connections each."""

from __future__ import annotations

import socket

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase, TestCase

from pycyrus.net.shares import WORKERS, Share, WorkerShares
from pycyrus.net.transport import LeanPort, bind_tcp


class ShareTests(SynchronousTestCase):
    def workers(self, count: int) -> tuple[WorkerShares, list[Share]]:
        shares = WorkerShares()
        made = []
        for pid in range(count):
            row = shares.claim()
            shares.assign(row, pid)
            share = shares.share(row, 3)
            assert share is not None
            made.append(share)
        return shares, made

    def test_ahead(self) -> None:
        """A worker alone never is; one that has just one more is not, either."""
        _, (alone,) = self.workers(1)
        _, (one, other) = self.workers(2)
        for _ in range(9):
            alone.opened()
            one.opened()
        self.assertFalse(alone.is_ahead())
        self.assertTrue(one.is_ahead())
        for _ in range(8):
            other.opened()
        self.assertFalse(one.is_ahead())
        for _ in range(8):
            one.closed()
        self.assertFalse(one.is_ahead())
        self.assertTrue(other.is_ahead())

    def test_dead_workers_do_not_count(self) -> None:
        """Nor does what they left, for the one that has their row next."""
        shares, (one, other) = self.workers(2)
        for _ in range(5):
            one.opened()
            other.opened()
        shares.ended(1)
        self.assertFalse(one.is_ahead())
        row = shares.claim()
        shares.assign(row, 2)
        self.assertFalse(one.is_ahead())
        self.assertIsNotNone(shares.share(row, 3))
        self.assertTrue(one.is_ahead())

    def test_many(self) -> None:
        """Beyond the room that there is, nothing is counted."""
        shares, _ = self.workers(WORKERS)
        self.assertEqual(shares.claim(), -1)
        self.assertIsNone(shares.share(-1, 0))
        self.assertIsNone(shares.share(0, 1000))


class PortTests(TestCase):
    async def test_who_is_ahead_holds_back(self) -> None:
        """The other one accepts; when it does not, the connection is served all the same."""
        from twisted.internet import reactor

        shares = WorkerShares()
        for pid in range(2):
            shares.assign(shares.claim(), pid)
        share, other = shares.share(0, 0), shares.share(1, 0)
        assert share is not None
        assert other is not None
        for _ in range(4):
            share.opened()
        connected: list[Deferred[None]] = [Deferred(), Deferred()]
        lost: Deferred[None] = Deferred()

        class Served(Protocol):
            def connectionMade(self) -> None:
                connected[len(seen)].callback(None)
                seen.append(self)

            def connectionLost(self, reason: object = None) -> None:
                if not lost.called:
                    lost.callback(None)

        seen: list[Served] = []
        port = LeanPort(reactor, bind_tcp("127.0.0.1", 0), Factory.forProtocol(Served))
        port.share = share
        port.startListening()
        self.addCleanup(port.stopListening)
        with socket.create_connection(("127.0.0.1", port.getHost().port)):
            await connected[0]
            for _ in range(5):
                other.opened()
            with socket.create_connection(("127.0.0.1", port.getHost().port)):
                await connected[1]
                self.assertFalse(share.is_ahead())
                for _ in range(4):
                    share.closed()
        await lost
