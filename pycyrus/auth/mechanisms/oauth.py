"""OAUTHBEARER (RFC 7628), and XOAUTH2, which was there before it: an access token proves who it is."""

from __future__ import annotations

import json
import re
from typing import ClassVar, Protocol

from typing_extensions import override

from pycyrus.auth.mechanisms.base import Exchange, Verifier
from pycyrus.auth.mechanisms.scram import unescape
from pycyrus.errors import AuthenticationFailed, MalformedExchange
from pycyrus.interfaces import Authenticated, Challenge
from pycyrus.wire.sasl import LONGEST_RESPONSE

# RFC 7628 section 3.1: a GS2 header, then key=value pairs, each ended by 0x01, and one more.
_BEARER = re.compile(
    rb"(?P<flag>n|y|p=[A-Za-z0-9.-]+),(?:a=(?P<acting>[^,\x00\x01]+))?,\x01(?P<pairs>(?:[^\x00]*\x01)?)\x01\Z"
)
_XOAUTH2 = re.compile(rb"user=(?P<acting>[^\x00\x01]*)\x01(?P<pairs>[^\x00]*\x01)\x01\Z")
_TOKEN = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +(?P<token>[A-Za-z0-9._~+/-]+=*) *\Z")


class Tokens(Protocol):
    """As L{pycyrus.auth.oauth.tokens.TokenVerifier}."""

    async def user_of(self, token: bytes) -> bytes:
        """Say whose a token is."""

    def refusal(self) -> dict[str, str]:
        """What a client is told with C{invalid_token} (RFC 7628 section 3.2.2)."""


class _Bearer(Exchange):
    """One message; a second, without meaning, where the first was refused."""

    __slots__ = ("_ended", "_refused", "_tokens")

    longest: ClassVar[int] = LONGEST_RESPONSE

    def __init__(self, verifier: Verifier, tokens: Tokens) -> None:
        super().__init__(verifier)
        self._tokens = tokens
        self._refused: AuthenticationFailed | None = None
        self._ended = False

    @override
    async def take(self, response: bytes | None) -> Challenge | Authenticated:
        if self._ended:
            raise MalformedExchange("response after the end")
        if self._refused is not None:
            # RFC 7628 section 3.2.3: the client answers the error, and only then it is over.
            self._ended = True
            raise self._refused
        if response is None:
            return Challenge(b"")
        self._ended = True
        acting_as, token = self.read(response)
        try:
            return await self.verifier.token(token, acting_as)
        except AuthenticationFailed as error:
            self._refused, self._ended = error, False
            return Challenge(json.dumps(self.refusal(self._tokens.refusal())).encode("ascii"))

    def read(self, message: bytes) -> tuple[bytes, bytes]:
        """
        Take the message apart.

        @return: Who to act as, which may be empty, and the token.
        @raise MalformedExchange: It is none.
        """
        raise NotImplementedError

    def refusal(self, about: dict[str, str]) -> dict[str, str]:
        """What the client is told."""
        return {"status": "invalid_token", **about}


class OAuthBearer(_Bearer):
    """RFC 7628 section 3."""

    __slots__ = ()

    @override
    def read(self, message: bytes) -> tuple[bytes, bytes]:
        found = _BEARER.match(message)
        if found is None:
            raise MalformedExchange("not an OAUTHBEARER message")
        if found["flag"].startswith(b"p"):
            raise AuthenticationFailed("channel binding, which this mechanism has not")
        return unescape(found["acting"] or b""), _token(found["pairs"])


class XOAuth2(_Bearer):
    """As Google defined it; its user is who to act as."""

    __slots__ = ()

    @override
    def read(self, message: bytes) -> tuple[bytes, bytes]:
        found = _XOAUTH2.match(message)
        if found is None:
            raise MalformedExchange("not an XOAUTH2 message")
        return found["acting"], _token(found["pairs"])

    @override
    def refusal(self, about: dict[str, str]) -> dict[str, str]:
        return {"status": "401", "schemes": "bearer", **{key: about[key] for key in ("scope",) if key in about}}


def _token(pairs: bytes) -> bytes:
    """The token of C{auth=Bearer ...}; empty where there is none, which is asked for in RFC 7628 section 4.3."""
    found = [pair[5:] for pair in pairs.split(b"\x01") if pair.startswith(b"auth=")]
    if len(found) > 1:
        raise MalformedExchange("two tokens")
    match = _TOKEN.match(found[0]) if found else None
    if found and match is None:
        raise MalformedExchange("not a bearer token")
    return match["token"] if match is not None else b""
