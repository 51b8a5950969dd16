"""Access tokens: of an authority of its own, shown by curl, and forged in every way that is known."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.auth.assemble import Authentication
from pycyrus.auth.authenticator import AuthSettings
from pycyrus.auth.checkers.chain import CheckerChain
from pycyrus.auth.delays import DelaySettings
from pycyrus.auth.mechanisms.oauth import OAuthBearer, XOAuth2
from pycyrus.auth.oauth.keys import PATIENCE, FetchedKeys, KeyFile, parse
from pycyrus.auth.oauth.settings import OAuthConfigurationError, OAuthSettings
from pycyrus.auth.oauth.tokens import TokenVerifier
from pycyrus.errors import AuthenticationFailed, AuthenticationUnavailable, MailStoreError, MalformedExchange
from pycyrus.interfaces import Authenticated, IAuthenticator
from pycyrus.test.auth.parts import CACHE, CLEAR, TLS, at_once
from pycyrus.test.auth.services import ServiceCase
from pycyrus.testing.authority import AUDIENCE, ISSUER, Authority
from pycyrus.testing.programs import find_program, run


class AuthorityCase(ServiceCase):
    """An authority, and services that trust it."""

    def setUp(self) -> None:
        super().setUp()
        self.authority = Authority(self.reactor, self.directory)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.authority.stop()))
        self.by_keys = OAuthSettings(
            ISSUER, (AUDIENCE,), key_url=self.authority.url("keys"), authorities=self.authority.certificate, timeout=60
        )
        self.by_asking = replace(
            self.by_keys,
            key_url="",
            introspection_url=self.authority.url("introspect"),
            client_id="mail server",
            client_secret="a:b",
        )
        self.tokens = TokenVerifier(self.by_keys, self.reactor)

    def authenticator(self, settings: AuthSettings) -> IAuthenticator:
        parts = Authentication(
            Clock(), CheckerChain([self.checker]), at_once, CACHE, DelaySettings(pause=0), tokens=self.tokens
        )
        return parts.authenticator(self.identities, settings)

    async def refuses(self, token: str | bytes, error: type[MailStoreError] = AuthenticationFailed) -> None:
        try:
            user = await self.tokens.user_of(token.encode() if isinstance(token, str) else token)
        except error:
            return
        self.fail(f"{token!r} is taken for {user!r}")


class CurlTests(AuthorityCase):
    """A client that others have built."""

    async def fetched(self, url: str, mechanism: str, token: str, user: str = "alice") -> str:
        command: list[str | Path] = [
            find_program("curl"), "-sSv", "--max-time", "20", "--url", url, "--user", user, "--oauth2-bearer", token,
            "--login-options", f"AUTH={mechanism}", "--insecure", "--ssl-reqd",
        ]  # fmt: skip
        return await self.elsewhere(lambda: run(command, status=None))

    async def test_imap_and_pop3(self) -> None:
        imap, pop3 = self.imap(AuthSettings()), self.pop3(AuthSettings())
        good = self.authority.token("alice")
        bad = self.authority.token("alice", aud="another")
        for mechanism in ("OAUTHBEARER", "XOAUTH2"):
            for url, yes, no in (
                (f"imap://localhost:{imap}/", "< A004 OK", "NO [AUTHENTICATIONFAILED]"),
                (f"pop3://localhost:{pop3}/", "+OK Mailbox locked and ready", "-ERR [AUTH]"),
            ):
                self.assertIn(yes, await self.fetched(url, mechanism, good))
                refused = await self.fetched(url, mechanism, bad)
                self.assertNotIn(yes, refused)
                self.assertIn(no, refused)
        self.assertEqual(self.authority.asked["keys"], 1)

    async def test_user(self) -> None:
        """The name that the client gives is whom to act as; another's token does not open it."""
        url = f"imap://localhost:{self.imap(AuthSettings())}/"
        self.assertIn("NO", await self.fetched(url, "XOAUTH2", self.authority.token("mary")))
        self.assertIn("< A004 OK", await self.fetched(url, "XOAUTH2", self.authority.token("admin")))

    async def test_never_without_tls(self) -> None:
        subject = self.authenticator(AuthSettings())
        self.assertIn("OAUTHBEARER", subject.mechanisms(TLS))
        self.assertNotIn("OAUTHBEARER", subject.mechanisms(CLEAR))
        self.assertNotIn("XOAUTH2", subject.mechanisms(CLEAR))


