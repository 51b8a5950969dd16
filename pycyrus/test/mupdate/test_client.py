"""What a server may say to the client, whatever it is."""

from __future__ import annotations

import zlib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.auth.client import ClientCredentials, choose
from pycyrus.errors import MailStoreError, StoreUnavailable
from pycyrus.interfaces import Location
from pycyrus.mupdate import client as module
from pycyrus.mupdate.client import MupdateClient, Told
from pycyrus.wire.words import MAX_LINE

BANNER = b'* AUTH "PLAIN"\r\n* COMPRESS "DEFLATE"\r\n* OK MUPDATE "m" "Cyrus IMAP" "3.6" "(master)"\r\n'
LINES = [
    b"* BYE {3+}\r\nend\r\n",
    b"* OK MUPDATE\r\n",
    b"U01 MAILBOX {1+}\r\na {3+}\r\nb!c {0+}\r\n\r\n",
    b"U01 MAILBOX {1+}\r\na\r\n",
    b"U01 DELETE {1+}\r\na\r\n",
    b'U01 OK "x"\r\n',
    b'U01 NO "x"\r\n',
    b'X1 RESERVE "a" "b!c!d"\r\n',
    b"X1 OK\r\n",
    b'X1 BAD "x"\r\n',
    b"X1 {99999999999+}\r\n",
    b"\r\n",
    b" \r\n",
]


