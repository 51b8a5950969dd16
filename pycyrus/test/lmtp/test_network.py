"""LMTP on a real socket, with TLS, against Python's own client."""

from __future__ import annotations

import smtplib
import ssl
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from pycyrus.delivery.pipeline import DeliveryAgent
from pycyrus.delivery.settings import DeliverySettings
from pycyrus.interfaces import IAuthenticator
from pycyrus.lmtp.protocol import LmtpFactory
from pycyrus.lmtp.settings import LmtpSettings
from pycyrus.model.names import MailboxName
from pycyrus.net.limits import ConnectionLimits, LimitSettings
from pycyrus.net.selfsigned import generate
from pycyrus.net.tls import ServerContext, TLSSettings
from pycyrus.net.transport import listen_tcp
from pycyrus.test.delivery.doubles import MemoryStore
from pycyrus.test.lmtp.driver import Authenticator

MESSAGE = b"Message-ID: <1@x>\r\nDate: x\r\n\r\n.dot\r\n..dots\r\n" + b"line\r\n" * 50_000


class NetworkTests(TestCase):
    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        certificate, key = directory / "certificate.pem", directory / "key.pem"
        generate(certificate, key)
        self.store = MemoryStore()
        self.store.add_user("fred")
        factory = LmtpFactory(
            DeliveryAgent(self.store.as_store(), DeliverySettings("mail.test"), cast(Any, reactor)),
            cast(IAuthenticator, Authenticator()),
            LmtpSettings("mail.test", tls_required=True),
            ConnectionLimits(LimitSettings(total=10)),
            ServerContext(TLSSettings(certificate, key)),
            cast(Any, reactor),
        )
        port = listen_tcp(cast(Any, reactor), "127.0.0.1", 0, factory)
        self.addCleanup(port.stopListening)
        self.port = int(port.getHost().port)

    def test_starttls_login_and_a_large_message(self) -> Deferred[None]:
        def talk() -> None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            with smtplib.LMTP("127.0.0.1", self.port, local_hostname="client.test") as client:
                client.ehlo()
                self.assertTrue(client.has_extn("starttls"))
                self.assertFalse(client.has_extn("auth"))
                client.starttls(context=context)
                client.ehlo()
                self.assertFalse(client.has_extn("starttls"))
                client.login("cyrus", "secret")
                self.assertEqual(client.sendmail("a@b", ["fred", "nobody"], MESSAGE).keys(), {"nobody"})

        def look(_: object) -> None:
            (stored,) = self.store.mailboxes[MailboxName("", "fred", ())]
            self.assertTrue(stored.endswith(MESSAGE))
            self.assertIn(b" with LMTPSA\r\n\t (version=TLSv1.3 cipher=TLS_", stored)

        return deferToThread(talk).addCallback(look)
