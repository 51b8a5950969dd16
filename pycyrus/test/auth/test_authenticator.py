"""The authenticator: who may come in, and as whom."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from typing import Any, cast

from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import globalLogPublisher
from zope.interface.verify import verifyObject

from pycyrus.app.checker_parts import checker_names
from pycyrus.auth.assemble import Authentication
from pycyrus.auth.authenticator import AuthSettings
from pycyrus.auth.cache import CacheSettings
from pycyrus.auth.checkers.chain import CheckerChain, of_domains
from pycyrus.auth.counts import LocalCounts
from pycyrus.auth.delays import DelaySettings
from pycyrus.auth.identity import IdentitySettings, InvalidUserId
from pycyrus.auth.interfaces import IMailUser, ScramKeys
from pycyrus.config.settings import Settings
from pycyrus.errors import (
    AuthenticationFailed,
    AuthenticationUnavailable,
    AuthorizationDenied,
    MalformedExchange,
    MechanismUnavailable,
    PlaintextRefused,
)
from pycyrus.interfaces import Authenticated, Challenge, IAuthenticator, ISaslExchange
from pycyrus.model.identity import AdminScope, Identity
from pycyrus.test.auth.parts import CLEAR, IDENTITIES, TLS, AuthTestCase, DictChecker, KeyedChecker, at_once
from pycyrus.test.auth.services import SecretsChecker


class LogTestCase(AuthTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.events: list[Any] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def badlogins(self) -> list[Any]:
        return [event for event in self.events if str(event.get("log_format")).startswith("badlogin")]


class LoginTests(LogTestCase):
    def test_interfaces(self) -> None:
        """Providers provide, and an identity is an avatar."""
        authenticator = self.authenticator()
        verifyObject(IAuthenticator, authenticator)
        verifyObject(ISaslExchange, authenticator.start("PLAIN", TLS))
        verifyObject(IMailUser, Identity("fred"))

    def test_right_password(self) -> None:
        """At once, and with the identity made of the canonical id."""
        authenticator = self.authenticator()
        self.assertEqual(
            self.run_now(authenticator.login(b"FRED", b"secret", TLS)), Authenticated(Identity("fred"), "fred")
        )
        self.assertEqual(
            self.run_now(authenticator.login(b"fred%Example.com", b"other", TLS)).identity,
            Identity("fred", "example.com"),
        )
        self.assertIs(self.run_now(authenticator.login(b"boss", b"root", TLS)).identity.admin, AdminScope.GLOBAL)

    def test_one_answer_for_all_failures(self) -> None:
        """Unknown user, wrong password, impossible name, empty or endless password."""
        authenticator = self.authenticator()
        for user, password in (
            (b"fred", b"wrong"),
            (b"nobody", b"secret"),
            (b"../fred", b"secret"),
            (b"fred\xff", b"secret"),
            (b"x" * 10000, b"secret"),
            (b"{user}", b"secret"),
            (b"fred", b""),
            (b"fred", b"x" * 2000),
        ):
            self.fails_later(authenticator.login(user, password, TLS), AuthenticationFailed)
            self.clock.advance(1000)

    def test_plaintext_needs_tls(self) -> None:
        """Unless the administrator allows it."""
        authenticator = self.authenticator()
        self.assertFalse(authenticator.allows_plaintext(CLEAR))
        self.failureResultOf(Deferred.fromCoroutine(authenticator.login(b"fred", b"secret", CLEAR)), PlaintextRefused)
        self.assertRaises(PlaintextRefused, authenticator.start, "PLAIN", CLEAR)
        self.assertEqual(self.checker.asked, [])
        allowed = self.authenticator(AuthSettings(allow_plaintext=True))
        self.assertTrue(allowed.allows_plaintext(CLEAR))
        self.run_now(allowed.login(b"fred", b"secret", CLEAR))

    def test_realms(self) -> None:
        """A realm that is not listed may not log in, whatever the password."""
        authenticator = self.authenticator(identities=IdentitySettings())
        self.fails_later(authenticator.login(b"fred@example.com", b"other", TLS), AuthenticationFailed)
        listed = self.authenticator(identities=IdentitySettings(realms=frozenset({"example.com"})))
        self.run_now(listed.login(b"fred@example.com", b"other", TLS))

    def test_unavailable(self) -> None:
        """What cannot be told now is no failure: not delayed, and not remembered."""
        self.checker.error = AuthenticationUnavailable("directory is down")
        authenticator = self.authenticator()
        self.failureResultOf(
            Deferred.fromCoroutine(authenticator.login(b"fred", b"secret", TLS)), AuthenticationUnavailable
        )
        self.checker.error = None
        self.run_now(authenticator.login(b"fred", b"secret", TLS))

    def test_log_line(self) -> None:
        """Badlogin with address and name, escaped, and never the password."""
        authenticator = self.authenticator()
        self.fails_later(authenticator.login(b"fr\r\n\x1b[31m{x}\xff", b"hunter2", TLS), AuthenticationFailed)
        (event,) = self.badlogins()
        text = event["log_format"].format(**event)
        self.assertTrue(
            text.startswith("badlogin: [192.0.2.1] plaintext (fr\\x0d\\x0a\\x1b[31m{x}\\xff) [SASL(-13): "), text
        )
        self.assertTrue(text.endswith("SESSIONID=<s1>"), text)
        self.assertNotIn("hunter2", repr(event))

    def test_bad_configuration(self) -> None:
        """An impossible name among admins or proxyservers is told at start."""
        self.assertRaises(InvalidUserId, self.authenticator, AuthSettings(proxy_servers=("a/b",)))
        self.assertRaises(InvalidUserId, self.authenticator, identities=IdentitySettings(admins=("a/b",)))

    def test_domains_never_mix(self) -> None:
        """The cache knows domain and service."""
        authenticator = self.authenticator()
        self.run_now(authenticator.login(b"fred", b"secret", TLS))
        self.fails_later(authenticator.login(b"fred@example.com", b"secret", TLS), AuthenticationFailed)


class MechanismTests(AuthTestCase):
    def test_offer(self) -> None:
        """Strongest first; plaintext only under TLS; SCRAM only with keys; nothing without TLS where it is required."""
        keyed = KeyedChecker({}, {})
        everything = ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN"]
        for settings, checker, clear, secure in (
            (AuthSettings(), self.checker, [], ["PLAIN", "LOGIN"]),
            (AuthSettings(), keyed, everything[:2], everything),
            (AuthSettings(allow_plaintext=True), keyed, everything, everything),
            (AuthSettings(("plain", "SCRAM-SHA-1")), keyed, ["SCRAM-SHA-1"], ["SCRAM-SHA-1", "PLAIN"]),
            (AuthSettings(tls_required=True, allow_plaintext=True), keyed, [], everything),
        ):
            authenticator = self.authenticator(settings, checkers=[checker])
            self.assertEqual(list(authenticator.mechanisms(CLEAR)), clear)
            self.assertEqual(list(authenticator.mechanisms(TLS)), secure)

    def test_not_offered_is_not_there(self) -> None:
        """Names are found in any case, and only those that are offered."""
        authenticator = self.authenticator(AuthSettings(("PLAIN",)))
        authenticator.start("plain", TLS)
        for name in ("LOGIN", "SCRAM-SHA-256", "NTLM", "", "x" * 10000):
            self.assertRaises(MechanismUnavailable, authenticator.start, name, TLS)
        required = self.authenticator(AuthSettings(tls_required=True), checkers=[KeyedChecker({}, {})])
        self.assertRaises(MechanismUnavailable, required.start, "SCRAM-SHA-1", CLEAR)


class ProxyTests(LogTestCase):
    def plain(self, authenticator: Any, message: bytes) -> Any:
        return authenticator.start("PLAIN", TLS).step(message)

    def allowed(self, message: bytes, settings: AuthSettings = AuthSettings()) -> Authenticated:  # noqa: B008 - frozen
        result = self.run_now(self.plain(self.authenticator(settings), message))
        assert isinstance(result, Authenticated)
        return result

    def denied(self, message: bytes, settings: AuthSettings = AuthSettings()) -> None:  # noqa: B008 - frozen
        self.fails_later(self.plain(self.authenticator(settings), message), AuthorizationDenied)

    def test_oneself(self) -> None:
        """In any spelling."""
        self.assertEqual(self.allowed(b"Fred@internal\0fred\0secret"), Authenticated(Identity("fred"), "fred"))

    def test_nobody_else(self) -> None:
        """An ordinary user acts for nobody, of the same name in another domain least of all."""
        for acting_as in (b"mary", b"boss", b"fred@example.com", b"../x", b"\xff", b"anyone"):
            self.denied(acting_as + b"\0fred\0secret")
        self.assertEqual(len(self.badlogins()), 6)

    def test_administrator(self) -> None:
        """Acts as anybody, with that one's rights."""
        self.assertEqual(self.allowed(b"mary\0boss\0root"), Authenticated(Identity("mary"), "boss"))

    def test_domain_administrator(self) -> None:
        """Ends at the domain."""
        self.checker.passwords["chief@example.com"] = b"c"
        message = b"%b\0chief@example.com\0c"
        self.assertEqual(self.allowed(message % b"fred@example.com").identity, Identity("fred", "example.com"))
        for foreign in (b"fred", b"fred@example.net", b"boss", b"fred@internal"):
            self.denied(message % foreign)

    def test_proxy_server(self) -> None:
        """Acts as anybody; an administrator that it acts for stays one."""
        settings = AuthSettings(proxy_servers=("mary",))
        self.assertEqual(self.allowed(b"fred\0mary\0lamb", settings), Authenticated(Identity("fred"), "mary"))
        self.assertIs(self.allowed(b"boss\0mary\0lamb", settings).identity.admin, AdminScope.GLOBAL)
        self.denied(b"mary\0fred\0secret", settings)
        self.denied(b"fred\0fred@example.com\0other", AuthSettings(proxy_servers=("fred",)))

    def test_wrong_password_of_a_proxy(self) -> None:
        """Is a failed login like any other."""
        authenticator = self.authenticator(AuthSettings(proxy_servers=("mary",)))
        self.fails_later(self.plain(authenticator, b"fred\0mary\0wrong"), AuthenticationFailed)

    def test_services_between_servers(self) -> None:
        """Take administrators, as themselves whatever they ask for."""
        settings = AuthSettings(admins_only=True)
        self.assertEqual(self.allowed(b"mary\0boss\0root", settings).identity.user, "boss")
        self.denied(b"\0fred\0secret", settings)


