"""One attempt to log in: what mechanisms ask, answered for one client of one service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from twisted.cred.credentials import ICredentials
from twisted.cred.error import LoginFailed
from twisted.cred.portal import Portal
from twisted.logger import Logger
from typing_extensions import override

from pycyrus.auth.acting import ActingRules
from pycyrus.auth.certificates import user_of
from pycyrus.auth.credentials import MailPassword, Proved
from pycyrus.auth.delays import FailureDelays
from pycyrus.auth.identity import Identities, InvalidUserId
from pycyrus.auth.interfaces import IMailUser, ScramKeys
from pycyrus.auth.mechanisms.base import LONGEST_PASSWORD, TLS_EXPORTER, TLS_UNIQUE, Verifier
from pycyrus.auth.mechanisms.table import Sources
from pycyrus.errors import (
    AuthenticationFailed,
    AuthenticationUnavailable,
    AuthorizationDenied,
    MailStoreError,
    MalformedExchange,
    MechanismUnavailable,
)
from pycyrus.interfaces import Authenticated, Channel
from pycyrus.model.identity import Identity

LocalDomain = Callable[[str], Awaitable[str]]
"""Gives the domain of a local address, for C{virtdomains: on}; empty if it has none."""

_SASL_ERRORS: tuple[tuple[type[MailStoreError], tuple[int, str]], ...] = (
    (AuthenticationFailed, (-13, "authentication failure")),
    (AuthorizationDenied, (-14, "authorization failure")),
    (AuthenticationUnavailable, (-24, "temporary failure")),
    (MalformedExchange, (-5, "bad protocol / cancel")),
    (MechanismUnavailable, (-4, "no mechanism available")),
)
"""Numbers and words of the Cyrus SASL library."""

ANONYMOUS = Identity("anonymous")
"""Who did not say who they are; what ACLs call C{anonymous}."""


@dataclass(frozen=True, slots=True)
class Rules:
    """
    What the attempts of one service have in common.

    @ivar portal: Has checkers for L{pycyrus.auth.interfaces.IMailPassword} and
        L{pycyrus.auth.interfaces.IProved}, and a realm of L{IMailUser}.
    @ivar identities: As the portal's realm.
    @ivar offers_binding: Whether a channel was offered a mechanism that binds to it.
    """

    portal: Portal
    identities: Identities
    acting: ActingRules
    sources: Sources
    delays: FailureDelays
    offers_binding: Callable[[Channel], bool]
    local_domain: LocalDomain | None = None


class Attempt(Verifier):
    """
    What one client tries.

    @ivar account: The canonical user id that was tried; empty before.
    """

    log = Logger()

    def __init__(self, rules: Rules, channel: Channel) -> None:
        self._rules = rules
        self._channel = channel
        self.tried = b""
        self.account = ""
        self._folder = ""
        self.server_name = rules.sources.server_name
        self.services = rules.sources.services

    @override
    async def password(self, user: bytes, password: bytes, acting_as: bytes) -> Authenticated:
        user_id = await self._begin(user)
        if not password or len(password) > LONGEST_PASSWORD:
            raise AuthenticationFailed("empty password, or too long")
        with self._rules.delays.checking(self._channel.peer, user_id, password):
            channel = self._channel
            return await self._enter(MailPassword(user_id, password, channel.service, channel.peer), acting_as)

    @override
    async def keys(self, user: bytes, mechanism: str) -> ScramKeys:
        user_id = await self._begin(user)
        if self._rules.sources.keys is None:
            raise AuthenticationUnavailable("no SCRAM keys here")
        return await self._rules.sources.keys.scram_keys(user_id, mechanism)

    @override
    async def secret(self, user: bytes) -> bytes | None:
        user_id = await self._begin(user)
        if self._rules.sources.secrets is None:
            raise AuthenticationUnavailable("no shared secrets here")
        return await self._rules.sources.secrets.shared_secret(user_id)

    @override
    async def token(self, token: bytes, acting_as: bytes) -> Authenticated:
        self.tried = acting_as
        if not token or self._rules.sources.tokens is None:
            raise AuthenticationFailed("no token")
        self._rules.delays.admit(self._channel.peer, "")
        return await self.proved(await self._rules.sources.tokens.user_of(token), acting_as)

    @override
    async def anonymous(self, trace: bytes) -> Authenticated:
        self.tried = trace
        self._rules.delays.admit(self._channel.peer, "")
        if not self._rules.sources.anonymous:
            raise AuthenticationFailed("anonymous logins are not allowed")
        self.log.info("anonymous: {peer} calls itself {trace}", peer=self._channel.peer, trace=shown(trace))
        return Authenticated(ANONYMOUS, ANONYMOUS.user_id)

    @override
    def channel_binding(self, kind: bytes) -> bytes:
        return _binding(self._channel, kind)

    @override
    def offers_binding(self) -> bool:
        return self._rules.offers_binding(self._channel)

    @override
    async def certificate(self, acting_as: bytes) -> Authenticated:
        user = certified(self._channel)
        if not user:
            raise AuthenticationFailed("no certificate that names a user")
        return await self.proved(user, acting_as)

    @override
    async def proved(self, user: bytes, acting_as: bytes) -> Authenticated:
        return await self._enter(Proved(await self._begin(user)), acting_as)

    def go_on(self) -> None:
        """
        Look whether an exchange may go on: others like it may have failed since it began.

        @raise AuthenticationUnavailable: It must not be looked at.
        """
        if self.account:
            self._rules.delays.admit(self._channel.peer, self.account)

    async def failed(self, mechanism: str, error: MailStoreError) -> None:
        """Log a failure, and wait where it is one that could have been a guess."""
        channel = self._channel
        code, kind = next((found for sort, found in _SASL_ERRORS if isinstance(error, sort)), (-1, "generic failure"))
        self.log.warn(
            # As Cyrus writes it, so that filters made for its log find what they look for.
            "badlogin: [{peer}] {mechanism} ({user}) [SASL({code}): {kind}: {reason}] {service} SESSIONID=<{session}>",
            peer=channel.peer,
            code=code,
            kind=kind,
            mechanism=mechanism,
            user=shown(self.tried),
            reason=str(error) or type(error).__name__,
            service=channel.service,
            session=channel.session_id,
        )
        if isinstance(error, AuthenticationFailed | AuthorizationDenied):
            await self._rules.delays.failed(channel.peer, self.account)

    async def _begin(self, user: bytes) -> str:
        """Note who is tried, and give the canonical user id."""
        self.tried = user
        try:
            user_id = await self._canonical(self._without_folder(user))
        except InvalidUserId as error:
            raise AuthenticationFailed(str(error)) from error
        self.account = user_id
        if not self._rules.identities.may_log_in(user_id):
            raise AuthenticationFailed("realm not in loginrealms")
        self._rules.delays.admit(self._channel.peer, user_id)
        return user_id

    async def _canonical(self, user: bytes) -> str:
        rules = self._rules
        domain = ""
        if rules.local_domain is not None and b"@" not in user and b"%" not in user:
            domain = await rules.local_domain(self._channel.local_address)
        return rules.identities.canonical(user, domain)

    async def _enter(self, credentials: ICredentials, acting_as: bytes) -> Authenticated:
        """Go through the portal, and on as whoever it is to be."""
        try:
            _, avatar, _ = await self._rules.portal.login(credentials, None, IMailUser)
        except LoginFailed as error:
            raise AuthenticationFailed(str(error)) from error
        assert isinstance(avatar, Identity)
        try:
            wanted = await self._canonical(self._without_folder(acting_as)) if acting_as else ""
        except InvalidUserId as error:
            raise AuthorizationDenied(f"cannot act as that: {error}") from error
        authenticated = await self._rules.acting.decide(avatar, wanted, self._channel.service)
        self._rules.delays.succeeded(self._channel.peer, self.account)
        return replace(authenticated, folder=self._folder) if self._folder else authenticated

    def _without_folder(self, user: bytes) -> bytes:
        """The user id alone; what is behind a plus sign is kept apart, where there may be one."""
        user, self._folder = self._channel.user_and_folder(user)
        return user


def can_bind(channel: Channel) -> bool:
    """Whether there is a TLS channel that can be bound to."""
    return channel.tls and channel.tls_exporter is not None


def _binding(channel: Channel, kind: bytes) -> bytes:
    """C{tls-exporter} is 32 octets of keying material, without a context (RFC 9266 section 2)."""
    if not channel.tls or channel.tls_exporter is None:
        return b""
    if kind == TLS_UNIQUE:
        return channel.tls_exporter.unique()
    return channel.tls_exporter(b"EXPORTER-Channel-Binding", 32) if kind == TLS_EXPORTER else b""


def certified(channel: Channel) -> bytes:
    """The user whom the client's certificate names; empty if there is none."""
    certificate = channel.client_certificate() if channel.client_certificate is not None and channel.tls else None
    return user_of(certificate) if certificate is not None else b""


def shown(name: bytes) -> str:
    """A name as a client sent it, fit for a log line."""
    text = name[:100].decode("ascii", "backslashreplace")
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