class SignatureTests(AuthorityCase):
    """JSON Web Tokens."""

    async def test_valid(self) -> None:
        for key_id in ("one", "two"):
            token = self.authority.token("alice", key_id, aud=["x", AUDIENCE])
            self.assertEqual(await self.tokens.user_of(token.encode()), b"alice")

    async def test_claims(self) -> None:
        """Abuse case 21: each of these is a token of the authority, and none is for us."""
        unfit: tuple[dict[str, Any], ...] = (
            {"aud": "another"}, {"aud": None}, {"aud": []}, {"iss": "https://evil.test"}, {"iss": None}, {"exp": 1},
            {"exp": None}, {"exp": "never"}, {"nbf": 1 << 40}, {"sub": None}, {"sub": ""}, {"iat": 1 << 40},
        )  # fmt: skip
        for claims in unfit:
            await self.refuses(self.authority.token("alice", **claims))

    async def test_forged(self) -> None:
        """Abuse case 21: what is known to have opened other servers."""
        good = self.authority.token("alice")
        header, body, signature = good.split(".")
        other = rsa.generate_private_key(65537, 2048)
        public = other.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        claims = json.loads(urlsafe_b64decode(body + "=="))

        def part(value: dict[str, Any]) -> str:
            return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

        shared = self.authority.key_set()["keys"][0]["n"]
        for token in (
            f"{part({'alg': 'none', 'kid': 'one'})}.{body}.",
            f"{part({'alg': 'None'})}.{body}.",
            jwt.encode(claims, shared, "HS256", headers={"kid": "one"}),
            jwt.encode(claims, other, "RS256", headers={"kid": "one"}),
            jwt.encode(claims, other, "RS256", headers={"kid": "one", "jwk": {"kty": "RSA"}, "jku": "https://evil/"}),
            jwt.encode(claims, other, "RS256", headers={"kid": "../../etc/passwd"}),
            jwt.encode(claims, other, "RS256", headers={"kid": "x' OR 1=1", "x5u": "http://127.0.0.1/"}),
            jwt.encode(claims, other, "RS256"),
            f"{header}.{part({**claims, 'sub': 'admin'})}.{signature}",
            f"{header}.{body}.{signature[:-4]}AAAA",
            f"{part({'alg': 'RS256', 'kid': 5})}.{body}.{signature}",
            f"{part({'alg': 'RS256', 'kid': ['one']})}.{body}.{signature}",
            f"{part({'alg': 'ES256', 'kid': 'one'})}.{body}.{signature}",
            f"{part({'alg': 'RS256', 'kid': 'one', 'crit': ['x'], 'x': 1})}.{body}.{signature}",
            "..", "a.b.c", f"{header}.{header}.{signature}", public.decode().replace("\n", "."), "opaque",
        ):  # fmt: skip
            await self.refuses(token)
        self.assertEqual(await self.tokens.user_of(good.encode()), b"alice")
        # Unknown keys were named again and again; they were looked for once.
        self.assertEqual(self.authority.asked["keys"], 1)

    async def test_scope_and_user(self) -> None:
        self.tokens = TokenVerifier(replace(self.by_keys, scope="mail", user_claim="email"), self.reactor)
        good: dict[str, Any] = {"email": "a@example.com", "scope": "openid mail"}
        self.assertEqual(await self.tokens.user_of(self.authority.token("1", **good).encode()), b"a@example.com")
        for change in ({"scope": "openid"}, {"scope": None}, {"email": None}, {"email_verified": False}, {"email": 5}):
            await self.refuses(self.authority.token("1", **{**good, **change}))

    async def test_authority_that_fails(self) -> None:
        """It cannot be told: another answer than to a wrong token."""
        for mood in ("broken", "huge", "silent"):
            self.authority.mood = mood
            self.tokens = TokenVerifier(replace(self.by_keys, timeout=0.3 if mood == "silent" else 60), self.reactor)
            await self.refuses(self.authority.token("alice"), AuthenticationUnavailable)

    async def test_certificate_of_somebody_else(self) -> None:
        self.tokens = TokenVerifier(replace(self.by_keys, authorities=self.certificate), self.reactor)
        await self.refuses(self.authority.token("alice"), AuthenticationUnavailable)
        self.assertEqual(self.authority.asked["keys"], 0)


