"""Notices of deliveries: their octets, and that mail does not wait for them."""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pycyrus.delivery.pipeline import DeliveryAgent
from pycyrus.delivery.settings import DeliverySettings
from pycyrus.interfaces import Arrival, Envelope, IDeliveryObserver, Recipient
from pycyrus.model.identity import POSTMAN
from pycyrus.model.names import MailboxName
from pycyrus.notices.forms import Notice, message_new, new_mail
from pycyrus.notices.notifyd import NotifydObserver, NotifydSettings
from pycyrus.test.delivery.doubles import MemoryStore
from pycyrus.testing.logs import captured

ARRIVAL = Arrival(MailboxName("example.com", "fred", ("Work", "new mail")), 7, 42, 1000, "a@b", "session-1")


class FormTests(SynchronousTestCase):
    def test_new_mail(self) -> None:
        self.assertEqual(
            new_mail("log", ARRIVAL).encode(),
            b"log\0MAIL\0\0fred@example.com\0Work/new mail\x000\0You have new mail\0",
        )

    def test_event(self) -> None:
        event = json.loads(message_new(ARRIVAL, server="mail.test", pid=9, now=0.5))
        timestamp = event.pop("timestamp")
        self.assertRegex(timestamp, r"^(1970-01-01|1969-12-31)T\d\d:\d\d:\d\d\.500[+-]\d\d:\d\d$")
        self.assertEqual(
            event,
            {
                "event": "MessageNew",
                "service": "lmtp",
                "uri": "imap://fred%40example.com@mail.test/Work/new%20mail;UIDVALIDITY=42/;UID=7",
                "mailboxID": "imap://fred%40example.com@mail.test/Work/new%20mail;UIDVALIDITY=42",
                "uidset": "7",
                "messageSize": 1000,
                "pid": 9,
                "vnd.cmu.sessionId": "session-1",
                "user": "fred@example.com",
            },
        )

    @settings(max_examples=50, deadline=None, database=None)
    @given(st.lists(st.text(max_size=20), min_size=5, max_size=5), st.lists(st.text(max_size=5), max_size=3))
    def test_strings_cannot_make_others(self, words: list[str], options: list[str]) -> None:
        method, kind, user, mailbox, text = words
        octets = Notice(method, kind, user, mailbox, text, options=options).encode()
        self.assertEqual(octets.count(b"\0"), 7 + len(options))


class SocketTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)
        self.path = self.directory / "notify"

    def observer(self, mail: str = "log", event: str = "log") -> NotifydObserver:
        observer = NotifydObserver(NotifydSettings(str(self.path), "mail.test", mail, event))
        self.addCleanup(observer.close)
        verifyObject(IDeliveryObserver, observer)
        return observer

    def test_each_delivery_is_told(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
            daemon.bind(str(self.path))
            daemon.settimeout(10)
            store = MemoryStore()
            store.add_user("fred")
            agent = DeliveryAgent(store.as_store(), DeliverySettings("mail.test"), Clock(), None, self.observer())
            delivery = agent.start(Envelope("a@b", None, POSTMAN, "x", "y", "LMTPA", "id"))

            async def deliver() -> None:
                await delivery.add_recipient(Recipient("fred", ""))
                await delivery.begin()
                delivery.write(b"Subject: x\r\n\r\n")
                self.assertEqual(list(await delivery.commit()), [None])

            self.successResultOf(Deferred.fromCoroutine(deliver()))
            self.assertEqual(daemon.recv(9000), b"log\0MAIL\0\0fred\0INBOX\x000\0You have new mail\0")
            method, kind, *_, text, end = daemon.recv(9000).split(b"\0")
            self.assertEqual((method, kind, end), (b"log", b"EVENT", b""))
            self.assertEqual(json.loads(text)["event"], "MessageNew")

    def test_nobody_there(self) -> None:
        observer = self.observer()
        with captured() as log:
            for _ in range(50):
                observer.delivered(ARRIVAL)
        self.assertEqual(observer.lost, 100)
        self.assertEqual(len(log.events), 1)

    def test_who_does_not_read_is_not_waited_for(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
            daemon.bind(str(self.path))
            observer = self.observer()
            for _ in range(10_000):
                observer.delivered(ARRIVAL)
                if observer.lost:
                    break
            self.assertGreater(observer.lost, 0)
