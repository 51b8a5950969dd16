"""
SCRAM (RFC 5802, RFC 7677): the server's side, with channel binding to TLS by RFC 9266 or RFC 5929.

The client proves that it knows the password, and the server that it knows the keys
made of it; neither shows them.  An unknown user gets the same exchange with keys
that nothing matches.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from binascii import Error, a2b_base64, b2a_base64
from dataclasses import dataclass, replace

from typing_extensions import override

from pycyrus.auth.interfaces import ScramKeys
from pycyrus.auth.mechanisms.base import Exchange, Verifier
from pycyrus.errors import AuthenticationFailed, MalformedExchange
from pycyrus.interfaces import Authenticated, Challenge

# RFC 5802 section 7.  The bare part is: name, nonce, extensions to ignore.
_FIRST = re.compile(
    rb"(?P<header>(?P<binding>n|y|p=[A-Za-z0-9.-]+),(?:a=(?P<acting>[^,\x00]+))?,)"
    rb"(?P<bare>n=(?P<user>[^,\x00]+),r=(?P<nonce>[\x21-\x2b\x2d-\x7e]+)(?:,[A-Za-z]=[^,\x00]+)*)\Z"
)
_FINAL = re.compile(
    rb"(?P<unproved>c=(?P<binding>[A-Za-z0-9+/=]+),r=(?P<nonce>[\x21-\x2b\x2d-\x7e]+)(?:,[A-Za-z]=[^,\x00]+)*)"
    rb",p=(?P<proof>[A-Za-z0-9+/=]+)\Z"
)


@dataclass(frozen=True, slots=True)
class Hash:
    """A member of the family."""

    mechanism: str
    name: str

    @property
    def size(self) -> int:
        """Octets of a digest."""
        return hashlib.new(self.name).digest_size

    def digest(self, data: bytes) -> bytes:
        """H()."""
        return hashlib.new(self.name, data).digest()

    def sign(self, key: bytes, data: bytes) -> bytes:
        """HMAC()."""
        return hmac.digest(key, data, self.name)


SHA1 = Hash("SCRAM-SHA-1", "sha1")
SHA256 = Hash("SCRAM-SHA-256", "sha256")


@dataclass(frozen=True, slots=True)
class _Started:
    """What the second message is compared with."""

    user: bytes
    acting_as: bytes
    header: bytes
    bare: bytes
    nonce: bytes
    answer: bytes
    keys: ScramKeys


class Scram(Exchange):
    """Two messages of the client, each answered."""

    __slots__ = ("_binding", "_ended", "_hash", "_is_bound", "_started")

    def __init__(self, verifier: Verifier, function: Hash, *, is_bound: bool = False) -> None:
        """@param is_bound: The variant with -PLUS, which must bind to the TLS channel."""
        super().__init__(verifier)
        self._hash = function
        self._is_bound = is_bound
        self._binding = b""
        self._started: _Started | None = None
        self._ended = False

    @override
    async def take(self, response: bytes | None) -> Challenge | Authenticated:
        if self._ended:
            raise MalformedExchange("response after the end")
        if self._started is None:
            if response is None:
                return Challenge(b"")
            return await self._first(response)
        self._ended = True
        return await self._final(response or b"", self._started)

    async def _first(self, response: bytes) -> Challenge:
        """RFC 5802 section 5: client-first-message to server-first-message."""
        message = _FIRST.match(response)
        if message is None:
            self._ended = True
            raise MalformedExchange("not a client-first-message")
        self._bind(message["binding"])
        user, acting_as = unescape(message["user"]), unescape(message["acting"] or b"")
        keys = await self.verifier.keys(user, self._hash.mechanism)
        nonce = message["nonce"] + b2a_base64(secrets.token_bytes(24), newline=False)
        answer = b"r=%b,s=%b,i=%d" % (nonce, b2a_base64(keys.salt, newline=False), keys.iterations)
        self._started = _Started(user, acting_as, message["header"], message["bare"], nonce, answer, keys)
        return Challenge(answer)

    def _bind(self, wanted: bytes) -> None:
        """
        Agree on the channel binding (RFC 5802 section 6).

        @param wanted: The client's flag, and the type of binding with C{p}.
        @raise AuthenticationFailed: The mechanism and the flag do not fit, or
            somebody hid from the client what was offered.
        """
        self._ended = True
        if wanted.startswith(b"p") != self._is_bound:
            raise AuthenticationFailed("channel binding and mechanism do not fit")
        if self._is_bound:
            binding = self.verifier.channel_binding(wanted[2:])
            if not binding:
                raise AuthenticationFailed("nothing to bind to in that way")
            self._binding = binding
        elif wanted == b"y" and self.verifier.offers_binding():
            # The client could bind and saw no mechanism that does, though one was
            # offered: the list was changed on the way.
            raise AuthenticationFailed("channel binding was offered, and not seen by the client")
        self._ended = False

    async def _final(self, response: bytes, started: _Started) -> Authenticated:
        """RFC 5802 section 5: client-final-message to server-final-message."""
        message = _FINAL.match(response)
        if message is None:
            raise MalformedExchange("not a client-final-message")
        proof = _decode(message["proof"])
        if len(proof) != self._hash.size:
            raise MalformedExchange("proof of the wrong length")
        # Section 3: the signature covers all that was said, so that nothing of it
        # can have been changed on the way.
        said = b"%b,%b,%b" % (started.bare, started.answer, message["unproved"])
        signature = self._hash.sign(started.keys.stored_key, said)
        client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
        is_right = (
            hmac.compare_digest(self._hash.digest(client_key), started.keys.stored_key)
            & hmac.compare_digest(_decode(message["binding"]), started.header + self._binding)
            & hmac.compare_digest(message["nonce"], started.nonce)
            & started.keys.usable
        )
        if not is_right:
            raise AuthenticationFailed("wrong proof")
        authenticated = await self.verifier.proved(started.user, started.acting_as)
        final = b"v=" + b2a_base64(self._hash.sign(started.keys.server_key, said), newline=False)
        return replace(authenticated, data=final)


def _decode(text: bytes) -> bytes:
    try:
        return a2b_base64(text, strict_mode=True)
    except Error as error:
        raise MalformedExchange("not base64") from error


def unescape(name: bytes) -> bytes:
    """Undo the writing of comma and equals sign (RFC 5802 section 5.1)."""
    if re.search(rb"=(?!2C|3D)", name):
        raise MalformedExchange("stray equals sign in a name")
    return name.replace(b"=2C", b",").replace(b"=3D", b"=")
