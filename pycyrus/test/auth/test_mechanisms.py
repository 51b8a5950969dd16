"""SASL mechanisms, spoken to by other implementations and by garbage."""

from __future__ import annotations

import contextlib
import datetime
from base64 import b64decode, b64encode
from hashlib import pbkdf2_hmac
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from scramp import ScramClient, ScramException, ScramMechanism
from twisted.internet.defer import Deferred

from pycyrus.auth.delays import DelaySettings
from pycyrus.auth.identity import IdentitySettings
from pycyrus.auth.interfaces import ScramKeys
from pycyrus.auth.mechanisms.base import Verifier
from pycyrus.auth.mechanisms.scram import SHA1, SHA256, Scram
from pycyrus.errors import (
    AuthenticationFailed,
    AuthenticationUnavailable,
    AuthorizationDenied,
    MailStoreError,
    MalformedExchange,
    MechanismUnavailable,
)
from pycyrus.interfaces import Authenticated, Challenge, Channel
from pycyrus.model.identity import Identity
from pycyrus.test.auth.parts import TLS, AuthTestCase, KeyedChecker

NAMED = (AuthenticationFailed, AuthenticationUnavailable, AuthorizationDenied, MalformedExchange)


def keys_of(mechanism: str, password: str) -> ScramKeys:
    """Keys made by another implementation."""
    salt, stored, server, count = ScramMechanism(mechanism).make_auth_info(password, 4096)
    return ScramKeys(salt, count, stored, server)


class MechanismTestCase(AuthTestCase):
    def setUp(self) -> None:
        super().setUp()
        # All failures at once: delays have tests of their own.
        checker = KeyedChecker(
            self.checker.passwords,
            {
                (user, name): keys_of(name, "secret")
                for user in ("fred", "boss")
                for name in ("SCRAM-SHA-1", "SCRAM-SHA-256")
            },
        )
        self.keyed = checker
        self.subject = self.authenticator(
            checkers=[checker],
            delays=DelaySettings(pause=0),
            identities=IdentitySettings(virtdomains="userid", admins=("boss",)),
        )

    def exchange(self, name: str) -> Any:
        return self.subject.start(name, TLS)

    def step(self, exchange: Any, response: bytes | None) -> Challenge | Authenticated:
        result: Challenge | Authenticated = self.run_now(exchange.step(response))
        return result

    def drive(self, exchange: Any, messages: list[bytes | None]) -> None:
        """Send messages until one fails."""
        for message in messages:
            result = Deferred.fromCoroutine(exchange.step(message))
            failures: list[Any] = []
            result.addErrback(failures.append)
            if failures:
                raise failures[0].value

    def fails(self, exchange: Any, response: bytes | None, error: type[MailStoreError]) -> None:
        self.failureResultOf(Deferred.fromCoroutine(exchange.step(response)), error)


class PlainTests(MechanismTestCase):
    def test_without_initial_response(self) -> None:
        """An empty challenge asks for it."""
        exchange = self.exchange("PLAIN")
        self.assertEqual(self.step(exchange, None), Challenge(b""))
        self.assertEqual(self.step(exchange, b"\0fred\0secret"), Authenticated(Identity("fred"), "fred"))
        self.fails(exchange, b"\0fred\0secret", MalformedExchange)

    def test_malformed(self) -> None:
        """Anything but two NULs, a name and a password."""
        for message in (
            b"",
            b"\0",
            b"\0\0",
            b"fred",
            b"\0fred",
            b"\0fred\0",
            b"\0\0secret",
            b"a\0fred\0sec\0ret",
            b"x" * 5000,
        ):
            self.fails(self.exchange("PLAIN"), message, MalformedExchange)
        self.assertEqual(self.keyed.asked, [])

    @settings(max_examples=200, deadline=None, database=None)
    @given(st.lists(st.binary(max_size=30), max_size=4).map(b"\0".join))
    def test_any_input(self, message: bytes) -> None:
        """Only the named errors come out."""
        with contextlib.suppress(*NAMED):
            self.drive(self.exchange("PLAIN"), [message])


