"""Which access tokens are taken."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class OAuthConfigurationError(Exception):
    """Tokens cannot be checked as asked; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class OAuthSettings:
    """
    One authority that issues tokens.

    @ivar issuer: The C{iss} that tokens must have.
    @ivar audiences: Of which a token's C{aud} must have one.
    @ivar key_file: A JSON Web Key Set (RFC 7517 section 5) as a file.
    @ivar key_url: The same, fetched.
    @ivar introspection_url: Where tokens are asked about that are no JSON Web Tokens,
        or for which there are no keys (RFC 7662).
    @ivar client_id: Who asks there.
    @ivar client_secret: With which password.
    @ivar authorities: Certificates, in PEM, that the URLs' servers are checked with;
        None for the system's.
    @ivar user_claim: The claim that holds the user id.
    @ivar scope: A scope that tokens must have; empty for any.
    @ivar discovery_url: Told to clients whose token was refused, so that they find where
        to get another (RFC 7628 section 3.2.2).
    @ivar leeway: Seconds by which clocks may differ.
    @ivar timeout: Seconds for a request.
    """

    issuer: str
    audiences: tuple[str, ...]
    key_file: Path | None = None
    key_url: str = ""
    introspection_url: str = ""
    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    authorities: Path | None = None
    user_claim: str = "sub"
    scope: str = ""
    discovery_url: str = ""
    leeway: float = 30.0
    timeout: float = 5.0

    def __post_init__(self) -> None:
        """@raise OAuthConfigurationError: Something is missing, or unsafe."""
        if not self.issuer or not self.audiences:
            # Without them any token of anybody for anything would do.
            raise OAuthConfigurationError("oauth_issuer and oauth_audience must be given")
        if self.key_file is None and not self.key_url and not self.introspection_url:
            raise OAuthConfigurationError(
                "one of oauth_jwks_file, oauth_jwks_url, oauth_introspection_url must be given"
            )
        for url in (self.key_url, self.introspection_url):
            parts = urlsplit(url)
            if url and parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
                raise OAuthConfigurationError(f"{url}: only https, or http to this machine itself")
