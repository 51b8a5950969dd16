"""
Who may come in, and as whom: the one place where all services ask.

SASL mechanisms and plain logins end here; passwords are checked through a cred
portal.  Whoever fails waits for the answer, and is logged for tools that watch.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from twisted.cred.credentials import ICredentials
from twisted.cred.error import LoginFailed
from twisted.cred.portal import Portal
from twisted.logger import Logger
from typing_extensions import override
from zope.interface import implementer

from pycyrus.auth.certificates import user_of
from pycyrus.auth.credentials import MailPassword, Proved
from pycyrus.auth.delays import FailureDelays
from pycyrus.auth.identity import Identities, InvalidUserId
from pycyrus.auth.interfaces import IMailUser, IScramKeyStore, ScramKeys
from pycyrus.auth.mechanisms.base import LONGEST_PASSWORD, Exchange, Verifier
from pycyrus.auth.mechanisms.table import MECHANISMS, Mechanism
from pycyrus.errors import (
    AuthenticationFailed,
    AuthenticationUnavailable,
    AuthorizationDenied,
    MailStoreError,
    MechanismUnavailable,
    PlaintextRefused,
)
from pycyrus.interfaces import Authenticated, Challenge, Channel, IAuthenticator, ISaslExchange
from pycyrus.model.identity import AdminScope, Identity

LocalDomain = Callable[[str], Awaitable[str]]
"""Gives the domain of a local address, for C{virtdomains: on}; empty if it has none."""


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
    """

    mechanisms: tuple[str, ...] = ()
    allow_plaintext: bool = False
    tls_required: bool = False
    proxy_servers: tuple[str, ...] = ()
    admins_only: bool = False