class LoginTests(MechanismTestCase):
    def test_two_questions(self) -> None:
        """Name and password, with and without an initial response."""
        exchange = self.exchange("LOGIN")
        self.assertEqual(self.step(exchange, None), Challenge(b"Username:"))
        self.assertEqual(self.step(exchange, b"fred"), Challenge(b"Password:"))
        self.assertEqual(self.step(exchange, b"secret"), Authenticated(Identity("fred"), "fred"))
        exchange = self.exchange("LOGIN")
        self.assertEqual(self.step(exchange, b"fred"), Challenge(b"Password:"))
        self.fails(exchange, b"wrong", AuthenticationFailed)

    def test_unfinished(self) -> None:
        """Empty answers end it."""
        self.fails(self.exchange("LOGIN"), b"", MalformedExchange)
        exchange = self.exchange("LOGIN")
        self.step(exchange, b"fred")
        self.fails(exchange, None, MalformedExchange)
        self.fails(exchange, b"secret", MalformedExchange)

    @settings(max_examples=200, deadline=None, database=None)
    @given(st.lists(st.none() | st.binary(max_size=20) | st.just(b"fred"), max_size=4))
    def test_any_messages(self, messages: list[bytes | None]) -> None:
        """Only the named errors come out."""
        with contextlib.suppress(*NAMED):
            self.drive(self.exchange("LOGIN"), messages)