class DelayTests(LogTestCase):
    def attempt(self, authenticator: Any, user: bytes = b"fred", password: bytes = b"wrong") -> Deferred[Any]:
        result = Deferred.fromCoroutine(authenticator.login(user, password, TLS))
        result.addErrback(lambda failure: failure.trap(AuthenticationFailed, AuthenticationUnavailable))
        return result

    def test_grows(self) -> None:
        """From the pause to a limit, and from anew after a while."""
        authenticator = self.authenticator(delays=DelaySettings(pause=2, longest=10, memory=600))
        waits = []
        for number in range(14):
            start = self.clock.seconds()
            result = self.attempt(authenticator, password=b"%d" % number)
            while not result.called:
                self.clock.advance(1)
            waits.append(self.clock.seconds() - start)
        self.assertEqual(waits, [2, 2, 2, 4, 4, 4, 8, 8, 8, 10, 10, 10, 10, 10])
        self.clock.advance(1000)
        result = self.attempt(authenticator)
        self.clock.advance(2)
        self.assertIs(self.successResultOf(result), AuthenticationFailed)

    def test_success_is_never_delayed(self) -> None:
        """Guessers cannot keep a user out."""
        authenticator = self.authenticator()
        for number in range(50):
            self.attempt(authenticator, password=b"%d" % number)
        self.clock.advance(100)
        self.run_now(authenticator.login(b"fred", b"secret", TLS))

    def test_many_connections_do_not_help(self) -> None:
        """While five guesses at an account wait, the same address is turned away unchecked; others are not."""
        authenticator = self.authenticator(cache=CacheSettings(0, 0))
        results = [self.attempt(authenticator, password=b"%d" % number) for number in range(100)]
        self.assertEqual(len(self.checker.asked), 5)
        self.assertEqual([self.successResultOf(result) for result in results[5:]], [AuthenticationUnavailable] * 95)
        self.run_now(authenticator.login(b"mary", b"lamb", TLS))
        other = TLS.__class__("imap", "192.0.2.99", tls=True)
        self.run_now(authenticator.login(b"fred", b"secret", other))
        self.clock.advance(100)
        self.run_now(authenticator.login(b"fred", b"secret", TLS))

    def test_a_volley(self) -> None:
        """Passwords that are sent together are not all looked at; one password on many connections is."""
        authenticator = self.authenticator(cache=CacheSettings(0, 0))
        checked: list[Deferred[Any]] = []

        def slow(credentials: Any) -> Deferred[Any]:
            checked.append(Deferred())
            return checked[-1]

        self.patch(self.checker, "requestAvatarId", slow)
        results = [self.attempt(authenticator, password=b"%d" % number) for number in range(100)]
        self.assertEqual(len(checked), 10)
        for answer in checked:
            answer.errback(UnauthorizedLogin())
        self.assertEqual([self.successResultOf(result) for result in results[10:]], [AuthenticationUnavailable] * 90)
        self.assertEqual(len(authenticator.delays._checked), 0)
        self.clock.advance(1000)
        checked.clear()
        clients = [Deferred.fromCoroutine(authenticator.login(b"fred", b"secret", TLS)) for _ in range(100)]
        for answer in checked:
            answer.callback(b"fred")
        for client in clients:
            self.assertEqual(self.successResultOf(client).authenticated_as, "fred")

    def test_exchanges_begun_together(self) -> None:
        """SCRAM exchanges that were begun before any failed are not all finished."""
        checker = KeyedChecker({}, {("fred", "SCRAM-SHA-256"): ScramKeys(b"salt", 4096, b"s" * 32, b"k" * 32)})
        authenticator = self.authenticator(checkers=[checker])
        exchanges = [authenticator.start("SCRAM-SHA-256", TLS) for _ in range(20)]
        answers = []
        for exchange in exchanges:
            challenge = self.run_now(exchange.step(b"n,,n=fred,r=abc"))
            assert isinstance(challenge, Challenge)
            nonce = challenge.data.split(b",")[0]
            answers.append(b"c=biws,%b,p=%b" % (nonce, b64encode(bytes(32))))
        ends: list[Any] = []
        for exchange, answer in zip(exchanges, answers, strict=True):
            _ = Deferred.fromCoroutine(exchange.step(answer)).addBoth(ends.append)
        self.clock.advance(1000)
        self.assertEqual([end.type for end in ends].count(AuthenticationFailed), 5)
        self.assertEqual([end.type for end in ends].count(AuthenticationUnavailable), 15)

    def test_spraying(self) -> None:
        """Many accounts from one address are bounded too."""
        authenticator = self.authenticator(delays=DelaySettings(per_address=10))
        for number in range(50):
            self.attempt(authenticator, b"user%d" % number)
        self.assertEqual(len(self.checker.asked), 10)
        self.assertEqual(authenticator.delays.waiting, 10)
        self.clock.advance(100)
        self.assertEqual(authenticator.delays.waiting, 0)

    def test_connection_that_goes_away(self) -> None:
        """Nobody waits any more, but the place stays taken: going away early does not make guessing faster."""
        authenticator = self.authenticator(cache=CacheSettings(0, 0))
        for number in range(20):
            result = Deferred.fromCoroutine(authenticator.login(b"fred", b"%d" % number, TLS))
            result.cancel()
            self.failureResultOf(result, CancelledError, AuthenticationUnavailable)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(len(self.checker.asked), 5)
        self.clock.advance(24)
        self.assertEqual(authenticator.delays.waiting, 0)
        self.assertEqual(len(authenticator.delays._held), 0)

    def test_from_many_addresses(self) -> None:
        """
        Guesses at one account from everywhere are bounded.

        Meanwhile its user comes in from where they did before, and others from anywhere.
        """
        authenticator = self.authenticator(cache=CacheSettings(0, 0), delays=DelaySettings(anywhere=10))
        self.run_now(authenticator.login(b"fred", b"secret", TLS))
        self.checker.asked.clear()
        for number in range(100):
            channel = TLS.__class__("imap", f"203.0.113.{number}", tls=True)
            _ = Deferred.fromCoroutine(authenticator.login(b"fred", b"x", channel)).addErrback(lambda _: None)
        self.assertEqual(len(self.checker.asked), 10)
        self.run_now(authenticator.login(b"fred", b"secret", TLS))
        elsewhere = TLS.__class__("imap", "198.51.100.7", tls=True)
        self.run_now(authenticator.login(b"mary", b"lamb", elsewhere))
        self.failureResultOf(
            Deferred.fromCoroutine(authenticator.login(b"fred", b"secret", elsewhere)), AuthenticationUnavailable
        )
        self.clock.advance(100)
        self.run_now(authenticator.login(b"fred", b"secret", elsewhere))

    def test_networks_of_ipv6(self) -> None:
        """A /64 is one address: its owner has all of them."""
        authenticator = self.authenticator(cache=CacheSettings(0, 0))
        for number in range(100):
            channel = TLS.__class__("imap", f"2001:db8::{number:x}", tls=True)
            _ = Deferred.fromCoroutine(authenticator.login(b"fred", b"x", channel)).addErrback(lambda _: None)
        self.assertEqual(len(self.checker.asked), 5)
        self.clock.advance(100)

    def test_bounded_memory(self) -> None:
        """A million addresses or names take no more room than is set."""
        authenticator = self.authenticator(delays=DelaySettings(entries=20, waiting=7))
        for number in range(100):
            channel = TLS.__class__("imap", f"192.0.2.{number}", tls=True)
            Deferred.fromCoroutine(authenticator.login(b"u%d" % number, b"x", channel)).addErrback(lambda _: None)
        self.assertEqual(len(cast(LocalCounts, authenticator.delays._failures)), 40)
        self.assertEqual(authenticator.delays.waiting, 7)
        self.clock.advance(100)

    def test_no_pause(self) -> None:
        """C{failedloginpause: 0}."""
        authenticator = self.authenticator(delays=DelaySettings(pause=0))
        self.assertIs(self.successResultOf(self.attempt(authenticator)), AuthenticationFailed)

    def test_malformed_is_not_delayed(self) -> None:
        """No password was guessed."""
        authenticator = self.authenticator()
        result = Deferred.fromCoroutine(authenticator.start("PLAIN", TLS).step(b"rubbish"))
        self.failureResultOf(result, MalformedExchange)