@implementer(IAuthenticator)
class Authenticator:
    """Authenticates the clients of one service."""

    log = Logger()

    def __init__(
        self,
        portal: Portal,
        identities: Identities,
        settings: AuthSettings,
        delays: FailureDelays,
        *,
        keys: IScramKeyStore | None = None,
        local_domain: LocalDomain | None = None,
    ) -> None:
        """
        @param portal: Has checkers for L{pycyrus.auth.interfaces.IMailPassword} and
            L{pycyrus.auth.interfaces.IProved}, and a realm of L{IMailUser}.
        @param identities: As the portal's realm.
        @param keys: Where SCRAM finds its keys; None where there are none.
        """
        self.portal = portal
        self.identities = identities
        self.settings = settings
        self.delays = delays
        self.keys = keys
        self.local_domain = local_domain
        self.proxy_servers = frozenset(identities.canonical(name.encode("utf-8")) for name in settings.proxy_servers)
        allowed = {name.upper() for name in settings.mechanisms}
        self._mechanisms = {
            mechanism.name: mechanism
            for mechanism in MECHANISMS
            if (not allowed or mechanism.name in allowed) and (not mechanism.keys or keys is not None)
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
        return _GuardedExchange(_Attempt(self, channel), row)

    async def login(self, user: bytes, password: bytes, channel: Channel) -> Authenticated:
        """
        See L{IAuthenticator.login}.

        @raise PlaintextRefused: Only under TLS.
        """
        if not self.allows_plaintext(channel):
            raise PlaintextRefused
        attempt = _Attempt(self, channel)
        try:
            return await attempt.password(user, password, b"")
        except MailStoreError as error:
            await attempt.failed("plaintext", error)
            raise


class _Attempt(Verifier):
    """
    One attempt to log in.

    @ivar account: The canonical user id that was tried; empty before.
    """

    def __init__(self, authenticator: Authenticator, channel: Channel) -> None:
        self._owner = authenticator
        self._channel = channel
        self.tried = b""
        self.account = ""

    @override
    async def password(self, user: bytes, password: bytes, acting_as: bytes) -> Authenticated:
        user_id = await self._begin(user)
        if not password or len(password) > LONGEST_PASSWORD:
            raise AuthenticationFailed("empty password, or too long")
        return await self._enter(MailPassword(user_id, password, self._channel.service), acting_as)

    @override
    async def keys(self, user: bytes, mechanism: str) -> ScramKeys:
        user_id = await self._begin(user)
        if self._owner.keys is None:
            raise AuthenticationUnavailable("no SCRAM keys here")
        return await self._owner.keys.scram_keys(user_id, mechanism)

    @override
    def channel_binding(self) -> bytes:
        return _binding(self._channel)

    @override
    def offers_binding(self) -> bool:
        return any(name.endswith("-PLUS") for name in self._owner.mechanisms(self._channel))

    @override
    async def certificate(self, acting_as: bytes) -> Authenticated:
        user = _certified(self._channel)
        if not user:
            raise AuthenticationFailed("no certificate that names a user")
        return await self.proved(user, acting_as)

    @override
    async def proved(self, user: bytes, acting_as: bytes) -> Authenticated:
        return await self._enter(Proved(await self._begin(user)), acting_as)

    async def failed(self, mechanism: str, error: MailStoreError) -> None:
        """Log a failure, and wait where it is one that could have been a guess."""
        owner, channel = self._owner, self._channel
        owner.log.warn(
            "badlogin: {peer} {mechanism} ({user}) [{reason}] {service} SESSIONID=<{session}>",
            peer=channel.peer,
            mechanism=mechanism,
            user=shown(self.tried),
            reason=str(error) or type(error).__name__,
            service=channel.service,
            session=channel.session_id,
        )
        if isinstance(error, AuthenticationFailed | AuthorizationDenied):
            await owner.delays.failed(channel.peer, self.account)

    async def _begin(self, user: bytes) -> str:
        """Note who is tried, and give the canonical user id."""
        self.tried = user
        try:
            user_id = await self._canonical(user)
        except InvalidUserId as error:
            raise AuthenticationFailed(str(error)) from error
        self.account = user_id
        if not self._owner.identities.may_log_in(user_id):
            raise AuthenticationFailed("realm not in loginrealms")
        self._owner.delays.admit(self._channel.peer, user_id)
        return user_id

    async def _canonical(self, user: bytes) -> str:
        owner = self._owner
        domain = ""
        if owner.local_domain is not None and b"@" not in user and b"%" not in user:
            domain = await owner.local_domain(self._channel.local_address)
        return owner.identities.canonical(user, domain)

    async def _enter(self, credentials: ICredentials, acting_as: bytes) -> Authenticated:
        """Go through the portal, and on as whoever it is to be."""
        try:
            _, avatar, _ = await self._owner.portal.login(credentials, None, IMailUser)
        except LoginFailed as error:
            raise AuthenticationFailed(str(error)) from error
        assert isinstance(avatar, Identity)
        authenticated = await self._act(avatar, acting_as)
        self._owner.delays.succeeded(self.account)
        return authenticated

    async def _act(self, identity: Identity, acting_as: bytes) -> Authenticated:
        """
        Decide on the authorisation identity (RFC 4422 section 3.4.1).

        @raise AuthorizationDenied: Neither its own, nor one that it may act for.
        """
        owner, user_id = self._owner, identity.user_id
        if owner.settings.admins_only:
            if identity.admin is AdminScope.NONE:
                raise AuthorizationDenied("only administrators may log in here")
            return Authenticated(identity, user_id)
        if not acting_as:
            return Authenticated(identity, user_id)
        try:
            wanted = owner.identities.identity(await self._canonical(acting_as))
        except InvalidUserId as error:
            raise AuthorizationDenied(f"cannot act as that: {error}") from error
        if (
            wanted.user_id == user_id
            or user_id in owner.proxy_servers
            or identity.admin is AdminScope.GLOBAL
            or identity.administers(wanted.domain)
        ):
            return Authenticated(wanted, user_id)
        raise AuthorizationDenied(f"may not act as {shown(acting_as)}")


@implementer(ISaslExchange)
class _GuardedExchange:
    """An exchange whose failures are logged and held back."""

    __slots__ = ("_attempt", "_exchange", "_mechanism")

    def __init__(self, attempt: _Attempt, mechanism: Mechanism) -> None:
        self._attempt = attempt
        self._mechanism = mechanism.name
        self._exchange: Exchange = mechanism.make(attempt)

    async def step(self, response: bytes | None) -> Challenge | Authenticated:
        """See L{ISaslExchange.step}."""
        try:
            return await self._exchange.step(response)
        except MailStoreError as error:
            await self._attempt.failed(self._mechanism, error)
            raise


def _has_what_it_needs(mechanism: Mechanism, channel: Channel) -> bool:
    """Whether the connection has what a mechanism stands on."""
    if mechanism.certificate and not _certified(channel):
        return False
    return not mechanism.binds or _can_bind(channel)


def _can_bind(channel: Channel) -> bool:
    return channel.tls and channel.tls_exporter is not None


def _binding(channel: Channel) -> bytes:
    """RFC 9266 section 2: 32 octets of keying material, without a context."""
    if not channel.tls or channel.tls_exporter is None:
        return b""
    return channel.tls_exporter(b"EXPORTER-Channel-Binding", 32)


def _certified(channel: Channel) -> bytes:
    """The user whom the client's certificate names; empty if there is none."""
    certificate = channel.client_certificate() if channel.client_certificate is not None and channel.tls else None
    return user_of(certificate) if certificate is not None else b""


def shown(name: bytes) -> str:
    """A name as a client sent it, fit for a log line."""
    text = name[:100].decode("ascii", "backslashreplace")
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