class ScramTests(MechanismTestCase):
    def talk(self, name: str, user: str, password: str) -> Authenticated:
        """Let another implementation be the client."""
        client = ScramClient([name], user, password)
        exchange = self.exchange(name)
        self.assertEqual(self.step(exchange, None), Challenge(b""))
        challenge = self.step(exchange, client.get_client_first().encode())
        client.set_server_first(challenge.data.decode())  # type: ignore[union-attr]
        result = self.run_now(exchange.step(client.get_client_final().encode()))
        client.set_server_final(result.data.decode())
        assert isinstance(result, Authenticated)
        return result

    def test_other_implementation(self) -> None:
        """Both sides are convinced."""
        for name in ("SCRAM-SHA-1", "SCRAM-SHA-256"):
            self.assertEqual(self.talk(name, "fred", "secret").identity, Identity("fred"))

    def test_wrong_password_and_unknown_user(self) -> None:
        """The same course to the end, and the same answer."""
        for user, password in (("fred", "wrong"), ("nobody", "secret")):
            client = ScramClient(["SCRAM-SHA-1"], user, password)
            exchange = self.exchange("SCRAM-SHA-1")
            challenge = self.step(exchange, client.get_client_first().encode())
            client.set_server_first(challenge.data.decode())  # type: ignore[union-attr]
            self.fails(exchange, client.get_client_final().encode(), AuthenticationFailed)

    def test_disabled(self) -> None:
        """Right proof, and no."""
        keys = self.keyed.scram["fred", "SCRAM-SHA-1"]
        self.keyed.scram["fred", "SCRAM-SHA-1"] = ScramKeys(
            keys.salt, keys.iterations, keys.stored_key, keys.server_key, usable=False
        )
        client = ScramClient(["SCRAM-SHA-1"], "fred", "secret")
        exchange = self.exchange("SCRAM-SHA-1")
        client.set_server_first(self.step(exchange, client.get_client_first().encode()).data.decode())  # type: ignore[union-attr]
        self.fails(exchange, client.get_client_final().encode(), AuthenticationFailed)

    def test_example_of_the_rfc(self) -> None:
        """RFC 7677 section 3, octet by octet."""
        salt = b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
        _, stored, server, _ = ScramMechanism("SCRAM-SHA-256").make_auth_info("pencil", 4096, salt)

        class Fixed:
            tried = b""

            async def keys(self, user: bytes, mechanism: str) -> ScramKeys:
                return ScramKeys(salt, 4096, stored, server)

            def offers_binding(self) -> bool:
                return False

            async def proved(self, user: bytes, acting_as: bytes) -> Authenticated:
                return Authenticated(Identity(user.decode()), user.decode())

        exchange = Scram(cast(Verifier, Fixed()), SHA256)
        self.step(exchange, b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO")
        started = exchange._started
        assert started is not None
        nonce = b"rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
        answer = b"r=" + nonce + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        exchange._started = type(started)(b"user", b"", started.header, started.bare, nonce, answer, started.keys)
        result = self.step(exchange, b"c=biws,r=" + nonce + b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
        assert isinstance(result, Authenticated)
        self.assertEqual(result.data, b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")

    def test_acting_as_another(self) -> None:
        """The authorisation identity of the GS2 header is decided on like any other."""
        for user, error in (("boss", None), ("fred", AuthorizationDenied)):
            exchange = self.exchange("SCRAM-SHA-1")
            header, bare = b"n,a=mary,", b"n=%b,r=abc" % user.encode()
            answer = self.step(exchange, header + bare).data
            assert answer is not None
            final = self.final("secret", header, bare, answer)
            if error is None:
                self.assertEqual(self.step(exchange, final), Authenticated(Identity("mary"), user, self.signature))
            else:
                self.fails(exchange, final, error)

    def final(self, password: str, header: bytes, bare: bytes, answer: bytes) -> bytes:
        """What a client answers, by the letter of RFC 5802 section 3."""
        fields = dict(part.split(b"=", 1) for part in answer.split(b","))
        salted = pbkdf2_hmac("sha1", password.encode(), b64decode(fields[b"s"]), int(fields[b"i"]))
        client_key = SHA1.sign(salted, b"Client Key")
        unproved = b"c=%b,r=%b" % (b64encode(header), fields[b"r"])
        said = b",".join((bare, answer, unproved))
        proof = bytes(a ^ b for a, b in zip(client_key, SHA1.sign(SHA1.digest(client_key), said), strict=True))
        self.signature = b"v=" + b64encode(SHA1.sign(SHA1.sign(salted, b"Server Key"), said))
        return unproved + b",p=" + b64encode(proof)

    def test_changed_on_the_way(self) -> None:
        """Another nonce or channel binding than what was said is no proof."""
        for change in ((b"r=abc", b"r=abd"), (b"c=biws", b"c=eSws"), (b",p=", b",x=y,p=")):
            exchange = self.exchange("SCRAM-SHA-1")
            answer = self.step(exchange, b"n,,n=fred,r=abc").data
            assert answer is not None
            final = self.final("secret", b"n,,", b"n=fred,r=abc", answer)
            self.fails(exchange, final.replace(*change), AuthenticationFailed)

    def test_malformed(self) -> None:
        """By the grammar of RFC 5802 section 7."""
        for first in (
            b"", b"n,,", b"n,,n=fred", b"n,,r=abc,n=fred", b"n,,m=x,n=fred,r=abc", b"x,,n=fred,r=abc",
            b"n,,n=fr=ed,r=abc", b"n,,n=,r=abc", b"n,,n=fred,r=a\x7fc", b"n,,n=fred,r=",
            b"n,fred,n=fred,r=abc", b"n,,n=fr\0ed,r=abc", b"n,,n=fred,r=abc," + b"x" * 5000,
        ):  # fmt: skip
            self.fails(self.exchange("SCRAM-SHA-256"), first, MalformedExchange)
        self.fails(self.exchange("SCRAM-SHA-256"), b"p=tls-unique,,n=fred,r=abc", AuthenticationFailed)
        for final in (
            b"",
            b"c=biws,r=abc",
            b"c=biws,r=abc,p=",
            b"c=biws,r=abc,p=!",
            b"c=biws,r=abc,p=AAAA",
            b"c=b,r=abc,p=AAAA",
        ):
            exchange = self.exchange("SCRAM-SHA-1")
            self.step(exchange, b"n,,n=fred,r=abc")
            self.fails(exchange, final, MalformedExchange)
            self.fails(exchange, final, MalformedExchange)

    def test_client_finds_out_a_false_server(self) -> None:
        """The server's signature is of its own key."""
        client = ScramClient(["SCRAM-SHA-1"], "fred", "secret")
        exchange = self.exchange("SCRAM-SHA-1")
        client.set_server_first(self.step(exchange, client.get_client_first().encode()).data.decode())  # type: ignore[union-attr]
        client.get_client_final()
        self.assertRaises(ScramException, client.set_server_final, "v=AAAAAAAAAAAAAAAAAAAAAAAAAAA=")

    @settings(max_examples=300, deadline=None, database=None)
    @given(
        st.lists(
            st.none()
            | st.binary(max_size=40)
            | st.from_regex(rb"[nyp],(a=[a-z=,]{0,3})?,n=[a-z=]{0,4},r=[ -~]{0,4}(,[a-z]=x)?", fullmatch=True)
            | st.from_regex(rb"c=[A-Za-z=]{0,4},r=[ -~]{0,4},p=[A-Za-z=]{0,28}", fullmatch=True),
            max_size=4,
        )
    )
    def test_any_messages(self, messages: list[bytes | None]) -> None:
        """Only the named errors come out, and nobody gets in."""
        exchange = self.exchange("SCRAM-SHA-1")
        for message in messages:
            failures: list[Any] = []
            results: list[Any] = []
            Deferred.fromCoroutine(exchange.step(message)).addCallbacks(results.append, failures.append)
            if failures:
                self.assertIsInstance(failures[0].value, NAMED)
            else:
                self.assertIsInstance(results[0], Challenge)


def certificate_of(*names: str) -> bytes:
    """A certificate with these common names, as DER."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text) for text in names])
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    built = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    built = built.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    return built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


class ExternalTests(MechanismTestCase):
    def channel(self, certificate: bytes | None, tls: bool = True) -> Channel:
        return Channel("imap", "192.0.2.1", tls=tls, client_certificate=lambda: certificate)

    def start(self, certificate: bytes, response: bytes) -> Any:
        return self.subject.start("EXTERNAL", self.channel(certificate)).step(response)

    def test_certificate(self) -> None:
        """Its one common name is the user; nothing is asked but whom to act as."""
        fred = certificate_of("Fred")
        exchange = self.subject.start("external", self.channel(fred))
        self.assertEqual(self.run_now(exchange.step(None)), Challenge(b""))
        self.assertEqual(self.run_now(exchange.step(b"")), Authenticated(Identity("fred"), "fred"))
        self.failureResultOf(Deferred.fromCoroutine(exchange.step(b"")), MalformedExchange)
        self.assertEqual(self.run_now(self.start(fred, b"fred")), Authenticated(Identity("fred"), "fred"))

    def test_offered_with_a_name_only(self) -> None:
        """No certificate, no name, several names, or no TLS: not offered, and not there."""
        for channel in (
            TLS,
            self.channel(None),
            self.channel(certificate_of()),
            self.channel(certificate_of("fred", "boss")),
            self.channel(b"rubbish"),
            self.channel(certificate_of("fred"), tls=False),
        ):
            self.assertNotIn("EXTERNAL", self.subject.mechanisms(channel))
            self.assertRaises(MechanismUnavailable, self.subject.start, "EXTERNAL", channel)
        self.assertEqual(self.subject.mechanisms(self.channel(certificate_of("fred")))[0], "EXTERNAL")

    def test_acting_as_another(self) -> None:
        """By the same rules as with a password."""
        result = Deferred.fromCoroutine(self.start(certificate_of("fred"), b"mary"))
        self.failureResultOf(result, AuthorizationDenied)
        self.assertEqual(self.run_now(self.start(certificate_of("boss"), b"mary")).identity, Identity("mary"))
        result = Deferred.fromCoroutine(self.start(certificate_of("boss"), b"ma\0ry"))
        self.failureResultOf(result, MalformedExchange)

    def test_impossible_or_disabled(self) -> None:
        """A good certificate is not enough."""
        self.keyed.disabled.add("fred")
        for name in ("fred", "../fred", "anyone"):
            result = Deferred.fromCoroutine(self.start(certificate_of(name), b""))
            self.failureResultOf(result, AuthenticationFailed)
