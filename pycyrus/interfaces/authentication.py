"""Who may come in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from zope.interface import Interface

from pycyrus.model.identity import Identity


class KeyingMaterial(Protocol):
    """What both ends of one TLS connection know, and nobody else."""

    def __call__(self, label: bytes, length: int) -> bytes:
        """Material of a length, for a purpose (RFC 5705)."""

    def unique(self) -> bytes:
        """The first Finished message of the handshake (RFC 5929 section 3); empty with TLS 1.3."""


@dataclass(frozen=True, slots=True)
class Channel:
    """
    How the client is connected, as far as authentication must know.

    @ivar service: C{imap}, C{lmtp}, ...: the name in cyrus.conf.
    @ivar peer: Address of the client, for logs and limits.
    @ivar tls: TLS is active.
    @ivar local_address: Where the client connected to, for C{virtdomains: on}.
    @ivar tls_exporter: Gives keying material of the TLS connection (RFC 5705); None
        where it would not stand for this one connection.
    @ivar client_certificate: Gives the client's verified certificate as DER, or
        None; for EXTERNAL.
    @ivar names_folders: User ids may be followed by a plus sign and a folder of theirs.
    """

    service: str
    peer: str
    tls: bool
    local_address: str = ""
    session_id: str = ""
    tls_exporter: KeyingMaterial | None = field(default=None, compare=False)
    client_certificate: Callable[[], bytes | None] | None = field(default=None, compare=False)
    names_folders: bool = False

    def user_and_folder(self, name: bytes) -> tuple[bytes, str]:
        """What a client said, as user id and folder; that one is empty if there is none, or may be none."""
        if not self.names_folders or b"+" not in name:
            return name, ""
        user, _, folder = name.partition(b"+")
        folder, mark, domain = folder.partition(b"@")
        return user + mark + domain, folder.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Challenge:
    """The server wants another response; C{data} is not yet base64."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Authenticated:
    """
    The exchange succeeded.

    @ivar identity: Who the session acts as.
    @ivar authenticated_as: User id that proved itself, if another (a proxy).
    @ivar data: Final server data to send with success, not yet base64.
    @ivar folder: What followed the user id behind a plus sign, where that may be.
    """

    identity: Identity
    authenticated_as: str
    data: bytes | None = None
    folder: str = ""


class ISaslExchange(Interface):
    """The server's side of one SASL exchange (RFC 4422)."""

    async def step(response: bytes | None) -> Challenge | Authenticated:
        """
        Take a response, decoded from base64.

        @param response: None at the start, where there is no initial response.
        @raise AuthenticationFailed: One answer for every reason.
        @raise AuthenticationUnavailable: Cannot be told now.
        @raise AuthorizationDenied: Proved, but may not act as the other.
        @raise MalformedExchange: Not what the mechanism defines.
        """


class IAuthenticator(Interface):
    """Who may come in; failures are delayed here, never in protocols."""

    def mechanisms(channel: Channel) -> Sequence[str]:
        """SASL mechanisms to offer on this channel, strongest first."""

    def allows_plaintext(channel: Channel) -> bool:
        """Whether LOGIN, USER/PASS and the like work on this channel."""

    def start(mechanism: str, channel: Channel) -> ISaslExchange:
        """
        Begin an exchange.

        @raise MechanismUnavailable: Unknown, or not on this channel.
        @raise PlaintextRefused: Only under TLS.
        """

    async def login(user: bytes, password: bytes, channel: Channel) -> Authenticated:
        """
        Check a user name and password (IMAP LOGIN, POP3 USER/PASS).

        @raise AuthenticationFailed: As L{ISaslExchange.step}.
        """

    async def act(user_id: str, acting_as: bytes, channel: Channel) -> Authenticated:
        """
        Have somebody who has proved who it is, on this connection, act as another user than before.

        @param user_id: As L{Authenticated.authenticated_as}.
        @param acting_as: As the client wrote it.
        @raise AuthenticationFailed: As L{ISaslExchange.step}.
        @raise AuthorizationDenied: It may not.
        """

    def apop_timestamp(channel: Channel) -> bytes:
        """
        What a greeting of POP3 offers APOP with (RFC 1939 section 7).

        @return: C{<...@...>}, another each time; empty where there is no APOP.
        """

    async def apop(user: bytes, digest: bytes, said: bytes, channel: Channel) -> Authenticated:
        """
        Check a digest.

        @param digest: In hexadecimal digits.
        @param said: The timestamp of the greeting; empty if it had none.
        @raise AuthenticationFailed: As L{ISaslExchange.step}.
        @raise MechanismUnavailable: There is no APOP.
        """
