"""An OAuth authority of its own: issues tokens, publishes keys, answers about tokens; HTTPS on the loopback."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from typing_extensions import override

from pycyrus.net.selfsigned import generate

ISSUER = "https://login.test"
AUDIENCE = "mail"


class _Page(Resource):
    """Calls a function of the authority."""

    isLeaf = True  # noqa: N815 - twisted.web

    def __init__(self, answer: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._answer = answer

    @override
    def render(self, request: Request) -> Any:
        return self._answer(request)


class Authority:
    """
    One authority.

    @ivar keys: Private keys by their ids.
    @ivar answers: What is said of tokens that are asked about, by token.
    @ivar asked: How often keys, and answers, were asked for.
    @ivar mood: C{well}, C{silent}, C{broken} or C{huge}.
    """

    def __init__(self, reactor: Any, directory: Path) -> None:
        self.certificate = directory / "authority.pem"
        generate(self.certificate, directory / "authority.key")
        self.keys: dict[str, Any] = {
            "one": rsa.generate_private_key(65537, 2048),
            "two": ec.generate_private_key(ec.SECP256R1()),
        }
        self.answers: dict[str, Any] = {}
        self.asked = {"keys": 0, "answers": 0}
        self.credentials: list[str | None] = []
        self.mood = "well"
        root = Resource()
        root.putChild(b"keys", _Page(self._give_keys))
        root.putChild(b"introspect", _Page(self._answer))
        factory = DefaultOpenSSLContextFactory(str(directory / "authority.key"), str(self.certificate))
        self.port = reactor.listenSSL(0, Site(root), factory, interface="127.0.0.1")
        self._open: list[Request] = []

    def url(self, path: str) -> str:
        """Where something is."""
        return f"https://localhost:{self.port.getHost().port}/{path}"

    def key_set(self) -> dict[str, Any]:
        """The public keys, as JSON."""
        found = []
        for key_id, key in self.keys.items():
            numbers = key.public_key().public_numbers()
            if isinstance(key, rsa.RSAPrivateKey):
                found.append({"kid": key_id, "kty": "RSA", "use": "sig", "n": _text(numbers.n), "e": _text(numbers.e)})
            else:
                found.append({"kid": key_id, "kty": "EC", "crv": "P-256", "x": _text(numbers.x), "y": _text(numbers.y)})
        return {"keys": found}

    def token(self, user: str, key_id: str = "one", *, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """Issue a token; claims of None are left out."""
        key = self.keys[key_id]
        all_claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": user,
            "exp": int(time.time()) + 600,
            "iat": int(time.time()),
            **claims,
        }
        algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
        body = {name: value for name, value in all_claims.items() if value is not None}
        return jwt.encode(body, key, algorithm, headers={"kid": key_id, **(header or {})})

    async def stop(self) -> None:
        """Close everything."""
        for request in self._open:
            request.loseConnection()
        await self.port.stopListening()

    def _give_keys(self, request: Request) -> Any:
        self.asked["keys"] += 1
        return self._say(request, self.key_set())

    def _answer(self, request: Request) -> Any:
        self.asked["answers"] += 1
        self.credentials.append(request.getHeader("authorization"))
        token = request.args[b"token"][0].decode("ascii")
        return self._say(request, self.answers.get(token, {"active": False}))

    def _say(self, request: Request, what: Any) -> Any:
        if self.mood == "silent":
            self._open.append(request)
            return NOT_DONE_YET
        if self.mood == "broken":
            request.setResponseCode(500)
        if self.mood == "huge":
            return b" " * 1_000_000
        request.setHeader("content-type", "application/json")
        request.setHeader("connection", "close")
        return json.dumps(what).encode("utf-8")


def _text(number: int) -> str:
    return urlsafe_b64encode(number.to_bytes((number.bit_length() + 7) // 8, "big")).rstrip(b"=").decode("ascii")