class ClientTests(SynchronousTestCase):
    def client(self, said: bytes = BANNER, **arguments: Any) -> MupdateClient:
        self.clock = Clock()
        self.told: list[Told] = []
        client = MupdateClient(self.clock, self.told.extend, **arguments)
        self.transport = StringTransport()
        client.makeConnection(self.transport)
        client.dataReceived(said)
        return client

    def is_cut(self) -> bool:
        return bool(self.transport.disconnected or self.transport.disconnecting)

    @settings(max_examples=150, deadline=None, database=None)
    @given(st.lists(st.one_of(st.sampled_from(LINES), st.binary(max_size=40)), max_size=12), st.integers(1, 30))
    def test_anything(self, lines: list[bytes], size: int) -> None:
        """It waits, understands or hangs up, and whoever waits hears of it; nothing is raised."""
        client = self.client()
        waiting = [Deferred.fromCoroutine(each) for each in (client.update(), client.find("a"))]
        said = b"".join(lines)
        for at in range(0, len(said), size):
            if not self.is_cut():
                client.dataReceived(said[at : at + size])
        client.connectionLost(Failure(ConnectionError("gone")))
        for each in waiting:
            self.assertTrue(each.called)
            _ = each.addErrback(lambda failure: failure.trap(MailStoreError))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_line_that_does_not_end(self) -> None:
        client = self.client()
        client.dataReceived(b"x" * (MAX_LINE + 2))
        self.assertTrue(self.is_cut())
        self.assertIsNotNone(client.lost_reason)

    def test_more_entries_than_allowed(self) -> None:
        client = self.client(most=3)
        waiting = Deferred.fromCoroutine(client.list_begun(""))
        client.dataReceived(b'X1 MAILBOX "a" "b!c" ""\r\n' * 4)
        self.assertTrue(self.is_cut())
        client.connectionLost(Failure(ConnectionError("gone")))
        self.failureResultOf(waiting, StoreUnavailable)
        client = self.client(most=3)
        updating = Deferred.fromCoroutine(client.update())
        client.dataReceived(b'U01 MAILBOX "a" "b!c" ""\r\n' * 4)
        self.assertTrue(self.is_cut() and client.is_endless)
        client.connectionLost(Failure(ConnectionError("gone")))
        self.failureResultOf(updating, StoreUnavailable)

    def test_no_answer(self) -> None:
        """A server that hangs is left, and one that is busy telling is not."""
        client = self.client()
        waiting = Deferred.fromCoroutine(client.update())
        self.clock.advance(module.ANSWER_WITHIN - 1)
        client.dataReceived(b'U01 MAILBOX "a" "b!c" ""\r\n')
        self.clock.advance(module.ANSWER_WITHIN - 1)
        self.assertFalse(self.is_cut())
        self.assertEqual(self.told, [Location("a", "b", "c")])
        self.clock.advance(2)
        self.assertTrue(self.is_cut())
        client.connectionLost(Failure(ConnectionError("gone")))
        self.failureResultOf(waiting, StoreUnavailable)

    def test_held(self) -> None:
        """It is not for the server that its answers are not read."""
        client = self.client(answer_within=5.0)
        waiting = Deferred.fromCoroutine(client.noop())
        client.pause()
        self.clock.advance(20)
        self.assertFalse(self.is_cut())
        client.resume()
        self.clock.advance(4)
        client.dataReceived(b'N1 OK "x"\r\n')
        self.successResultOf(waiting)
        self.clock.advance(20)
        self.assertFalse(self.is_cut())

    def test_everything_takes_its_time(self) -> None:
        """A server that tells and tells is given up after an hour."""
        client = self.client()
        waiting = Deferred.fromCoroutine(client.update())
        for _ in range(int(module.ALL_WITHIN // 30) - 1):
            self.clock.advance(30)
            client.dataReceived(b'U01 MAILBOX "a" "b!c" ""\r\n')
        self.assertFalse(self.is_cut())
        self.clock.advance(30)
        self.assertTrue(self.is_cut())
        self.assertTrue(client.is_endless)
        client.connectionLost(Failure(ConnectionError("gone")))
        self.failureResultOf(waiting, StoreUnavailable)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_everything_is_told_in_the_end(self) -> None:
        """There is no end to changes, however many, once everything was told."""
        client = self.client(most=3)
        waiting = Deferred.fromCoroutine(client.update())
        client.dataReceived(b'U01 MAILBOX "a" "b!c" ""\r\n' * 3 + b'U01 OK "x"\r\n')
        self.successResultOf(waiting)
        client.dataReceived(b'U01 MAILBOX "a" "b!c" ""\r\n' * 9)
        self.clock.advance(module.ALL_WITHIN)
        self.assertFalse(self.is_cut())
        self.assertEqual(len(self.told), 12)

    def test_a_command_waits(self) -> None:
        """Where somebody waits for it, the server has less time."""
        client = self.client(answer_within=5.0)
        waiting = Deferred.fromCoroutine(client.find("a"))
        self.clock.advance(6)
        self.assertTrue(self.is_cut())
        client.connectionLost(Failure(ConnectionError("gone")))
        self.failureResultOf(waiting, StoreUnavailable)

    def test_challenges_without_end(self) -> None:
        client = self.client()
        exchange = choose(["PLAIN"], ClientCredentials("a", password="b"), tls=False, allow_plaintext=True)
        waiting = Deferred.fromCoroutine(client.authenticate(exchange))
        while not waiting.called:
            client.dataReceived(b"Zm9v\r\n")
        self.failureResultOf(waiting, MailStoreError)

    def test_compressed_octets_that_are_none(self) -> None:
        client = self.client()
        waiting = Deferred.fromCoroutine(client.compress())
        client.dataReceived(b"Z01 OK DEFLATE active\r\n")
        self.successResultOf(waiting)
        client.dataReceived(b"\xff" * 50)
        self.assertTrue(self.is_cut())

    def test_compressed(self) -> None:
        client = self.client()
        waiting = Deferred.fromCoroutine(client.compress())
        packer = zlib.compressobj(wbits=-15)
        client.dataReceived(b"Z01 OK DEFLATE active\r\n")
        self.successResultOf(waiting)
        waiting_update = Deferred.fromCoroutine(client.update())
        many = b'U01 MAILBOX "a" "b!c" ""\r\n' * 5000 + b'U01 OK "x"\r\n'
        client.dataReceived(packer.compress(many) + packer.flush(zlib.Z_SYNC_FLUSH))
        # Others have their turn meanwhile.
        self.assertNoResult(waiting_update)
        self.assertLessEqual(len(self.told), 100)
        self.clock.pump([0] * 200)
        self.successResultOf(waiting_update)
        self.assertEqual(len(self.told), 5000)
