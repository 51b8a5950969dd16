"""Whose an access token is: by its signature (RFC 9068), or by asking the authority (RFC 7662)."""

from __future__ import annotations

import hmac
import json
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

import jwt

from pycyrus.auth.oauth.http import Requests
from pycyrus.auth.oauth.keys import FetchedKeys, KeyFile, KeySource
from pycyrus.auth.oauth.settings import OAuthSettings
from pycyrus.errors import AuthenticationFailed, AuthenticationUnavailable

ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"})
"""Of signatures: with public keys only, so that nobody can pass one off as a shared secret (RFC 8725 section 2.1)."""

REMEMBERED = 60.0
"""Seconds for which an authority's answer about a token is believed: so long lives one that was withdrawn."""
MOST_REMEMBERED = 10_000
MOST_ASKED = 100
"""Requests to the authority at a time."""


class TokenVerifier:
    """Checks the tokens of one authority."""

    def __init__(self, settings: OAuthSettings, reactor: Any, time: Callable[[], float] = time.time) -> None:
        """
        @param reactor: Provides IReactorTime and IReactorTCP.
        @param time: Seconds since 1970, which tokens count in.
        @raise pycyrus.auth.oauth.settings.OAuthConfigurationError: Certificates cannot be read.
        """
        self.settings = settings
        self._time = time
        self._requests = Requests(reactor, settings.timeout, settings.authorities)
        self._keys: KeySource | None = None
        if settings.key_file is not None:
            self._keys = KeyFile(settings.key_file)
        elif settings.key_url:
            self._keys = FetchedKeys(self._requests, settings.key_url, reactor)
        self._secret = secrets.token_bytes(32)
        self._remembered: dict[bytes, tuple[float, bytes]] = {}
        self._asking = 0

    def refusal(self) -> dict[str, str]:
        """What a client is told with C{invalid_token} (RFC 7628 section 3.2.2)."""
        about = {"scope": self.settings.scope, "openid-configuration": self.settings.discovery_url}
        return {name: value for name, value in about.items() if value}

    async def user_of(self, token: bytes) -> bytes:
        """
        Say whose a token is.

        @return: The user id as the token has it.
        @raise AuthenticationFailed: It is not valid, or not for us.
        @raise AuthenticationUnavailable: It cannot be told now.
        """
        if self._keys is not None and token.count(b".") == 2:
            return await self._by_signature(token, self._keys)
        if self.settings.introspection_url:
            return await self._by_asking(token)
        raise AuthenticationFailed("not a JSON Web Token")

    async def _by_signature(self, token: bytes, keys: KeySource) -> bytes:
        settings = self.settings
        try:
            header = jwt.get_unverified_header(token)
            algorithm, key_id = header.get("alg"), header.get("kid", "")
            if algorithm not in ALGORITHMS or not isinstance(key_id, str):
                raise AuthenticationFailed("a token with a signature that is not taken")
            # The key is looked up by its id among those of the authority; addresses of
            # keys within the token (jku, x5u) and keys in it (jwk) are not looked at.
            found = await keys.find(key_id)
            if found is None:
                raise AuthenticationFailed("a token signed with an unknown key")
            if found.get("alg", algorithm) != algorithm:
                raise AuthenticationFailed("a token signed in another way than its key is for")
            claims = jwt.decode(
                token,
                jwt.PyJWK(dict(found), algorithm),
                algorithms=[algorithm],
                audience=list(settings.audiences),
                issuer=settings.issuer,
                leeway=settings.leeway,
                options={"require": ["exp", "iss", "aud", settings.user_claim]},
            )
        except jwt.PyJWTError as error:
            raise AuthenticationFailed(f"a token that does not hold: {type(error).__name__}") from error
        except (ValueError, TypeError) as error:
            raise AuthenticationFailed("a token that cannot be read") from error
        return self._user(claims)

    async def _by_asking(self, token: bytes) -> bytes:
        key = hmac.digest(self._secret, token, "sha256")
        now = self._time()
        remembered = self._remembered.get(key)
        if remembered is not None and remembered[0] > now:
            return remembered[1]
        if self._asking >= MOST_ASKED:
            raise AuthenticationUnavailable("too many tokens wait for the authority's answer")
        self._asking += 1
        try:
            claims = await self._answer(token)
        finally:
            self._asking -= 1
        lifetime = self._check_answer(claims)
        user = self._user(claims)
        self._remembered.pop(key, None)
        self._remembered[key] = (now + min(lifetime, REMEMBERED), user)
        if len(self._remembered) > MOST_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        return user

    async def _answer(self, token: bytes) -> Mapping[str, Any]:
        settings = self.settings
        fields = {"token": token.decode("ascii"), "token_type_hint": "access_token"}
        body = await self._requests.post(settings.introspection_url, fields, settings.client_id, settings.client_secret)
        try:
            claims = json.loads(body)
        except ValueError as error:
            raise AuthenticationUnavailable("the authority answers with something else than JSON") from error
        if not isinstance(claims, dict):
            raise AuthenticationUnavailable("the authority answers with something else than claims")
        return claims

    def _check_answer(self, claims: Mapping[str, Any]) -> float:
        """
        Look at what RFC 7662 section 2.2 has in an answer.

        @return: Seconds for which the token still holds.
        """
        settings = self.settings
        if claims.get("active") is not True:
            raise AuthenticationFailed("a token that does not hold")
        if claims.get("iss", settings.issuer) != settings.issuer:
            raise AuthenticationFailed("a token of another authority")
        audience = claims.get("aud")
        audiences = [audience] if isinstance(audience, str) else audience
        if audiences is not None and (
            not isinstance(audiences, list) or not set(map(str, audiences)) & set(settings.audiences)
        ):
            raise AuthenticationFailed("a token for another audience")
        expires = claims.get("exp")
        if expires is None:
            return REMEMBERED
        if not isinstance(expires, int | float) or isinstance(expires, bool):
            raise AuthenticationFailed("a token without a time of its end")
        left = expires + settings.leeway - self._time()
        if left <= 0:
            raise AuthenticationFailed("a token that has expired")
        return left

    def _user(self, claims: Mapping[str, Any]) -> bytes:
        settings = self.settings
        if settings.scope:
            scope = claims.get("scope", claims.get("scp", ""))
            held = scope.split() if isinstance(scope, str) else scope if isinstance(scope, list) else []
            if settings.scope not in held:
                raise AuthenticationFailed("a token without the scope")
        user = claims.get(settings.user_claim)
        if not isinstance(user, str) or not user:
            raise AuthenticationFailed("a token that names no user")
        if settings.user_claim == "email" and claims.get("email_verified", True) is not True:
            # Anybody can call themselves anything there.
            raise AuthenticationFailed("a token with a mail address that was not verified")
        return user.encode("utf-8")
