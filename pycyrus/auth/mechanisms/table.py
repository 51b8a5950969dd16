"""The SASL mechanisms, strongest first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pycyrus.auth.interfaces import IScramKeyStore, ISharedSecrets, Run
from pycyrus.auth.mechanisms.anonymous import Anonymous
from pycyrus.auth.mechanisms.base import Exchange, Verifier
from pycyrus.auth.mechanisms.cram_md5 import CramMd5
from pycyrus.auth.mechanisms.digest_md5 import DigestMd5
from pycyrus.auth.mechanisms.external import External
from pycyrus.auth.mechanisms.gssapi import Gssapi, Tickets
from pycyrus.auth.mechanisms.login import Login
from pycyrus.auth.mechanisms.oauth import OAuthBearer, Tokens, XOAuth2
from pycyrus.auth.mechanisms.plain import Plain
from pycyrus.auth.mechanisms.scram import SHA1, SHA256, Hash, Scram


@dataclass(frozen=True, slots=True)
class Sources:
    """
    What a service has that mechanisms stand on; None or False for what it has not.

    @ivar keys: Of passwords, for SCRAM.
    @ivar secrets: Passwords as they are, for CRAM-MD5 and its like.
    @ivar tickets: Where GSSAPI's contexts come from.
    @ivar tokens: Says whose access tokens are.
    @ivar run: Runs what takes long elsewhere.
    @ivar anonymous: Whether those who do not say who they are come in
        (C{allowanonymouslogin}).
    @ivar server_name: How this server calls itself.
    @ivar services: The service's names in other systems, such as C{imap}.
    """

    keys: IScramKeyStore | None = None
    secrets: ISharedSecrets | None = None
    tickets: Tickets | None = None
    run: Run | None = None
    tokens: Tokens | None = None
    anonymous: bool = False
    server_name: str = "localhost"
    services: frozenset[bytes] = frozenset({b"imap"})


@dataclass(frozen=True, slots=True)
class Mechanism:
    """
    One row.

    @ivar name: As registered with IANA.
    @ivar make: Begins an exchange.
    @ivar plaintext: What crosses the connection lets others in too: a password, or a
        token; only under TLS, unless C{allowplaintext} says otherwise.
    @ivar source: The field of L{Sources} without which it cannot be had.
    @ivar certificate: It needs a client certificate that names a user.
    @ivar binds: It binds to the TLS channel; needs one that can be bound to.
    @ivar by_name: Only where C{sasl_mech_list} names it.
    @ivar rfc: Where it is defined.
    """

    name: str
    make: Callable[[Verifier, Sources], Exchange]
    plaintext: bool = False
    source: str = ""
    certificate: bool = False
    binds: bool = False
    by_name: bool = False
    rfc: str = ""

    def is_possible(self, sources: Sources) -> bool:
        """Whether a service has what it stands on."""
        return not self.source or bool(getattr(sources, self.source))


def _scram(function: Hash, rfc: str, *, is_bound: bool = False) -> Mechanism:
    return Mechanism(
        function.mechanism + ("-PLUS" if is_bound else ""),
        lambda verifier, sources: Scram(verifier, function, is_bound=is_bound),
        source="keys",
        binds=is_bound,
        rfc=rfc,
    )


def _gssapi(verifier: Verifier, sources: Sources) -> Exchange:
    assert sources.tickets is not None
    assert sources.run is not None
    return Gssapi(verifier, sources.tickets, sources.run)


def _bearer(kind: Callable[[Verifier, Tokens], Exchange]) -> Callable[[Verifier, Sources], Exchange]:
    def make(verifier: Verifier, sources: Sources) -> Exchange:
        assert sources.tokens is not None
        return kind(verifier, sources.tokens)

    return make


def _simple(kind: Callable[[Verifier], Exchange]) -> Callable[[Verifier, Sources], Exchange]:
    return lambda verifier, sources: kind(verifier)


MECHANISMS = (
    Mechanism("EXTERNAL", _simple(External), certificate=True, rfc="4422 A"),
    _scram(SHA256, "7677", is_bound=True),
    _scram(SHA1, "5802", is_bound=True),
    Mechanism("GSSAPI", _gssapi, source="tickets", rfc="4752"),
    _scram(SHA256, "7677"),
    _scram(SHA1, "5802"),
    Mechanism("DIGEST-MD5", _simple(DigestMd5), source="secrets", by_name=True, rfc="2831"),
    Mechanism("CRAM-MD5", _simple(CramMd5), source="secrets", rfc="2195"),
    Mechanism("OAUTHBEARER", _bearer(OAuthBearer), plaintext=True, source="tokens", rfc="7628"),
    Mechanism("XOAUTH2", _bearer(XOAuth2), plaintext=True, source="tokens"),
    Mechanism("PLAIN", _simple(Plain), plaintext=True, rfc="4616"),
    Mechanism("LOGIN", _simple(Login), plaintext=True),
    Mechanism("ANONYMOUS", _simple(Anonymous), source="anonymous", rfc="4505"),
)
