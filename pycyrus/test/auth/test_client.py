"""The client's side of SASL, against the server's side and against servers that lie."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from scramp import ScramMechanism

from pycyrus.auth.authenticator import AuthSettings
from pycyrus.auth.client import ClientCredentials, ClientExchange, choose
from pycyrus.auth.delays import DelaySettings
from pycyrus.auth.identity import IdentitySettings
from pycyrus.auth.interfaces import ScramKeys
from pycyrus.errors import AuthenticationFailed, MailStoreError, MalformedExchange, MechanismUnavailable
from pycyrus.interfaces import Authenticated, Channel
from pycyrus.test.auth.parts import CLEAR, TLS, AuthTestCase, KeyedChecker

FRED = ClientCredentials("fred", password="sec,ret=é")
ALL = ("PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256", "CRAM-MD5", "EXTERNAL", "LOGIN")


class Material:
    """Keying material that is always the same."""

    def __call__(self, label: bytes, length: int) -> bytes:
        return b"b" * length

    def unique(self) -> bytes:
        return b""


BOUND = replace(TLS, tls_exporter=Material())


def keys_of(mechanism: str, password: str) -> ScramKeys:
    """Keys made by another implementation."""
    salt, stored, server, count = ScramMechanism(mechanism).make_auth_info(password, 4096)
    return ScramKeys(salt, count, stored, server)


class ClientAgainstServerTests(AuthTestCase):
    """Both sides of ours together."""

    def setUp(self) -> None:
        super().setUp()
        names = ("SCRAM-SHA-1", "SCRAM-SHA-256")
        passwords = {"fred": "sec,ret=é", "proxy": "p", "x@example.com": "y"}
        checker = KeyedChecker(
            {user: password.encode() for user, password in passwords.items()},
            {(user, name): keys_of(name, password) for user, password in passwords.items() for name in names},
        )
        self.subject = self.authenticator(
            AuthSettings(proxy_servers=("proxy",), allow_plaintext=True),
            IdentitySettings(virtdomains="userid"),
            checkers=[checker],
            delays=DelaySettings(pause=0),
        )

    def meet(self, client: ClientExchange, channel: Channel = TLS, *, unasked: bool = True) -> Authenticated:
        """Carry messages between the two until the server is content."""
        server: Any = self.subject.start(client.mechanism, channel)
        response = client.initial() if unasked else None
        for _ in range(5):
            result = self.run_now(server.step(response))
            if isinstance(result, Authenticated):
                client.finished(result.data)
                return result
            response = client.step(result.data)
        raise AssertionError("the exchange does not end")

    def test_each_mechanism_logs_in(self) -> None:
        for name in ("PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256"):
            for unasked in (True, False):
                client = choose([name.lower()], FRED, tls=True)
                self.assertEqual(client.mechanism, name)
                self.assertEqual(self.meet(client, unasked=unasked).identity.user_id, "fred")

    def test_acting_as_another(self) -> None:
        for name in ("PLAIN", "SCRAM-SHA-256"):
            client = choose([name], ClientCredentials("proxy", "a,b=c@example.com", password="p"), tls=True)
            result = self.meet(client)
            self.assertEqual((result.identity.user_id, result.authenticated_as), ("a,b=c@example.com", "proxy"), name)

    def test_a_realm_is_put_behind_the_name(self) -> None:
        client = choose(["SCRAM-SHA-1"], ClientCredentials("x", realm="example.com", password="y"), tls=False)
        self.assertEqual(self.meet(client, CLEAR).identity.user_id, "x@example.com")
        self.assertEqual(ClientCredentials("x@a", realm="b").name, "x@a")

    def test_bound_to_the_channel(self) -> None:
        offered = self.subject.mechanisms(BOUND)
        client = choose(offered, FRED, tls=True, binding=b"b" * 32)
        self.assertEqual(client.mechanism, "SCRAM-SHA-256-PLUS")
        self.assertEqual(self.meet(client, BOUND).identity.user_id, "fred")

    def test_another_channel_is_noticed(self) -> None:
        client = choose(["SCRAM-SHA-256-PLUS"], FRED, tls=True, binding=b"c" * 32)
        with self.assertRaises(AuthenticationFailed):
            self.run_coroutine(client)

    def test_a_list_shortened_on_the_way_is_noticed(self) -> None:
        client = choose(["SCRAM-SHA-256"], FRED, tls=True, binding=b"b" * 32)
        with self.assertRaises(AuthenticationFailed):
            self.run_coroutine(client)

    def run_coroutine(self, client: ClientExchange) -> None:
        server: Any = self.subject.start(client.mechanism, BOUND)
        response = client.initial()
        while True:
            step = server.step(response)
            try:
                step.send(None)
            except StopIteration as stop:
                response = client.step(stop.value.data)

    def test_a_wrong_password(self) -> None:
        for name in ("PLAIN", "SCRAM-SHA-256"):
            client = choose([name], replace(FRED, password="other"), tls=True)
            with self.assertRaises(AuthenticationFailed):
                self.run_coroutine(client)


class ChoiceTests(AuthTestCase):
    """Which mechanism is chosen."""

    def chosen(self, *offered: str, credentials: ClientCredentials = FRED, **rest: Any) -> str:
        return choose(offered, credentials, **rest).mechanism

    def test_the_strongest(self) -> None:
        self.assertEqual(self.chosen(*ALL, tls=True), "SCRAM-SHA-256")
        self.assertEqual(self.chosen("PLAIN", "scram-sha-1", tls=True), "SCRAM-SHA-1")
        self.assertEqual(self.chosen("PLAIN", "CRAM-MD5", tls=True), "PLAIN")

    def test_no_password_in_clear(self) -> None:
        self.assertEqual(self.chosen("PLAIN", "CRAM-MD5", tls=False), "CRAM-MD5")
        with self.assertRaises(MechanismUnavailable):
            self.chosen("PLAIN", "LOGIN", tls=False)
        self.assertEqual(self.chosen("PLAIN", tls=False, allow_plaintext=True), "PLAIN")

    def test_without_a_password_the_certificate_speaks(self) -> None:
        nobody = ClientCredentials("", "fred")
        self.assertEqual(self.chosen(*ALL, credentials=nobody, tls=True), "EXTERNAL")
        self.assertEqual(choose(["EXTERNAL"], nobody, tls=True).initial(), b"fred")
        with self.assertRaises(MechanismUnavailable):
            self.chosen(*ALL, credentials=nobody, tls=False)
        with self.assertRaises(MechanismUnavailable):
            self.chosen("EXTERNAL", tls=True)

    def test_forced(self) -> None:
        self.assertEqual(self.chosen(*ALL, tls=True, only=("plain",)), "PLAIN")
        with self.assertRaises(MechanismUnavailable):
            self.chosen(*ALL, tls=True, only=("GSSAPI",))

    def test_cram_md5_cannot_act_as_another(self) -> None:
        with self.assertRaises(MechanismUnavailable):
            self.chosen("CRAM-MD5", credentials=replace(FRED, authorization_id="mary"), tls=True)

    def test_cram_md5_as_in_its_definition(self) -> None:
        # RFC 2195 section 2 has this very exchange.
        client = choose(["CRAM-MD5"], ClientCredentials("tim", password="tanstaaftanstaaf"), tls=False)
        self.assertIsNone(client.initial())
        answer = client.step(b"<1896.697170952@postoffice.reston.mci.net>")
        self.assertEqual(answer, b"tim b913a602c7eda7a495b4e6e7334d3890")
        client.finished(None)

    def test_what_plain_cannot_carry(self) -> None:
        for credentials in (
            replace(FRED, password="a\0b"),
            replace(FRED, password=""),
            ClientCredentials("", "", "", "x"),
        ):
            with self.assertRaises(AuthenticationFailed):
                choose(["PLAIN"], credentials, tls=True)

    def test_a_password_is_not_shown(self) -> None:
        self.assertNotIn("sec,ret", repr(FRED))


def first_answer(client: ClientExchange, salt: bytes = b"salt", count: bytes = b"4096", more: bytes = b"x") -> bytes:
    """A server-first-message for a client."""
    first = client.initial() or b""
    return b"r=%b%b,s=%b,i=%b" % (first.rpartition(b"r=")[2], more, b64encode(salt), count)


class LyingServerTests(AuthTestCase):
    """What a server must not get away with."""

    def client(self) -> ClientExchange:
        return choose(["SCRAM-SHA-256"], FRED, tls=True)

    def test_success_without_a_signature(self) -> None:
        client = self.client()
        _ = client.step(first_answer(client))
        for data in (None, b"", b"v=", b"v=AAAA", b"e=other-error"):
            with self.assertRaises(AuthenticationFailed, msg=repr(data)):
                client.finished(data)

    def test_success_before_anything(self) -> None:
        for name in ("SCRAM-SHA-256", "PLAIN", "CRAM-MD5"):
            with self.assertRaises(MailStoreError):
                choose([name], FRED, tls=True).finished(None)

    def test_a_wrong_signature_as_a_challenge(self) -> None:
        client = self.client()
        _ = client.step(first_answer(client))
        with self.assertRaises(AuthenticationFailed):
            client.step(b"v=" + b64encode(b"x" * 32))
        with self.assertRaises(MalformedExchange):
            client.step(b"")

    def test_counts_that_are_too_small_or_too_large(self) -> None:
        for count in (b"1", b"4095", b"600001", b"999999999"):
            client = self.client()
            with self.assertRaises(AuthenticationFailed):
                client.step(first_answer(client, count=count))

    def test_a_nonce_of_its_own(self) -> None:
        client = self.client()
        with self.assertRaises(AuthenticationFailed):
            client.step(first_answer(client, more=b""))
        client = self.client()
        _ = client.initial()
        with self.assertRaises(AuthenticationFailed):
            client.step(b"r=other,s=AAAA,i=4096")

    def test_a_challenge_for_plain(self) -> None:
        client = choose(["PLAIN"], FRED, tls=True)
        with self.assertRaises(MalformedExchange):
            client.step(b"Password:")

    @settings(max_examples=60, deadline=None, database=None)
    @given(st.sampled_from(ALL[:4]), st.lists(st.binary(max_size=60) | st.just(b"r=x,s=AAAA,i=5000"), max_size=4))
    def test_garbage_has_an_error_of_ours(self, name: str, challenges: list[bytes]) -> None:
        client = choose([name], FRED, tls=True)
        try:
            for challenge in challenges:
                self.assertIsInstance(client.step(challenge), bytes)
        except (MalformedExchange, AuthenticationFailed):
            pass
