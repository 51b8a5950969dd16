"""Notices of deliveries: their octets, and that mail does not wait for them."""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pycyrus.delivery.pipeline import DeliveryAgent
from pycyrus.delivery.settings import DeliverySettings
from pycyrus.interfaces import Arrival, Envelope, IDeliveryObserver, IEventSink, Recipient
from pycyrus.model.identity import POSTMAN
from pycyrus.model.names import MailboxName, NamespaceSettings, VirtualDomains
from pycyrus.notices.arrivals import ArrivalEvents
from pycyrus.notices.forms import MAX_DATAGRAM, Notice, event_notice, new_mail
from pycyrus.notices.notifyd import NotifydSocket
from pycyrus.notices.reporter import Reporter
from pycyrus.notices.settings import EventSettings
from pycyrus.notices.sinks import DeliveryObservers, MailNotices, NoticeSink
from pycyrus.notices.urls import Urls
from pycyrus.test.delivery.doubles import MemoryStore
from pycyrus.testing.logs import captured

FOLDER = MailboxName("example.com", "fred", ("Work", "new mail"))
ARRIVAL = Arrival(FOLDER, 7, 42, 1000, "a@b", "session-1")


class FormTests(SynchronousTestCase):
    def test_new_mail(self) -> None:
        self.assertEqual(
            new_mail("log", ARRIVAL).encode(),
            b"log\0MAIL\0\0fred@example.com\0Work/new mail\x000\0You have new mail\0",
        )
        header = b"To: fred\r\nSubject: a\r\n longer one\r\nX-From: c\r\nFROM: \xe9@b\r\n"
        self.assertEqual(
            new_mail("log", replace(ARRIVAL, header=header)).text, "From: \ufffd@b\nSubject: a longer one\nTo: fred\n"
        )

    def test_shared_mailboxes_are_nobody_s(self) -> None:
        MailNotices("log", cast(NotifydSocket, None)).delivered(replace(ARRIVAL, mailbox=MailboxName("", None, ("s",))))

    def test_urls(self) -> None:
        """As Cyrus has them: names as administrators see them, with few characters as they are."""
        virtual = NamespaceSettings(virtdomains=VirtualDomains.USERID)
        dotted = NamespaceSettings(unixhierarchysep=False)
        cases = (
            (virtual, FOLDER, "user/fred/Work/new%20mail%40example.com"),
            (virtual, MailboxName("example.com", None, ("sh",)), "sh%40example.com"),
            (dotted, MailboxName("", "fred", ("a.b", "c")), "user.fred.a%5Eb.c"),
            (dotted, MailboxName("", "fred", ()), "user.fred"),
            (virtual, MailboxName("", None, ("é &#$'()*+,-.:=?[]_~",)), "%C3%A9%20%26%23$'()*%2B,-.%3A%3D%3F%5B%5D_~"),
        )
        for namespace, name, path in cases:
            self.assertEqual(
                Urls("mail.test", namespace).mailbox(name, 42, 7), f"imap://mail.test/{path};UIDVALIDITY=42/;UID=7"
            )

    @settings(max_examples=50, deadline=None, database=None)
    @given(st.lists(st.text(max_size=20), min_size=5, max_size=5), st.lists(st.text(max_size=5), max_size=3))
    def test_strings_cannot_make_others(self, words: list[str], options: list[str]) -> None:
        method, kind, user, mailbox, text = words
        octets = Notice(method, kind, user, mailbox, text, options=options).encode()
        self.assertEqual(octets.count(b"\0"), 7 + len(options))

    @settings(max_examples=50, deadline=None, database=None)
    @given(st.integers(0, 20_000), st.integers(0, 20_000))
    def test_long_events_tell_less(self, content: int, ids: int) -> None:
        """What can be done without is left out until the rest fits."""
        event = {"event": "MessageNew", "messageContent": "ü" * content, "vnd.cmu.midset": ["x" * ids], "uidset": "1"}
        notice = event_notice("log", event)
        self.assertLessEqual(len(notice.encode()), MAX_DATAGRAM)
        told = json.loads(notice.text)
        self.assertEqual((told["event"], told["uidset"]), ("MessageNew", "1"))
        if 2 * content + ids < 8000:
            self.assertEqual(told, event)


class SocketTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)
        self.path = self.directory / "notify"
        self.sender = NotifydSocket(str(self.path))
        self.addCleanup(lambda: self.successResultOf(Deferred.fromCoroutine(self.sender.close())))

    def observer(self, store: MemoryStore) -> IDeliveryObserver:
        sink = NoticeSink("log", self.sender)
        verifyObject(IEventSink, sink)
        mail = MailNotices("log", self.sender)
        verifyObject(IDeliveryObserver, mail)
        reporter = Reporter(EventSettings("mail.test"), [cast(IEventSink, sink)], store.as_store(), Clock())
        both = DeliveryObservers([cast(IDeliveryObserver, each) for each in (ArrivalEvents(reporter), mail)])
        verifyObject(IDeliveryObserver, both)
        return cast(IDeliveryObserver, both)

    def test_each_delivery_is_told(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
            daemon.bind(str(self.path))
            daemon.settimeout(60)
            store = MemoryStore()
            store.add_user("fred")
            agent = DeliveryAgent(
                store.as_store(), DeliverySettings("mail.test"), Clock(), None, self.observer(store)
            )  # fmt: skip
            delivery = agent.start(Envelope("a@b", None, POSTMAN, "x", "y", "LMTPA", "id"))

            async def deliver() -> None:
                await delivery.add_recipient(Recipient("fred", ""))
                await delivery.begin()
                delivery.write(b"Subject: x\r\n\r\n")
                self.assertEqual(list(await delivery.commit()), [None])

            self.successResultOf(Deferred.fromCoroutine(deliver()))
            method, kind, *_, text, end = daemon.recv(9000).split(b"\0")
            self.assertEqual((method, kind, end), (b"log", b"EVENT", b""))
            event = json.loads(text)
            told = {"event", "timestamp", "uri", "vnd.cmu.mbtype", "pid", "serverFQDN", "user"}
            self.assertEqual(set(event), told)
            self.assertEqual(event["event"], "MessageNew")
            self.assertEqual(daemon.recv(9000), b"log\0MAIL\0\0fred\0INBOX\x000\0Subject: x\n\0")

    def test_nobody_there(self) -> None:
        observer = MailNotices("log", self.sender)
        with captured() as log:
            for _ in range(50):
                observer.delivered(ARRIVAL)
        self.assertEqual(self.sender.losses.count, 50)
        self.assertEqual(len(log.events), 1)

    def test_who_does_not_read_is_not_waited_for(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
            daemon.bind(str(self.path))
            observer = MailNotices("log", self.sender)
            for _ in range(10_000):
                observer.delivered(ARRIVAL)
                if self.sender.losses.count:
                    break
            self.assertGreater(self.sender.losses.count, 0)