class IntrospectionTests(AuthorityCase):
    """Tokens that only the authority understands."""

    async def test_answers(self) -> None:
        self.tokens = TokenVerifier(self.by_asking, self.reactor)
        answers = self.authority.answers
        answers["good"] = {"active": True, "sub": "alice", "aud": AUDIENCE, "iss": ISSUER, "exp": 1 << 40}
        for _ in range(3):
            self.assertEqual(await self.tokens.user_of(b"good"), b"alice")
        self.assertEqual(self.authority.asked["answers"], 1)
        self.assertEqual(self.authority.credentials, ["Basic bWFpbCtzZXJ2ZXI6YSUzQWI="])
        changes: tuple[dict[str, Any], ...] = (
            {"active": False}, {"active": "true"}, {"aud": "another"}, {"aud": 5}, {"iss": "x"}, {"exp": 5},
            {"exp": "x"}, {"exp": True}, {"sub": None}, {"sub": 5},
        )  # fmt: skip
        for number, change in enumerate(changes):
            answers[f"bad{number}"] = {**answers["good"], **change}
            await self.refuses(f"bad{number}")
        answers["list"] = []
        await self.refuses("list", AuthenticationUnavailable)
        self.authority.mood = "broken"
        await self.refuses("new", AuthenticationUnavailable)
        self.assertEqual(await self.tokens.user_of(b"good"), b"alice")


JSON = st.recursive(
    st.none() | st.text(max_size=4),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["keys", "kid", "kty"]), inner),
)


class KeyTests(SynchronousTestCase):
    """Keys that come and go."""

    def outcome(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(coroutine))

    def test_file(self) -> None:
        path = Path(self.mktemp())
        keys = KeyFile(path)
        self.failureResultOf(Deferred.fromCoroutine(keys.find("a")), AuthenticationUnavailable)
        path.write_text('{"keys": [{"kid": "a", "kty": "RSA"}, {"kid": "s", "kty": "oct"}]}')
        self.assertEqual(self.outcome(keys.find("a")), {"kid": "a", "kty": "RSA"})
        self.assertEqual(self.outcome(keys.find("")), {"kid": "a", "kty": "RSA"})
        self.assertIsNone(self.outcome(keys.find("s")))
        path.write_text('{"keys": [{"kid": "b", "kty": "EC"}, {"kid": "c", "kty": "EC"}]}')
        self.assertIsNone(self.outcome(keys.find("a")))
        self.assertIsNone(self.outcome(keys.find("")))
        path.write_text("half written")
        self.assertIsNotNone(self.outcome(keys.find("b")))

    def test_fetched(self) -> None:
        """New keys are found, old ones live on while the authority is away, and it is not asked too often."""
        answers: list[Deferred[bytes]] = []

        class Fetcher:
            async def get(self, url: str) -> bytes:
                answers.append(Deferred())
                return await answers[-1]

        clock = Clock()
        clock.advance(1000)
        keys = FetchedKeys(Fetcher(), "https://x/", clock)
        found = [Deferred.fromCoroutine(keys.find("a")) for _ in range(3)]
        answers[0].callback(b'{"keys": [{"kid": "a", "kty": "RSA"}]}')
        for one in found:
            self.assertEqual(self.successResultOf(one), {"kid": "a", "kty": "RSA"})
        self.assertIsNone(self.outcome(keys.find("b")))
        self.assertEqual(len(answers), 1)
        clock.advance(PATIENCE)
        later = Deferred.fromCoroutine(keys.find("b"))
        answers[1].callback(b'{"keys": [{"kid": "b", "kty": "RSA"}]}')
        self.assertIsNotNone(self.successResultOf(later))
        clock.advance(100_000)
        later = Deferred.fromCoroutine(keys.find("b"))
        answers[2].errback(AuthenticationUnavailable("away"))
        self.assertIsNotNone(self.successResultOf(later))
        self.assertEqual(len(answers), 3)

    def test_unsafe_settings(self) -> None:
        for change in (
            {"issuer": ""}, {"audiences": ()}, {"key_url": ""}, {"key_url": "http://login.test/keys"},
            {"key_url": "file:///etc/passwd"}, {"introspection_url": "http://10.0.0.1/"},
        ):  # fmt: skip
            with self.assertRaises(OAuthConfigurationError):
                OAuthSettings(**{"issuer": "i", "audiences": ("a",), "key_url": "https://x/", **change})  # type: ignore[arg-type]
        self.assertNotIn("hush", repr(OAuthSettings("i", ("a",), key_url="http://localhost/", client_secret="hush")))

    @settings(max_examples=60, deadline=None, database=None)
    @given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
    def test_garbage_is_no_key_set(self, text: bytes) -> None:
        try:
            keys = parse(text)
        except (ValueError, RecursionError):
            return
        self.assertTrue(all(isinstance(key, dict) for key in keys.values()))


