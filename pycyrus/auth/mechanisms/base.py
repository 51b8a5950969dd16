"""What SASL mechanisms stand on: one exchange, and who decides about it."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import ClassVar, Protocol

from typing_extensions import override

from pycyrus.auth.interfaces import ScramKeys
from pycyrus.errors import MalformedExchange
from pycyrus.interfaces import Authenticated, Challenge

LONGEST = 4096
"""Octets of a response that most mechanisms have any use for."""

LONGEST_PASSWORD = 1024

TLS_EXPORTER = b"tls-exporter"
"""A kind of channel binding (RFC 9266 section 2): safe with any TLS."""
TLS_UNIQUE = b"tls-unique"
"""What was before it (RFC 5929 section 3): not with TLS 1.3, and safe with the extended master secret only."""


def timestamp(server_name: str) -> bytes:
    """What was never said before, in the form of a message id (RFC 2195 section 2, RFC 1939 section 7)."""
    name = server_name.encode("ascii", "replace")
    return b"<%d.%d@%b>" % (secrets.randbits(96), int(time.time()), name)


class Verifier(Protocol):
    """
    Decides for an exchange; the mechanisms only take messages apart.

    @ivar tried: The user id as the client sent it, for logs and delays; empty as
        long as it sent none.
    @ivar server_name: How this server calls itself.
    @ivar services: The service's names in GSSAPI and the like (C{imap}), lower case.
    """

    tried: bytes
    server_name: str
    services: frozenset[bytes]

    async def password(self, user: bytes, password: bytes, acting_as: bytes) -> Authenticated:
        """
        Check a password.

        @param user: Who proves to be who they are.
        @param acting_as: The authorisation identity; empty for the same.
        @raise AuthenticationFailed: One answer for every reason.
        @raise AuthenticationUnavailable: Cannot be told now.
        @raise AuthorizationDenied: Proved, but may not act as the other.
        """

    async def keys(self, user: bytes, mechanism: str) -> ScramKeys:
        """
        Keys of a user, or keys that nothing matches.

        @raise AuthenticationUnavailable: Cannot be told now.
        """

    async def secret(self, user: bytes) -> bytes | None:
        """
        The password of a user, for mechanisms that compute with it.

        @return: None if there is none; the exchange goes on to its end all the same.
        @raise AuthenticationFailed: Nobody can have that name.
        @raise AuthenticationUnavailable: Cannot be told now.
        """

    async def token(self, token: bytes, acting_as: bytes) -> Authenticated:
        """
        Check an access token.

        @param token: Empty if the client sent none.
        @raise AuthenticationFailed: It is not valid, or not for us.
        @raise AuthenticationUnavailable: Cannot be told now.
        @raise AuthorizationDenied: As C{password}.
        """

    async def anonymous(self, trace: bytes) -> Authenticated:
        """
        Let in somebody who does not say who they are.

        @param trace: What they left for the log.
        """

    def channel_binding(self, kind: bytes) -> bytes:
        """
        What binds to the TLS channel.

        @param kind: L{TLS_EXPORTER} or L{TLS_UNIQUE}.
        @return: Empty where there is nothing of that kind.
        """

    def offers_binding(self) -> bool:
        """Whether the client was offered a mechanism that binds to the channel."""

    async def certificate(self, acting_as: bytes) -> Authenticated:
        """
        Take the name in the client's certificate for who it is.

        @raise AuthenticationFailed: No certificate, or no single name in it.
        @raise AuthorizationDenied: As C{password}.
        """

    async def proved(self, user: bytes, acting_as: bytes) -> Authenticated:
        """
        The mechanism itself has proved who it is.

        @raise AuthenticationFailed: Not one that may log in.
        @raise AuthorizationDenied: As C{password}.
        """


@dataclass(slots=True)
class Exchange:
    """
    The server's side of one exchange.

    Subclasses say in C{take} what a response means, and refuse any after the last.

    @cvar longest: Octets of a response at most.
    """

    longest: ClassVar[int] = LONGEST

    verifier: Verifier

    async def step(self, response: bytes | None) -> Challenge | Authenticated:
        """See L{pycyrus.interfaces.ISaslExchange.step}."""
        if response is not None and len(response) > self.longest:
            raise MalformedExchange("response too long")
        return await self.take(response)

    async def take(self, response: bytes | None) -> Challenge | Authenticated:
        """
        Take a response of acceptable length.

        @param response: None if the client waits to be asked.
        @raise MalformedExchange: Not a message of the mechanism, or one too many.
        """
        raise NotImplementedError


@dataclass(slots=True)
class SingleMessage(Exchange):
    """An exchange of one message of the client, which it may send unasked (RFC 4422 section 3.3)."""

    ended: bool = False

    @override
    async def take(self, response: bytes | None) -> Challenge | Authenticated:
        if self.ended:
            raise MalformedExchange("response after the end")
        if response is None:
            return Challenge(b"")
        self.ended = True
        return await self.decide(response)

    async def decide(self, message: bytes) -> Authenticated:
        """
        Say whether the message lets the client in.

        @raise MalformedExchange: Not a message of the mechanism.
        """
        raise NotImplementedError
