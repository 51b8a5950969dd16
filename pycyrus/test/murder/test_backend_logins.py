"""How a frontend logs in at backends: when over TLS, and what is never said without."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.auth.client import ClientCredentials
from pycyrus.errors import StoreUnavailable
from pycyrus.murder.servers.imap_link import ImapLink
from pycyrus.murder.servers.lmtp_link import LmtpLink
from pycyrus.murder.servers.login import entering, log_in
from pycyrus.murder.servers.pop3_link import Pop3Link
from pycyrus.murder.servers.settings import BackendSettings
from pycyrus.murder.servers.sieve_link import SieveLink

SETTINGS = BackendSettings({"": ClientCredentials("proxy", password="sesame")}, tls=lambda host: f"TLS for {host}")
SECRETS = (b64encode(b"\0proxy\0sesame"), b64encode(b"fred\0proxy\0sesame"))
"""What PLAIN says, for the proxy itself and for fred."""


@dataclass(frozen=True, slots=True)
class Dialogue:
    """
    What a backend says.

    @ivar begin: Makes the link hear its greeting, and what the server can.
    @ivar greeting: With STARTTLS; the list of mechanisms is where C{%b} stands.
    @ivar go_ahead: The answer to STARTTLS.
    @ivar refusal: Another one.
    @ivar forged: Others' octets behind it, as if they were what follows: LOGIN is offered.
    @ivar after: What the server can when TLS has begun.
    @ivar success: Of the login.
    """

    make: Callable[[str, Clock], Any]
    begin: Callable[[Any], Any]
    greeting: tuple[bytes, ...]
    go_ahead: bytes
    refusal: bytes
    forged: bytes
    after: bytes
    success: bytes


async def _begin_pop3(link: Pop3Link) -> None:
    await link.line()
    link.capabilities = await link.ask_capabilities()


DIALOGUES = {
    "imap": Dialogue(
        ImapLink,
        ImapLink.greeted,
        (b"* OK [CAPABILITY IMAP4rev1 SASL-IR STARTTLS AUTH=%b] hi\r\n",),
        b"PROXY1 OK go ahead\r\n",
        b"PROXY1 NO not now\r\n",
        b"* CAPABILITY IMAP4rev1 AUTH=LOGIN\r\nPROXY2 OK done\r\n",
        b"* CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN\r\nPROXY2 OK done\r\n",
        b"PROXY3 OK in\r\n",
    ),
    "lmtp": Dialogue(
        lambda server, clock: LmtpLink(server, "me", clock, 10.0),
        LmtpLink.greet,
        (b"220 hi\r\n", b"250-you\r\n250-STARTTLS\r\n250 AUTH %b\r\n"),
        b"220 go ahead\r\n",
        b"454 not now\r\n",
        b"250-you\r\n250 AUTH LOGIN\r\n",
        b"250-you\r\n250 AUTH PLAIN\r\n",
        b"235 in\r\n",
    ),
    "pop3": Dialogue(
        Pop3Link,
        _begin_pop3,
        (b"+OK hi\r\n", b"+OK\r\nSTLS\r\nSASL %b\r\n.\r\n"),
        b"+OK go ahead\r\n",
        b"-ERR not now\r\n",
        b"+OK\r\nSASL LOGIN\r\n.\r\n",
        b"+OK\r\nSASL PLAIN\r\n.\r\n",
        b"+OK in\r\n",
    ),
    "sieve": Dialogue(
        SieveLink,
        SieveLink.hear_capabilities,
        (b'"SASL" "%b"\r\n"STARTTLS"\r\nOK\r\n',),
        b"OK\r\n",
        b"NO\r\n",
        b'"SASL" "LOGIN"\r\nOK\r\n',
        b'"SASL" "PLAIN"\r\nOK\r\n',
        b"OK\r\n",
    ),
}


class Transport(StringTransport):
    """
    Remembers what was said without TLS.

    @ivar context: What TLS was begun with; None without.
    """

    said_in_clear = b""
    context: object = None

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    def setTcpKeepAlive(self, enabled: bool) -> None:
        pass

    def startTLS(self, context: object) -> None:
        self.context = context
        self.said_in_clear = self.value()
        self.clear()


class LoginTests(SynchronousTestCase):
    def log_in(self, service: str, settings: BackendSettings, *said: bytes, server: str = "b") -> tuple[Transport, Any]:
        """
        Log in for fred, or for the proxy itself where that is what is done.

        @param said: By the backend, each when the one before was read.
        @return: What was said to it, and what came of it; None for success.
        """
        dialogue = DIALOGUES[service]
        link, transport = dialogue.make(server, Clock()), Transport()
        link.makeConnection(transport)

        async def work() -> None:
            with entering(link):
                await dialogue.begin(link)
                await log_in(link, settings, "" if service == "lmtp" else "fred")

        found: list[Any] = []
        _ = Deferred.fromCoroutine(work()).addBoth(found.append)
        for piece in said:
            link.dataReceived(piece)
        return transport, found[0] if found else "it waits"

    def greeting(self, service: str, mechanism: bytes, *, has_tls: bool = True) -> list[bytes]:
        """Its pieces."""
        pieces = [piece.replace(b"%b", mechanism) for piece in DIALOGUES[service].greeting]
        if has_tls:
            return pieces
        return [piece.replace(b"STARTTLS", b"X").replace(b"STLS", b"X") for piece in pieces]

    def refused(self, outcome: Any) -> None:
        """Nobody was let in, and others may try another server."""
        self.assertIsInstance(getattr(outcome, "value", None), StoreUnavailable, outcome)

    def test_a_password_over_tls(self) -> None:
        """What needs it gets it; what others put behind the answer to STARTTLS is not believed."""
        for service, dialogue in DIALOGUES.items():
            for server in ("b", "b/tls"):
                transport, outcome = self.log_in(
                    service,
                    SETTINGS,
                    *self.greeting(service, b"PLAIN"),
                    dialogue.go_ahead + dialogue.forged,
                    dialogue.after,
                    dialogue.success,
                    server=server,
                )
                self.assertIsNone(outcome, service)
                self.assertEqual(transport.context, "TLS for b")
                self.assertNotIn(b"PLAIN", transport.said_in_clear)
                self.assertTrue(any(secret in transport.value() for secret in SECRETS), service)

    def test_tls_that_is_refused(self) -> None:
        """Nothing is said of the password then."""
        for service, dialogue in DIALOGUES.items():
            transport, outcome = self.log_in(
                service, SETTINGS, *self.greeting(service, b"PLAIN"), dialogue.refusal, dialogue.after, dialogue.success
            )
            self.refused(outcome)
            self.assertNotIn(b"PLAIN", transport.value())
            self.assertTrue(transport.disconnecting or transport.disconnected, service)

    def test_tls_that_is_not_there(self) -> None:
        """Where a name demands it nothing is said without; elsewhere C{allowplaintext} decides."""
        for service, dialogue in DIALOGUES.items():
            offer = self.greeting(service, b"PLAIN", has_tls=False)
            success = dialogue.success.replace(b"PROXY3", b"PROXY1")
            for settings, server in (
                (SETTINGS, "b/tls"),
                (replace(SETTINGS, tls=None), "b/tls"),
                (replace(SETTINGS, allow_plaintext=False), "b"),
            ):
                transport, outcome = self.log_in(service, settings, *offer, success, server=server)
                self.refused(outcome)
                self.assertNotIn(b"PLAIN", transport.value())
            # It is not there, or we have none.
            for settings, has_tls in ((SETTINGS, False), (replace(SETTINGS, tls=None), True)):
                offer = self.greeting(service, b"PLAIN", has_tls=has_tls)
                transport, outcome = self.log_in(service, settings, *offer, success)
                self.assertIsNone(outcome, service)
                self.assertIsNone(transport.context)

    def test_a_mechanism_that_hides_the_password(self) -> None:
        """It needs no TLS, unless the server's name demands that."""
        for service, dialogue in DIALOGUES.items():
            offer = self.greeting(service, b"SCRAM-SHA-256")
            transport, _ = self.log_in(service, SETTINGS, *offer)
            self.assertIn(b"SCRAM-SHA-256", transport.value(), service)
            transport, _ = self.log_in(service, SETTINGS, *offer, dialogue.go_ahead, server="b/tls")
            self.assertEqual(transport.context, "TLS for b", service)
