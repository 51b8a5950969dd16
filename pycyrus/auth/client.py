"""
The client's side of SASL (RFC 4422), for the connections that this server opens itself.

No input or output: the protocols carry the messages, in base64 or not.  The server is
not believed more than must be: under SCRAM it has to prove that it knows the password
too, and a password goes out in clear only under TLS, or where that was allowed.
"""

from __future__ import annotations

import hmac
import re
import secrets
from binascii import Error, a2b_base64, b2a_base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import pbkdf2_hmac

from scramp import ScramException
from scramp.utils import saslprep
from typing_extensions import override

from pycyrus.auth.kerberos import Initiator, is_available
from pycyrus.auth.mechanisms.base import TLS_EXPORTER
from pycyrus.auth.mechanisms.scram import SHA1, SHA256, Hash
from pycyrus.errors import AuthenticationFailed, MalformedExchange, MechanismUnavailable

FEWEST_ITERATIONS = 4096
"""Of SCRAM (RFC 7677 section 4): with fewer a listener could try many passwords."""

MOST_ITERATIONS = 600_000
"""A server may not keep the client computing for longer than some tenths of a second."""

LONGEST_CHALLENGE = 8192
"""Octets of a server's message."""

_SERVER_FIRST = re.compile(
    rb"r=(?P<nonce>[\x21-\x2b\x2d-\x7e]+),s=(?P<salt>[A-Za-z0-9+/=]+),i=(?P<count>[1-9][0-9]{0,8})(?:,[A-Za-z]=[^,\x00]+)*\Z"
)
_SERVER_FINAL = re.compile(rb"v=(?P<signature>[A-Za-z0-9+/=]+)(?:,[A-Za-z]=[^,\x00]+)*\Z")


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """
    Who to be towards another server.

    @ivar authentication_id: Who proves to be who they are.
    @ivar authorization_id: Who to act as; empty for the same.
    @ivar realm: Put behind the authentication id with C{@} where it has none.
    @ivar password: None where a client certificate or a Kerberos ticket proves it.
    """

    authentication_id: str
    authorization_id: str = ""
    realm: str = ""
    password: str | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The authentication id with its realm."""
        if not self.realm or "@" in self.authentication_id:
            return self.authentication_id
        return f"{self.authentication_id}@{self.realm}"


class ClientExchange:
    """
    One exchange, the client's side.

    @ivar mechanism: What to name in AUTHENTICATE or AUTH.
    """

    mechanism: str

    def initial(self) -> bytes | None:
        """
        The message that the client sends first; None where the server begins.

        Where the protocol or the server knows no initial response, it answers the
        server's first, empty challenge.
        """
        raise NotImplementedError

    def step(self, challenge: bytes) -> bytes:
        """
        Answer a challenge.

        It may compute for some tenths of a second (SCRAM with a new salt), or ask another
        server (GSSAPI, whose L{initial} does so too): L{is_slow} tells.

        @raise AuthenticationFailed: The server could not prove itself.
        @raise MalformedExchange: Not what the mechanism defines, or one too many.
        """
        raise NotImplementedError

    def is_slow(self, challenge: bytes | None) -> bool:
        """
        Whether L{step} may take some tenths of a second, which is for a thread.

        @param challenge: None to ask about L{initial}.
        """
        return False

    def finished(self, data: bytes | None) -> None:
        """
        The server says that the exchange succeeded.

        @param data: What came with success; None for nothing.
        @raise AuthenticationFailed: The server has not proved itself.
        @raise MalformedExchange: It ended too early, or with data that do not belong there.
        """
        raise NotImplementedError


class _OneMessage(ClientExchange):
    """A mechanism whose only message comes from the client."""

    def __init__(self, mechanism: str, message: bytes) -> None:
        self.mechanism = mechanism
        self._message = message
        self._sent = False

    @override
    def initial(self) -> bytes | None:
        self._sent = True
        return self._message

    @override
    def step(self, challenge: bytes) -> bytes:
        if self._sent or challenge:
            raise MalformedExchange("a challenge, where the mechanism has none")
        self._sent = True
        return self._message

    @override
    def finished(self, data: bytes | None) -> None:
        if not self._sent or data:
            raise MalformedExchange("success too early, or with data")


class ScramClient(ClientExchange):
    """SCRAM (RFC 5802 section 5, RFC 7677), with a binding to TLS where there is one."""

    def __init__(
        self, function: Hash, credentials: ClientCredentials, binding: bytes = b"", *, is_bound: bool = False
    ) -> None:
        """
        @param binding: Of the TLS channel, C{tls-exporter}; empty where there is none.
        @param is_bound: Use the variant with -PLUS.  If not, and there is a binding,
            the server is told that none was offered.
        @raise AuthenticationFailed: The password cannot be used (RFC 4013).
        """
        self.mechanism = function.mechanism + ("-PLUS" if is_bound else "")
        self._hash = function
        self._password = _prepared(credentials.password or "")
        flag = b"p=" + TLS_EXPORTER if is_bound else b"y" if binding else b"n"
        acting_as = credentials.authorization_id.encode("utf-8")
        self._header = b"%b,%b," % (flag, b"a=" + _escape(acting_as) if acting_as else b"")
        self._binding = binding if is_bound else b""
        self._nonce = b2a_base64(secrets.token_bytes(24), newline=False)
        self._bare = b"n=%b,r=%b" % (_escape(_prepared(credentials.name)), self._nonce)
        self._signature = b""
        self._state = "new"

    @override
    def initial(self) -> bytes | None:
        self._state = "first"
        return self._header + self._bare

    @override
    def step(self, challenge: bytes) -> bytes:
        if len(challenge) > LONGEST_CHALLENGE:
            raise MalformedExchange("challenge too long")
        state, self._state = self._state, "failed"
        if state == "new" and not challenge:
            first = self.initial()
            assert first is not None
            return first
        if state == "first":
            answer = self._prove(challenge)
            self._state = "final"
            return answer
        if state == "final":
            self._verify(challenge)
            self._state = "proved"
            return b""
        raise MalformedExchange("a challenge too many")

    @override
    def is_slow(self, challenge: bytes | None) -> bool:
        message = _SERVER_FIRST.match(challenge) if challenge is not None and self._state == "first" else None
        if message is None:
            return False
        return (self._hash.name, self._password, message["salt"], message["count"]) not in _known

    @override
    def finished(self, data: bytes | None) -> None:
        if self._state == "final" and data is not None:
            self._verify(data)
            self._state = "proved"
        elif self._state != "proved" or data:
            # Whoever does not show the signature does not know the password.
            raise AuthenticationFailed("the server says that all is well, and has not proved itself")

    def _prove(self, challenge: bytes) -> bytes:
        """Server-first-message to client-final-message."""
        message = _SERVER_FIRST.match(challenge)
        if message is None:
            raise MalformedExchange("not a server-first-message")
        nonce, count = message["nonce"], int(message["count"])
        if not nonce.startswith(self._nonce) or len(nonce) <= len(self._nonce):
            raise AuthenticationFailed("the server's nonce does not continue ours")
        if not FEWEST_ITERATIONS <= count <= MOST_ITERATIONS:
            raise AuthenticationFailed("an iteration count that is not acceptable")
        salted = _salted(self._hash.name, self._password, message["salt"], message["count"])
        header = b2a_base64(self._header + self._binding, newline=False)
        unproved = b"c=%b,r=%b" % (header, nonce)
        said = b"%b,%b,%b" % (self._bare, challenge, unproved)
        client_key = self._hash.sign(salted, b"Client Key")
        signature = self._hash.sign(self._hash.digest(client_key), said)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        self._signature = self._hash.sign(self._hash.sign(salted, b"Server Key"), said)
        return b"%b,p=%b" % (unproved, b2a_base64(proof, newline=False))

    def _verify(self, final: bytes) -> None:
        """Server-final-message; its C{e=} is an error like any other."""
        message = _SERVER_FINAL.match(final)
        if message is None or not hmac.compare_digest(_decode(message["signature"]), self._signature):
            raise AuthenticationFailed("the server does not know the password")


class CramMd5Client(ClientExchange):
    """CRAM-MD5 (RFC 2195): one answer to one challenge, without a way to act as another."""

    mechanism = "CRAM-MD5"

    def __init__(self, credentials: ClientCredentials) -> None:
        self._name = credentials.name.encode("utf-8")
        self._password = (credentials.password or "").encode("utf-8")
        self._answered = False

    @override
    def initial(self) -> bytes | None:
        return None

    @override
    def step(self, challenge: bytes) -> bytes:
        if self._answered or not challenge or len(challenge) > LONGEST_CHALLENGE:
            raise MalformedExchange("not a CRAM-MD5 challenge")
        self._answered = True
        return self._name + b" " + hmac.new(self._password, challenge, "md5").hexdigest().encode("ascii")

    @override
    def finished(self, data: bytes | None) -> None:
        if not self._answered or data:
            raise MalformedExchange("success too early, or with data")


class GssapiClient(ClientExchange):
    """GSSAPI (RFC 4752 section 3.1); its steps ask a key distribution centre, and belong into a thread."""

    mechanism = "GSSAPI"

    def __init__(self, initiator: Initiator, authorization_id: str = "") -> None:
        self._initiator = initiator
        self._acting_as = authorization_id.encode("utf-8")
        self._ended = False

    @override
    def is_slow(self, challenge: bytes | None) -> bool:
        return True

    @override
    def initial(self) -> bytes | None:
        return self._initiator.step(None)

    @override
    def step(self, challenge: bytes) -> bytes:
        if self._ended or len(challenge) > LONGEST_CHALLENGE:
            raise MalformedExchange("a challenge too many, or too long")
        if not self._initiator.is_complete:
            return self._initiator.step(challenge or None)
        if not challenge:
            return b""
        self._ended = True
        return self._initiator.answer(challenge, self._acting_as)

    @override
    def finished(self, data: bytes | None) -> None:
        if not self._ended or data:
            raise AuthenticationFailed("success before the exchange was over")


@dataclass(frozen=True, slots=True)
class _Situation:
    """What decides which mechanisms can be used."""

    credentials: ClientCredentials
    tls: bool
    allow_plaintext: bool
    binding: bytes
    service: str
    host: str

    @property
    def has_password(self) -> bool:
        return self.credentials.password is not None


def _plain(situation: _Situation) -> ClientExchange:
    """RFC 4616 section 2."""
    credentials = situation.credentials
    parts = (credentials.authorization_id, credentials.name, credentials.password or "")
    if any("\0" in part for part in parts) or not all(parts[1:]):
        raise AuthenticationFailed("a name or password that PLAIN cannot carry")
    return _OneMessage("PLAIN", "\0".join(parts).encode("utf-8"))


def _external(situation: _Situation) -> ClientExchange:
    """RFC 4422 appendix A."""
    return _OneMessage("EXTERNAL", situation.credentials.authorization_id.encode("utf-8"))


def _scram(function: Hash, *, is_bound: bool = False) -> Callable[[_Situation], ClientExchange]:
    return lambda situation: ScramClient(function, situation.credentials, situation.binding, is_bound=is_bound)


@dataclass(frozen=True, slots=True)
class _ClientMechanism:
    name: str
    fits: Callable[[_Situation], bool]
    make: Callable[[_Situation], ClientExchange]


def _binds(situation: _Situation) -> bool:
    return situation.has_password and situation.tls and bool(situation.binding)


_MECHANISMS = (
    _ClientMechanism("EXTERNAL", lambda where: where.tls and not where.has_password, _external),
    _ClientMechanism(
        "GSSAPI",
        lambda where: not where.has_password and bool(where.host) and is_available(),
        lambda where: GssapiClient(Initiator(where.service, where.host), where.credentials.authorization_id),
    ),
    _ClientMechanism("SCRAM-SHA-256-PLUS", _binds, _scram(SHA256, is_bound=True)),
    _ClientMechanism("SCRAM-SHA-1-PLUS", _binds, _scram(SHA1, is_bound=True)),
    _ClientMechanism("SCRAM-SHA-256", lambda where: where.has_password, _scram(SHA256)),
    _ClientMechanism("SCRAM-SHA-1", lambda where: where.has_password, _scram(SHA1)),
    _ClientMechanism("PLAIN", lambda where: where.has_password and (where.tls or where.allow_plaintext), _plain),
    # Behind PLAIN under TLS, because the server must keep the password itself for it.
    _ClientMechanism(
        "CRAM-MD5",
        lambda where: where.has_password and not where.credentials.authorization_id,
        lambda situation: CramMd5Client(situation.credentials),
    ),
)


def choose(
    offered: Sequence[str],
    credentials: ClientCredentials,
    *,
    tls: bool,
    allow_plaintext: bool = False,
    only: Sequence[str] = (),
    binding: bytes = b"",
    service: str = "imap",
    host: str = "",
) -> ClientExchange:
    """
    Begin with the strongest mechanism that both sides can do.

    @param offered: What the server offers, in any case.
    @param tls: TLS is active.
    @param allow_plaintext: Send a password in clear even without it.
    @param only: Mechanisms to choose from (C{force_sasl_client_mech}); empty for all.
    @param binding: The TLS channel's C{tls-exporter} value (RFC 9266 section 2); empty
        where there is none.
    @param service: The server's, for GSSAPI.
    @param host: The server's name, for GSSAPI; without it that is not used.
    @raise MechanismUnavailable: None fits.
    @raise AuthenticationFailed: The credentials cannot be used with it.
    """
    situation = _Situation(credentials, tls, allow_plaintext, binding if tls else b"", service, host)
    names = {name.upper() for name in offered}
    if only:
        names &= {name.upper() for name in only}
    for mechanism in _MECHANISMS:
        if mechanism.name in names and mechanism.fits(situation):
            return mechanism.make(situation)
    raise MechanismUnavailable(f"of {' '.join(sorted(offered)) or 'no mechanisms'} none can be used")


_known: dict[tuple[str, bytes, bytes, bytes], bytes] = {}
_MOST_KNOWN = 64


def _salted(function: str, password: bytes, salt: bytes, iterations: bytes) -> bytes:
    """SaltedPassword; kept, as RFC 5802 section 5.1 suggests, because the same peers are asked again and again."""
    key = (function, password, salt, iterations)
    salted = _known.get(key)
    if salted is None:
        salted = pbkdf2_hmac(function, password, _decode(salt), int(iterations))
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        _known[key] = salted
    return salted


def _prepared(text: str) -> bytes:
    if text.isascii() and text.isprintable():
        # RFC 4013 section 2 changes nothing there.
        return text.encode("ascii")
    try:
        return str(saslprep(text)).encode("utf-8")
    except ScramException as error:
        raise AuthenticationFailed("a name or password that SCRAM cannot carry") from error


def _escape(name: bytes) -> bytes:
    """RFC 5802 section 5.1."""
    return name.replace(b"=", b"=3D").replace(b",", b"=2C")


def _decode(text: bytes) -> bytes:
    try:
        return a2b_base64(text, strict_mode=True)
    except Error as error:
        raise MalformedExchange("not base64") from error
