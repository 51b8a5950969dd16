"""Mechanisms that compute with the password itself: CRAM-MD5, DIGEST-MD5, APOP; and ANONYMOUS, which has none."""

from __future__ import annotations

import hashlib
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from pycyrus.auth.authenticator import AuthSettings
from pycyrus.auth.client import ClientCredentials, choose
from pycyrus.auth.delays import DelaySettings
from pycyrus.auth.identity import IdentitySettings
from pycyrus.auth.mechanisms.base import Verifier
from pycyrus.auth.mechanisms.digest_md5 import DigestMd5, parse_directives
from pycyrus.errors import (
    AuthenticationFailed,
    AuthorizationDenied,
    MailStoreError,
    MalformedExchange,
    MechanismUnavailable,
)
from pycyrus.interfaces import Authenticated, Challenge
from pycyrus.test.auth.parts import CLEAR, TLS, AuthTestCase, DictChecker
from pycyrus.test.auth.services import USERS, SecretsChecker

ALL = AuthSettings(mechanisms=("CRAM-MD5", "DIGEST-MD5", "ANONYMOUS"), anonymous=True, server_name="mail.test")


class SecretsCase(AuthTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.secrets = SecretsChecker({**USERS, "late": "secret"})
        self.secrets.disabled.add("late")
        self.subject = self.made(ALL)

    def made(self, settings: AuthSettings) -> Any:
        identities = IdentitySettings(virtdomains="userid", admins=("admin",))
        return self.authenticator(settings, identities, checkers=[self.secrets], delays=DelaySettings(pause=0))

    def outcome(self, exchange: Any, *messages: bytes | None) -> Any:
        """What the last message gives, or the class of the error that one of them raises."""
        result: Any = None
        for message in messages:
            results: list[Any] = []
            _ = Deferred.fromCoroutine(exchange.step(message)).addBoth(results.append)
            (result,) = results
            if hasattr(result, "check"):
                return result.type
        return result


class CramTests(SecretsCase):
    """RFC 2195."""

    def answered(self, user: str, password: str) -> Any:
        exchange = self.subject.start("CRAM-MD5", CLEAR)
        challenge = self.outcome(exchange, None)
        self.assertRegex(challenge.data, rb"^<\d+\.\d+@mail\.test>$")
        client = choose(["CRAM-MD5"], ClientCredentials(user, password=password), tls=False)
        return self.outcome(exchange, client.step(challenge.data))

    def test_passwords(self) -> None:
        self.assertEqual(self.answered("alice", "secret").identity.user_id, "alice")
        for user, password in (
            ("alice", "other"),
            ("nobody", "secret"),
            ("nobody", ""),
            ("late", "secret"),
            ("a/b", "x"),
        ):
            self.assertIs(self.answered(user, password), AuthenticationFailed)

    def test_challenges_differ(self) -> None:
        found = {self.outcome(self.subject.start("CRAM-MD5", CLEAR), None).data for _ in range(50)}
        self.assertEqual(len(found), 50)

    def test_not_where_only_hashes_are_known(self) -> None:
        hashed = self.authenticator(ALL, checkers=[DictChecker({"alice": b"secret"})])
        self.assertEqual([name for name in hashed.mechanisms(TLS) if "MD5" in name], [])
        with self.assertRaises(MechanismUnavailable):
            hashed.start("CRAM-MD5", TLS)

    @settings(max_examples=60, deadline=None, database=None)
    @given(st.lists(st.none() | st.binary(max_size=60) | st.just(b"alice " + b"0" * 32), max_size=3))
    def test_garbage(self, messages: list[bytes | None]) -> None:
        result = self.outcome(self.subject.start("CRAM-MD5", CLEAR), *messages)
        self.assertTrue(result is None or isinstance(result, Challenge) or issubclass(result, MailStoreError))


class DigestTests(SecretsCase):
    """RFC 2831."""

    def test_example_of_the_rfc(self) -> None:
        """Section 4, octet by octet, both proofs."""

        class Fixed:
            server_name = "elwood.innosoft.com"
            services = frozenset({b"imap"})

            async def secret(self, user: bytes) -> bytes | None:
                return b"secret" if user == b"chris" else None

            async def proved(self, user: bytes, acting_as: bytes) -> Authenticated:
                return Authenticated(cast(Any, user), acting_as.decode())

        exchange = DigestMd5(cast(Verifier, Fixed()))
        self.outcome(exchange, None)
        exchange._nonce = b"OA6MG9tEQGm2hh"
        message = (
            b'charset=utf-8,username="chris",realm="elwood.innosoft.com",nonce="OA6MG9tEQGm2hh",nc=00000001,'
            b'cnonce="OA6MHXh6VqTrRk",digest-uri="imap/elwood.innosoft.com",'
            b"response=d388dad90d4bbd760a152321f2143af7,qop=auth"
        )
        result = self.outcome(exchange, message)
        self.assertEqual((result.identity, result.data), (b"chris", b"rspauth=ea40f60335c427b5527b84dbabcdfffd"))

    def answered(self, password: str = "secret", **changes: str | None) -> Any:
        """The answer of a client by the letter, and the outcome."""
        exchange = self.subject.start("DIGEST-MD5", CLEAR)
        offer = parse_directives(self.outcome(exchange, None).data)
        self.assertEqual((offer["qop"], offer["realm"], offer["algorithm"]), (b"auth", b"mail.test", b"md5-sess"))
        said: dict[str, str | None] = {
            "username": "alice", "realm": "mail.test", "nonce": offer["nonce"].decode(), "cnonce": "abc",
            "nc": "00000001", "qop": "auth", "digest-uri": "imap/mail.test", "authzid": None, "charset": "utf-8",
            **changes,
        }  # fmt: skip

        def digest(text: bytes) -> bytes:
            return hashlib.md5(text).hexdigest().encode()

        first = hashlib.md5(f"{said['username']}:{said['realm']}:{password}".encode("latin-1")).digest()
        parts = [first, *(str(said[key]).encode() for key in ("nonce", "cnonce", "authzid") if said[key])]
        second = digest(f"AUTHENTICATE:{said['digest-uri']}".encode())
        middle = [str(said[key]).encode() for key in ("nonce", "nc", "cnonce", "qop")]
        said.setdefault("response", digest(b":".join([digest(b":".join(parts)), *middle, second])).decode())
        return self.outcome(
            exchange, ",".join(f'{key}="{value}"' for key, value in said.items() if value is not None).encode()
        )

    def test_answers(self) -> None:
        self.assertEqual(self.answered().identity.user_id, "alice")
        self.assertEqual(self.answered("other", realm="example.com").identity.user_id, "alice@example.com")
        self.assertEqual(self.answered("root", username="admin", authzid="alice").identity.user_id, "alice")
        self.assertIs(self.answered(authzid="admin"), AuthorizationDenied)
        wrong: tuple[dict[str, Any], ...] = (
            {"password": "other"}, {"username": "nobody"}, {"username": "late"}, {"nonce": "another"},
            {"nc": "00000002"}, {"qop": "auth-conf"}, {"digest-uri": "pop/mail.test"}, {"response": "0" * 32},
            {"realm": "other.test"},
        )  # fmt: skip
        for changes in wrong:
            self.assertIs(self.answered(**changes), AuthenticationFailed, changes)
        malformed: tuple[dict[str, Any], ...] = ({"cnonce": None}, {"charset": "latin-1"}, {"username": ""})
        for changes in malformed:
            self.assertIs(self.answered(**changes), MalformedExchange, changes)

    def test_once_only(self) -> None:
        """A directive twice could mean two things; an answer twice is a replay."""
        exchange = self.subject.start("DIGEST-MD5", CLEAR)
        self.assertIs(self.outcome(exchange, None, b'username="a",username="b"'), MalformedExchange)
        self.assertIs(self.outcome(exchange, b"x"), MalformedExchange)

    def test_off_unless_named(self) -> None:
        self.assertNotIn("DIGEST-MD5", self.made(AuthSettings()).mechanisms(TLS))
        self.assertIn("CRAM-MD5", self.made(AuthSettings()).mechanisms(TLS))

    @settings(max_examples=100, deadline=None, database=None)
    @given(st.binary(max_size=80) | st.text('abc="\\, =,', max_size=40).map(str.encode))
    def test_garbage(self, text: bytes) -> None:
        try:
            found = parse_directives(text)
        except MalformedExchange:
            return
        self.assertTrue(all(isinstance(value, bytes) for value in found.values()))


class ApopTests(SecretsCase):
    """RFC 1939 section 7."""

    def attempt(self, user: bytes, secret: bytes, *, said: bytes | None = None) -> Any:
        timestamp = self.subject.apop_timestamp(CLEAR) if said is None else said
        digest = hashlib.md5(timestamp + secret).hexdigest().encode()
        results: list[Any] = []
        _ = Deferred.fromCoroutine(self.subject.apop(user, digest, timestamp, CLEAR)).addBoth(results.append)
        return results[0].type if hasattr(results[0], "check") else results[0]

    def test_digests(self) -> None:
        self.assertEqual(self.attempt(b"alice", b"secret").identity.user_id, "alice")
        for user, secret in ((b"alice", b"other"), (b"nobody", b""), (b"late", b"secret"), (b"a b", b"")):
            self.assertIs(self.attempt(user, secret), AuthenticationFailed)
        self.assertIs(self.attempt(b"alice", b"secret", said=b""), MechanismUnavailable)

    def test_where_it_is_offered(self) -> None:
        self.assertEqual(self.made(AuthSettings(apop=False)).apop_timestamp(TLS), b"")
        self.assertEqual(self.made(AuthSettings(tls_required=True)).apop_timestamp(CLEAR), b"")
        self.assertEqual(self.authenticator(checkers=[self.checker]).apop_timestamp(TLS), b"")
        self.assertRegex(self.subject.apop_timestamp(CLEAR), rb"^<\d+\.\d+@mail\.test>$")


class AnonymousTests(SecretsCase):
    """RFC 4505."""

    def test_where_it_is_allowed(self) -> None:
        result = self.outcome(self.subject.start("ANONYMOUS", CLEAR), b"me@example.com")
        self.assertEqual((result.identity.user_id, result.authenticated_as), ("anonymous", "anonymous"))
        self.assertEqual(self.run_now(self.subject.login(b"Anonymous", b"x", TLS)).identity.user_id, "anonymous")
        for trace in (b"a\0b", b"x" * 2000):
            self.assertIs(self.outcome(self.subject.start("ANONYMOUS", CLEAR), trace), MalformedExchange)

    def test_where_it_is_not(self) -> None:
        closed = self.made(AuthSettings())
        self.assertNotIn("ANONYMOUS", closed.mechanisms(TLS))
        with self.assertRaises(MechanismUnavailable):
            closed.start("ANONYMOUS", TLS)
        self.assertIs(self.outcome(closed.start("PLAIN", TLS), b"\0anonymous\0x"), AuthenticationFailed)
