"""IMAP, POP3 and LMTP on ports of the loopback, over one authenticator, for clients that are programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from pycyrus.auth.assemble import Authentication
from pycyrus.auth.authenticator import AuthSettings
from pycyrus.auth.checkers.chain import CheckerChain
from pycyrus.auth.delays import DelaySettings
from pycyrus.auth.identity import IdentitySettings
from pycyrus.auth.interfaces import IScramKeyStore, ISharedSecrets
from pycyrus.delivery.pipeline import DeliveryAgent
from pycyrus.delivery.settings import DeliverySettings
from pycyrus.imap.protocol import ImapFactory
from pycyrus.imap.settings import ImapSettings
from pycyrus.interfaces import IAuthenticator
from pycyrus.lmtp.protocol import LmtpFactory
from pycyrus.lmtp.settings import LmtpSettings
from pycyrus.model.names import ExternalNames, NamespaceSettings
from pycyrus.net.limits import ConnectionLimits, LimitSettings
from pycyrus.net.selfsigned import generate
from pycyrus.net.tls import ServerContext, TLSSettings
from pycyrus.net.transport import listen_tcp
from pycyrus.pop3.protocol import Pop3Factory
from pycyrus.test.auth.parts import CACHE, KeyedChecker, at_once
from pycyrus.test.auth.test_mechanisms import keys_of
from pycyrus.test.pop3.driver import Server

T = TypeVar("T")

USERS = {"alice": "secret", "admin": "root", "alice@example.com": "other"}


@implementer(ISharedSecrets, IScramKeyStore)
class SecretsChecker(KeyedChecker):
    """Knows everything about its users, as sasldb does."""

    def __init__(self, users: Mapping[str, str]) -> None:
        names = ("SCRAM-SHA-1", "SCRAM-SHA-256")
        super().__init__(
            {user: password.encode() for user, password in users.items()},
            {(user, name): keys_of(name, password) for user, password in users.items() for name in names},
        )

    async def shared_secret(self, user_id: str) -> bytes | None:
        return self.passwords.get(user_id)


class ServiceCase(TestCase):
    """
    Starts services; clients are blocking, and live in threads.

    @ivar settings: Change them before a service is started.
    """

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.certificate = self.directory / "cert.pem"
        generate(self.certificate, self.directory / "key.pem")
        self.tls = ServerContext(TLSSettings(self.certificate, self.directory / "key.pem"))
        self.checker = SecretsChecker(USERS)
        self.identities = IdentitySettings(virtdomains="userid", admins=("admin",))
        self.backend = Server()

    def authenticator(self, settings: AuthSettings) -> IAuthenticator:
        """Who may come in."""
        parts = Authentication(Clock(), CheckerChain([self.checker]), at_once, CACHE, DelaySettings(pause=0))
        return parts.authenticator(self.identities, settings)

    def imap(self, settings: AuthSettings) -> int:
        """Start IMAP; @return: its port."""
        factory = ImapFactory(
            self.backend.store,
            self.authenticator(settings),
            ImapSettings(),
            lambda identity: ExternalNames(NamespaceSettings(), identity),
            None,
            self.tls,
            self.reactor,
        )
        return self.listen(factory)

    def pop3(self, settings: AuthSettings) -> int:
        """Start POP3; @return: its port."""
        parts = self.backend.factory.parts
        factory = Pop3Factory(
            parts.store, self.authenticator(settings), parts.settings, parts.claims, None, self.tls, self.reactor
        )
        return self.listen(factory)

    def lmtp(self, settings: AuthSettings) -> int:
        """Start LMTP; @return: its port."""
        factory = LmtpFactory(
            DeliveryAgent(self.backend.store, DeliverySettings("localhost"), self.reactor),
            self.authenticator(settings),
            LmtpSettings("localhost"),
            ConnectionLimits(LimitSettings()),
            self.tls,
            self.reactor,
        )
        return self.listen(factory)

    def listen(self, factory: Any) -> int:
        """Listen on a port of the loopback."""
        port = listen_tcp(self.reactor, "127.0.0.1", 0, factory)

        async def close() -> None:
            await port.stopListening()
            while factory.sessions:
                turn: Deferred[None] = Deferred()
                self.reactor.callLater(0.01, turn.callback, None)
                await turn

        self.addCleanup(lambda: Deferred.fromCoroutine(close()))
        number: int = port.getHost().port
        return number

    async def elsewhere(self, work: Callable[[], T]) -> T:
        """Do something blocking in a thread."""
        return await deferToThread(work)
