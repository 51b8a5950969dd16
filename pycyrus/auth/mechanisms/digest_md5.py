"""
DIGEST-MD5 (RFC 2831): for clients that know nothing better.

RFC 6331 has moved it to historic, so it is offered only where it is asked for.  There
is neither a security layer nor subsequent authentication; TLS does the work of the one.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from binascii import b2a_base64
from dataclasses import replace

from typing_extensions import override

from pycyrus.auth.mechanisms.base import Exchange, Verifier
from pycyrus.errors import AuthenticationFailed, MalformedExchange
from pycyrus.interfaces import Authenticated, Challenge

# RFC 2831 section 7.1: key=value or key="value", commas between them.
_DIRECTIVE = re.compile(
    rb"[ \t\r\n]*(?P<key>[A-Za-z0-9-]+)[ \t]*=[ \t]*"
    rb"(?:\"(?P<quoted>(?:[^\"\\\x00]|\\[^\x00])*)\"|(?P<token>[^\x00-\x20\",=\x7f]+))[ \t\r\n]*(?:,|\Z)"
)
_FORBIDDEN_TWICE = frozenset({"username", "realm", "nonce", "cnonce", "nc", "qop", "digest-uri", "response", "authzid"})
_NEEDED = ("username", "nonce", "cnonce", "nc", "digest-uri", "response")


class DigestMd5(Exchange):
    """One message of the client; the server's proof goes with success."""

    __slots__ = ("_ended", "_nonce")

    def __init__(self, verifier: Verifier) -> None:
        super().__init__(verifier)
        self._nonce = b""
        self._ended = False

    @override
    async def take(self, response: bytes | None) -> Challenge | Authenticated:
        if self._ended:
            raise MalformedExchange("response after the end")
        if not self._nonce:
            if response:
                self._ended = True
                raise MalformedExchange("an initial response is subsequent authentication, which is not offered")
            self._nonce = b2a_base64(secrets.token_bytes(24), newline=False)
            realm = self.verifier.server_name.encode("ascii", "replace")
            return Challenge(
                b'nonce="%b",realm="%b",qop="auth",charset=utf-8,algorithm=md5-sess' % (self._nonce, realm)
            )
        self._ended = True
        return await self._decide(parse_directives(response or b""))

    async def _decide(self, said: dict[str, bytes]) -> Authenticated:
        """RFC 2831 section 2.1.2."""
        if any(not said.get(key) for key in _NEEDED) or said.get("charset", b"utf-8").lower() != b"utf-8":
            raise MalformedExchange("not a digest-response")
        user, realm = said["username"], said.get("realm", b"")
        if said["nonce"] != self._nonce or said["nc"] != b"00000001" or said.get("qop", b"auth") != b"auth":
            raise AuthenticationFailed("another nonce, count or protection")
        if said["digest-uri"].partition(b"/")[0].lower() not in self.verifier.services:
            raise AuthenticationFailed("meant for another service")
        name = user
        if realm and b"@" not in user and realm != self.verifier.server_name.encode("ascii", "replace"):
            name = user + b"@" + realm
        secret = await self.verifier.secret(name)
        # Without a charset the client wrote ISO 8859-1 itself.
        names = [_latin(user), _latin(realm)] if "charset" in said else [user, realm]
        first = hashlib.md5(b":".join([*names, _latin(secret or b"")]))
        key = b":".join(
            [first.digest(), self._nonce, said["cnonce"], *([said["authzid"]] if "authzid" in said else [])]
        )
        right = _response(key, b"AUTHENTICATE:" + said["digest-uri"], said)
        if not hmac.compare_digest(right, said["response"]) or secret is None:
            raise AuthenticationFailed("wrong digest")
        authenticated = await self.verifier.proved(name, said.get("authzid", b""))
        # Section 2.1.3: the server knows the password too.
        proof = b"rspauth=" + _response(key, b":" + said["digest-uri"], said)
        return replace(authenticated, data=proof)


def parse_directives(text: bytes) -> dict[str, bytes]:
    """
    Take a digest-response apart.

    @return: Values by key, without their quotes.
    @raise MalformedExchange: It is none, or says something twice.
    """
    found: dict[str, bytes] = {}
    position = 0
    while position < len(text):
        match = _DIRECTIVE.match(text, position)
        if match is None:
            raise MalformedExchange("not a digest-response")
        key = match["key"].decode("ascii").lower()
        if key in found and key in _FORBIDDEN_TWICE:
            raise MalformedExchange("a directive twice")
        quoted = match["quoted"]
        found[key] = match["token"] if quoted is None else re.sub(rb"\\(.)", rb"\1", quoted, flags=re.DOTALL)
        position = match.end()
    return found


def _response(key: bytes, what: bytes, said: dict[str, bytes]) -> bytes:
    """RFC 2831 section 2.1.2.1: KD(HEX(H(A1)), nonce:nc:cnonce:qop:HEX(H(A2)))."""
    parts = (_hex(key), said["nonce"], said["nc"], said["cnonce"], b"auth", _hex(what))
    return _hex(b":".join(parts))


def _hex(data: bytes) -> bytes:
    return hashlib.md5(data).hexdigest().encode("ascii")


def _latin(text: bytes) -> bytes:
    """What ISO 8859-1 can write is hashed so, even where it was sent in UTF-8 (RFC 2831 section 2.1.2.1)."""
    try:
        return text.decode("utf-8").encode("iso8859-1")
    except UnicodeError:
        return text
