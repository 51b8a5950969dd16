"""The SASL mechanisms, strongest first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pycyrus.auth.mechanisms.base import Exchange, Verifier
from pycyrus.auth.mechanisms.external import External
from pycyrus.auth.mechanisms.login import Login
from pycyrus.auth.mechanisms.plain import Plain
from pycyrus.auth.mechanisms.scram import SHA1, SHA256, Scram


@dataclass(frozen=True, slots=True)
class Mechanism:
    """
    One row.

    @ivar name: As registered with IANA.
    @ivar make: Begins an exchange.
    @ivar plaintext: The password crosses the connection; only under TLS, unless
        C{allowplaintext} says otherwise.
    @ivar keys: It needs stored SCRAM keys.
    @ivar certificate: It needs a client certificate that names a user.
    @ivar binds: It binds to the TLS channel; needs one that can be bound to.
    @ivar rfc: Where it is defined.
    """

    name: str
    make: Callable[[Verifier], Exchange]
    plaintext: bool = False
    keys: bool = False
    certificate: bool = False
    binds: bool = False
    rfc: str = ""


MECHANISMS = (
    Mechanism("EXTERNAL", External, certificate=True, rfc="4422 A"),
    Mechanism(
        "SCRAM-SHA-256-PLUS",
        lambda verifier: Scram(verifier, SHA256, is_bound=True),
        keys=True,
        binds=True,
        rfc="7677",
    ),
    Mechanism(
        "SCRAM-SHA-1-PLUS", lambda verifier: Scram(verifier, SHA1, is_bound=True), keys=True, binds=True, rfc="5802"
    ),
    Mechanism("SCRAM-SHA-256", lambda verifier: Scram(verifier, SHA256), keys=True, rfc="7677"),
    Mechanism("SCRAM-SHA-1", lambda verifier: Scram(verifier, SHA1), keys=True, rfc="5802"),
    Mechanism("PLAIN", Plain, plaintext=True, rfc="4616"),
    Mechanism("LOGIN", Login, plaintext=True),
)
