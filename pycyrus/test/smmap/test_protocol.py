"""A socket map over the real resolution of recipients."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pycyrus import errors
from pycyrus.delivery.settings import DeliverySettings
from pycyrus.delivery.verifier import RecipientVerifier
from pycyrus.interfaces import IRecipientVerifier, Recipient
from pycyrus.model.names import MailboxName
from pycyrus.net.limits import ConnectionLimits, LimitSettings
from pycyrus.smmap.protocol import MAX_WAITING, SmmapFactory, SmmapProtocol, SmmapSettings
from pycyrus.smmap.replies import reply_to_error
from pycyrus.smmap.wire import netstring
from pycyrus.test.delivery.doubles import MemoryStore


class SmmapTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = MemoryStore()
        self.store.add_user("fred")
        self.store.add(MailboxName("", "fred", ("Work",)), ("fred", "lrs"))
        self.store.add(MailboxName("", None, ("open",)), ("anyone", "lp"))
        self.store.add(MailboxName("", None, ("closed",)), ("anyone", "l"))
        self.clock = Clock()

    def connect(self, verifier: Any = None, limits: LimitSettings | None = None, **settings: Any) -> SmmapProtocol:
        verifier = verifier or RecipientVerifier(self.store.as_store(), DeliverySettings("mail.test", post_user="post"))
        factory = SmmapFactory(
            verifier, SmmapSettings(**settings), ConnectionLimits(limits or LimitSettings()), cast(Any, self.clock)
        )
        protocol = cast(SmmapProtocol, factory.buildProtocol(UNIXAddress(None)))
        protocol.makeConnection(StringTransport(hostAddress=UNIXAddress(None), peerAddress=UNIXAddress(None)))
        return protocol

    def ask(self, protocol: SmmapProtocol, *keys: bytes) -> bytes:
        transport = cast(StringTransport, protocol.transport)
        transport.clear()
        protocol.dataReceived(b"".join(netstring(b"map " + key) for key in keys))
        return bytes(transport.value())

    def test_answers(self) -> None:
        protocol = self.connect()
        for key, answer in {
            b"fred@mail.test": b"OK fred@mail.test",
            b"FRED": b"OK FRED",
            b"fred+Work@mail.test": b"OK fred+Work@mail.test",
            b"fred+Nothing@mail.test": b"NOTFOUND Mailbox does not exist",
            b"nobody@mail.test": b"NOTFOUND Mailbox does not exist",
            b"post+open@mail.test": b"OK post+open@mail.test",
            b"post+closed@mail.test": b"PERM Permission denied",
            b"@mail.test": b"NOTFOUND Mailbox does not exist",
        }.items():
            self.assertEqual(self.ask(protocol, key), netstring(answer), key)
        self.assertEqual(
            self.ask(protocol, b"fred", b"nobody"),
            netstring(b"OK fred") + netstring(b"NOTFOUND Mailbox does not exist"),
        )
        self.assertEqual(self.store.openings, 0)
        protocol.connectionLost()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_garbage_closes(self) -> None:
        for garbage, reason in {
            b"nonsense": b"missing length",
            netstring(b"nokey"): b"missing key",
            b"5:m bob;": b"missing terminator",
            b"9999:": b"too long",
        }.items():
            protocol = self.connect()
            protocol.dataReceived(garbage)
            transport = cast(StringTransport, protocol.transport)
            self.assertEqual(transport.value(), netstring(b"PERM Bad protocol (%b)" % reason))
            self.assertTrue(transport.disconnecting, garbage)

    def test_silence_closes(self) -> None:
        protocol = self.connect(idle_timeout=10)
        self.clock.advance(9)
        self.ask(protocol, b"fred")
        self.clock.advance(9)
        self.assertFalse(cast(StringTransport, protocol.transport).disconnecting)
        self.clock.advance(2)
        self.assertTrue(cast(StringTransport, protocol.transport).disconnecting)

    def test_who_asks_much_at_once_waits(self) -> None:
        waiting: list[Deferred[None]] = []

        class Slow:
            async def verify(self, recipient: Recipient) -> None:
                waiting.append(Deferred())
                await waiting[-1]

        protocol = self.connect(Slow())
        transport = cast(StringTransport, protocol.transport)
        self.ask(protocol, *[b"fred"] * (MAX_WAITING + 1))
        self.assertEqual(transport.producerState, "paused")
        for number in range(MAX_WAITING + 1):
            waiting[number].callback(None)
            self.clock.advance(0)
        self.assertEqual(transport.value(), netstring(b"OK fred") * (MAX_WAITING + 1))
        self.assertEqual(transport.producerState, "producing")

    def test_errors(self) -> None:
        self.assertEqual(reply_to_error(errors.OverQuota()), b"TEMP Over quota")
        self.assertEqual(reply_to_error(errors.OverQuota(), over_quota_permanent=True), b"PERM Over quota")
        self.assertEqual(reply_to_error(errors.StoreFull()), b"TEMP System I/O error")
        self.store.open_errors[MailboxName("", "fred", ())] = errors.StoreUnavailable()
        self.assertEqual(self.ask(self.connect(), b"fred"), netstring(b"TEMP System I/O error"))

    def test_interface(self) -> None:
        verifyObject(IRecipientVerifier, RecipientVerifier(self.store.as_store(), DeliverySettings("mail.test")))
