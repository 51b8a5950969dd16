"""
Who may come in, and as whom: the one place where all services ask.

SASL mechanisms and plain logins end here; passwords are checked through a cred
portal.  Whoever fails waits for the answer, and is logged for tools that watch.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from twisted.cred.portal import Portal
from zope.interface import implementer

from pycyrus.auth.acting import ActingRules, IsDenied, IsInboxAdministrator
from pycyrus.auth.attempts import Attempt, LocalDomain, Rules, can_bind, certified
from pycyrus.auth.delays import FailureDelays
from pycyrus.auth.identity import Identities
from pycyrus.auth.mechanisms.base import Exchange, timestamp
from pycyrus.auth.mechanisms.table import MECHANISMS, Mechanism, Sources
from pycyrus.errors import AuthenticationFailed, MailStoreError, MechanismUnavailable, PlaintextRefused
from pycyrus.interfaces import Authenticated, Challenge, Channel, IAuthenticator, ISaslExchange


@dataclass(frozen=True, slots=True)
class AuthSettings:
    """
    What a service accepts.

    @ivar mechanisms: Names in upper case (C{sasl_mech_list}); empty for all.
    @ivar allow_plaintext: Passwords in clear, and without TLS (C{allowplaintext}).
    @ivar tls_required: Nothing at all without TLS.
    @ivar proxy_servers: User ids that may act as anybody (C{proxyservers}).
    @ivar admins_only: Only administrators may log in, as themselves whatever they
        ask for: services between servers, such as LMTP and MUPDATE.
    @ivar anonymous: Whether somebody may come in without saying who they are
        (C{allowanonymouslogin}).
    @ivar apop: Whether POP3 offers APOP where it can (C{allowapop}).
    @ivar server_name: How this server calls itself.
    @ivar services: The service's names in Kerberos and the like, lower case.
    """

    mechanisms: tuple[str, ...] = ()
    allow_plaintext: bool = False
    tls_required: bool = False
    proxy_servers: tuple[str, ...] = ()
    admins_only: bool = False
    anonymous: bool = False
    apop: bool = True
    server_name: str = "localhost"
    services: frozenset[bytes] = frozenset({b"imap"})


@implementer(IAuthenticator)
class Authenticator:
    """Authenticates the clients of one service."""

    def __init__(
        self,
        portal: Portal,
        identities: Identities,
        settings: AuthSettings,
        delays: FailureDelays,
        *,
        sources: Sources | None = None,
        local_domain: LocalDomain | None = None,
        is_inbox_administrator: IsInboxAdministrator | None = None,
        is_denied: IsDenied | None = None,
    ) -> None:
        """
        @param portal: As L{Rules.portal}.
        @param sources: What mechanisms stand on; None for passwords alone.
        @param is_inbox_administrator: As L{ActingRules}.
        @param is_denied: As L{ActingRules}.
        """
        self.settings = settings
        self.delays = delays
        self.sources = sources or Sources()
        acting = ActingRules(
            identities,
            settings.proxy_servers,
            admins_only=settings.admins_only,
            is_inbox_administrator=is_inbox_administrator,
            is_denied=is_denied,
        )
        self._rules = Rules(portal, identities, acting, self.sources, delays, self._offers_binding, local_domain)
        allowed = {name.upper() for name in settings.mechanisms}
        self._mechanisms = {
            mechanism.name: mechanism
            for mechanism in MECHANISMS
            if (mechanism.name in allowed if allowed or mechanism.by_name else True)
            and mechanism.is_possible(self.sources)
        }

    def mechanisms(self, channel: Channel) -> Sequence[str]:
        """See L{IAuthenticator.mechanisms}."""
        if self.settings.tls_required and not channel.tls:
            return []
        plaintext = self.allows_plaintext(channel)
        return [
            name
            for name, mechanism in self._mechanisms.items()
            if (plaintext or not mechanism.plaintext) and _has_what_it_needs(mechanism, channel)
        ]

    def allows_plaintext(self, channel: Channel) -> bool:
        """See L{IAuthenticator.allows_plaintext}."""
        return channel.tls or (self.settings.allow_plaintext and not self.settings.tls_required)

    def start(self, mechanism: str, channel: Channel) -> ISaslExchange:
        """See L{IAuthenticator.start}."""
        row = self._mechanisms.get(mechanism.upper())
        if row is None:
            raise MechanismUnavailable(mechanism)
        if row.plaintext and not self.allows_plaintext(channel):
            raise PlaintextRefused(mechanism)
        if (self.settings.tls_required and not channel.tls) or not _has_what_it_needs(row, channel):
            raise MechanismUnavailable(mechanism)
        return _GuardedExchange(Attempt(self._rules, channel), row, self.sources)

    async def login(self, user: bytes, password: bytes, channel: Channel) -> Authenticated:
        """
        See L{IAuthenticator.login}.

        @raise PlaintextRefused: Only under TLS.
        """
        if not self.allows_plaintext(channel):
            raise PlaintextRefused
        attempt = Attempt(self._rules, channel)
        try:
            if self.sources.anonymous and user.lower() == b"anonymous":
                return await attempt.anonymous(password)
            return await attempt.password(user, password, b"")
        except MailStoreError as error:
            await attempt.failed("plaintext", error)
            raise

    async def act(self, user_id: str, acting_as: bytes, channel: Channel) -> Authenticated:
        """See L{IAuthenticator.act}."""
        attempt = Attempt(self._rules, channel)
        try:
            return await attempt.proved(user_id.encode("utf-8"), acting_as)
        except MailStoreError as error:
            await attempt.failed("proved before", error)
            raise

    def apop_timestamp(self, channel: Channel) -> bytes:
        """See L{IAuthenticator.apop_timestamp}."""
        settings = self.settings
        if not settings.apop or self.sources.secrets is None or (settings.tls_required and not channel.tls):
            return b""
        return timestamp(settings.server_name)

    async def apop(self, user: bytes, digest: bytes, said: bytes, channel: Channel) -> Authenticated:
        """See L{IAuthenticator.apop}."""
        attempt = Attempt(self._rules, channel)
        try:
            if not said or (self.settings.tls_required and not channel.tls):
                raise MechanismUnavailable("APOP")
            secret = await attempt.secret(user)
            # RFC 1939 section 7: the timestamp, and the shared secret behind it.
            right = hashlib.md5(said + (secret or b"")).hexdigest().encode("ascii")
            if not hmac.compare_digest(right, digest) or secret is None:
                raise AuthenticationFailed("wrong digest")
            return await attempt.proved(user, b"")
        except MailStoreError as error:
            await attempt.failed("APOP", error)
            raise

    def _offers_binding(self, channel: Channel) -> bool:
        return any(name.endswith("-PLUS") for name in self.mechanisms(channel))


@implementer(ISaslExchange)
class _GuardedExchange:
    """An exchange whose failures are logged and held back."""

    __slots__ = ("_attempt", "_exchange", "_mechanism")

    def __init__(self, attempt: Attempt, mechanism: Mechanism, sources: Sources) -> None:
        self._attempt = attempt
        self._mechanism = mechanism.name
        self._exchange: Exchange = mechanism.make(attempt, sources)

    async def step(self, response: bytes | None) -> Challenge | Authenticated:
        """See L{ISaslExchange.step}."""
        try:
            self._attempt.go_on()
            return await self._exchange.step(response)
        except MailStoreError as error:
            await self._attempt.failed(self._mechanism, error)
            raise


def _has_what_it_needs(mechanism: Mechanism, channel: Channel) -> bool:
    """Whether the connection has what a mechanism stands on."""
    if mechanism.certificate and not certified(channel):
        return False
    return not mechanism.binds or can_bind(channel)