class Verifier:
    """Knows one good token."""

    services = frozenset({b"imap"})
    tried = b""

    async def token(self, token: bytes, acting_as: bytes) -> Any:
        if token != b"good":
            raise AuthenticationFailed("bad")
        return Authenticated(acting_as, "")  # type: ignore[arg-type]


class Tokens:
    """Has something to tell."""

    def refusal(self) -> dict[str, str]:
        return {"scope": "mail", "openid-configuration": "https://x/"}


class FormTests(SynchronousTestCase):
    """RFC 7628 section 3.1, and what is not that."""

    def said(self, kind: Any, *messages: bytes | None) -> Any:
        exchange = kind(Verifier(), Tokens())
        result: Any = None
        for message in messages:
            results: list[Any] = []
            waiting = Deferred.fromCoroutine(exchange.step(message))
            _ = waiting.addBoth(results.append)
            result = results[0]
            if hasattr(result, "value"):
                raise result.value
        return result

    def test_forms(self) -> None:
        for kind, message, acting_as in (
            (OAuthBearer, b"n,,\x01auth=Bearer good\x01\x01", b""),
            (OAuthBearer, b"n,a=x=2Cy@z,\x01host=h\x01port=143\x01auth=bearer  good\x01\x01", b"x,y@z"),
            (OAuthBearer, b"y,a=x,\x01auth=BEARER good \x01\x01", b"x"),
            (XOAuth2, b"user=x@y\x01auth=Bearer good\x01\x01", b"x@y"),
        ):
            self.assertEqual(self.said(kind, message).identity, acting_as)
            self.assertEqual(self.said(kind, None, message).identity, acting_as)

    def test_refused(self) -> None:
        """The error comes as a challenge; after its answer it is over."""
        for kind, message, expected in (
            (
                OAuthBearer,
                b"n,,\x01auth=Bearer bad\x01\x01",
                {"status": "invalid_token", "scope": "mail", "openid-configuration": "https://x/"},
            ),
            (OAuthBearer, b"n,,\x01\x01", None),
            (XOAuth2, b"user=x\x01auth=Bearer bad\x01\x01", {"status": "401", "schemes": "bearer", "scope": "mail"}),
        ):
            told = json.loads(self.said(kind, message).data)
            self.assertIn("status", told)
            if expected is not None:
                self.assertEqual(told, expected)
            for answer in (b"\x01", b"", message):
                with self.assertRaises(AuthenticationFailed):
                    self.said(kind, message, answer)

    def test_malformed(self) -> None:
        for message in (
            b"", b"n,,", b"n,,\x01auth=Bearer good\x01", b"n,,\x01auth=Basic good\x01\x01", b"auth=Bearer good\x01\x01",
            b"n,,\x01auth=Bearer good\x01auth=Bearer other\x01\x01", b"n,a=,\x01auth=Bearer good\x01\x01",
            b"n,a=x=y,\x01auth=Bearer good\x01\x01", b"n,,\x01auth=Bearer go od\x01\x01",
        ):  # fmt: skip
            with self.assertRaises(MalformedExchange, msg=message):
                self.said(OAuthBearer, message)
        with self.assertRaises(AuthenticationFailed):
            self.said(OAuthBearer, b"p=tls-exporter,,\x01auth=Bearer good\x01\x01")

    @settings(max_examples=100, deadline=None, database=None)
    @given(st.lists(st.none() | st.binary(max_size=40) | st.text("n,a=\x01uthBerd ").map(str.encode), max_size=3))
    def test_anything(self, messages: list[bytes | None]) -> None:
        for kind in (OAuthBearer, XOAuth2):
            try:
                result = self.said(kind, *messages)
            except (AuthenticationFailed, MalformedExchange):
                continue
            self.assertFalse(isinstance(result, Authenticated))