class VirtualDomainTests(AuthTestCase):
    def test_domain_of_the_local_address(self) -> None:
        """C{virtdomains: on} looks up where the client connected to, once."""
        authenticator = self.authenticator(identities=IdentitySettings(virtdomains="on"))
        asked: list[str] = []

        async def domain(address: str) -> str:
            asked.append(address)
            return "example.com"

        authenticator._rules = replace(authenticator._rules, local_domain=domain)
        channel = TLS.__class__("imap", "192.0.2.1", tls=True, local_address="198.51.100.1")
        self.assertEqual(
            self.run_now(authenticator.login(b"fred", b"other", channel)).identity, Identity("fred", "example.com")
        )
        self.assertEqual(asked, ["198.51.100.1"])


class ChainTests(AuthTestCase):
    def test_for_domains(self) -> None:
        """A checker may be for some domains only: whoever is in others is as unknown to it, by every mechanism."""
        here, there = DictChecker({"fred": b"f", "anna@a.org": b"a"}), SecretsChecker({"fred": "g", "bob@b.org": "b"})
        chain = CheckerChain([here, there], [frozenset({"", "a.org"}), frozenset({"b.org"})])
        parts = Authentication(self.clock, chain, at_once, CacheSettings(0, 0), DelaySettings(pause=0))
        subject = parts.authenticator(IDENTITIES, AuthSettings(mechanisms=("PLAIN", "SCRAM-SHA-256", "CRAM-MD5")))
        for user, password, right in (
            (b"fred", b"f", True), (b"anna@a.org", b"a", True), (b"bob@b.org", b"b", True),
            (b"fred", b"g", False), (b"bob@c.org", b"b", False),
        ):  # fmt: skip
            login = Deferred.fromCoroutine(subject.login(user, password, TLS))
            if right:
                self.assertEqual(self.successResultOf(login).identity.user_id, user.decode())
            else:
                self.failureResultOf(login, AuthenticationFailed)
        self.assertEqual({each.user_id for each in here.asked}, {"fred", "anna@a.org"})
        self.assertIsNone(self.run_now(chain.shared_secret("fred")))
        self.assertFalse(self.run_now(chain.scram_keys("fred", "SCRAM-SHA-256")).usable)
        self.assertTrue(self.run_now(chain.scram_keys("bob@b.org", "SCRAM-SHA-256")).usable)
        there.disabled.update({"fred", "bob@b.org"})
        self.assertEqual((chain.is_disabled("fred"), chain.is_disabled("bob@b.org")), (False, True))
        self.assertIn("other domains", "\n".join(self.run_now(chain.explain("fred", "imap"))))

    def test_how_domains_are_written(self) -> None:
        self.assertEqual(of_domains("ldap"), ("ldap", None))
        self.assertEqual(of_domains("sql@a.org,B.org"), ("sql", frozenset({"a.org", "b.org"})))
        self.assertEqual(of_domains("passwd@"), ("passwd", frozenset({""})))
        settings = Settings({"sasl_pwcheck_method": "auxprop@a.org passwd@", "sasl_auxprop_plugin": "sasldb sql"})
        self.assertEqual(checker_names(settings), (("sasldb@a.org", "sql@a.org", "passwd@"), ()))

    def test_first_that_accepts(self) -> None:
        """Checkers are asked in their order; one that cannot tell hides no other's yes."""
        second = DictChecker({"anna": b"a"})
        authenticator = self.authenticator(checkers=[self.checker, second], cache=CacheSettings(0, 0))
        self.run_now(authenticator.login(b"fred", b"secret", TLS))
        self.assertEqual(second.asked, [])
        self.run_now(authenticator.login(b"anna", b"a", TLS))
        self.checker.error = AuthenticationUnavailable()
        self.run_now(authenticator.login(b"anna", b"a", TLS))
        self.failureResultOf(
            Deferred.fromCoroutine(authenticator.login(b"fred", b"secret", TLS)), AuthenticationUnavailable
        )
