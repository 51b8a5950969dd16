"""Who may act as whom, and who is denied."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.auth.acting import ActingRules
from pycyrus.auth.authenticator import AuthSettings
from pycyrus.auth.delays import DelaySettings
from pycyrus.auth.denials import Denials, matches
from pycyrus.auth.identity import Identities, IdentitySettings
from pycyrus.errors import AuthenticationFailed, AuthorizationDenied
from pycyrus.model.identity import AdminScope, Identity
from pycyrus.test.auth.parts import TLS, AuthTestCase

T = TypeVar("T")

IDENTITIES = IdentitySettings(virtdomains="userid", admins=("boss", "chief@example.com"))


def outcome(coroutine: Coroutine[Any, Any, T]) -> T:
    """What something gives, or raises, that does not wait."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        value: T = stop.value
        return value
    raise AssertionError("it waits")


class ActingTests(AuthTestCase):
    """RFC 4422 section 3.4.1, with Cyrus's rules."""

    def rules(self, **more: object) -> ActingRules:
        return ActingRules(Identities(IDENTITIES), ("proxy",), **more)  # type: ignore[arg-type]

    def acts(self, rules: ActingRules, who: str, acting_as: str) -> str:
        """Who it goes on as; C{no} if it may not."""
        identity = Identities(IDENTITIES).identity(who)
        try:
            return outcome(rules.decide(identity, acting_as, "imap")).identity.user_id
        except AuthorizationDenied:
            return "no"

    def test_rules(self) -> None:
        """Itself; proxies as anybody; administrators as anybody whom they administer."""
        cases = {
            ("fred", ""): "fred",
            ("fred", "fred"): "fred",
            ("fred", "mary"): "no",
            ("fred", "boss"): "no",
            ("proxy", "mary@example.com"): "mary@example.com",
            ("proxy", "boss"): "boss",
            ("boss", "mary@example.com"): "mary@example.com",
            ("chief@example.com", "mary@example.com"): "mary@example.com",
            ("chief@example.com", "mary@example.org"): "no",
            ("chief@example.com", "mary"): "no",
            ("chief@example.com", "boss"): "no",
            ("proxy@example.com", "mary@example.com"): "no",
        }
        rules = self.rules()
        for (who, acting_as), expected in cases.items():
            self.assertEqual(self.acts(rules, who, acting_as), expected, (who, acting_as))

    def test_administrators_of_an_inbox(self) -> None:
        """C{loginuseacl}."""

        async def administers(identity: Identity, wanted: Identity) -> bool:
            return (identity.user_id, wanted.user_id) == ("fred", "mary")

        rules = self.rules(is_inbox_administrator=administers)
        self.assertEqual(self.acts(rules, "fred", "mary"), "mary")
        self.assertEqual(self.acts(rules, "mary", "fred"), "no")

    def test_between_servers(self) -> None:
        """Administrators only, as themselves whatever they ask for."""
        rules = self.rules(admins_only=True)
        self.assertEqual(self.acts(rules, "boss", "mary"), "boss")
        self.assertEqual(self.acts(rules, "proxy", "mary"), "no")
        self.assertEqual(self.acts(rules, "fred", ""), "no")

    def test_denied(self) -> None:
        """Whoever the session would be for is looked at; administrators are not."""
        rules = self.rules(is_denied=lambda user, service: user == "mary" and service == "imap")
        for who, acting_as in (("mary", ""), ("proxy", "mary")):
            with self.assertRaises(AuthenticationFailed):
                self.acts(rules, who, acting_as)
        self.assertEqual(self.acts(rules, "boss", "mary"), "mary")
        self.assertEqual(self.acts(rules, "fred", ""), "fred")

    def test_denied_at_the_login(self) -> None:
        """The right password does not help, and the answer is that of a wrong one."""
        path = self.directory() / "user_deny.db"
        path.write_bytes(b"fred\t2\timap\tunpaid\n")
        subject = self.authenticator(AuthSettings(), delays=DelaySettings(pause=0))
        denied = self.parts.authenticator(IDENTITIES, AuthSettings(), is_denied=Denials(path).is_denied)
        self.assertEqual(outcome(subject.login(b"fred", b"secret", TLS)).identity.user_id, "fred")
        with self.assertRaises(AuthenticationFailed):
            outcome(denied.login(b"fred", b"secret", TLS))
        pop = replace(TLS, service="pop3")
        self.assertEqual(outcome(denied.login(b"fred", b"secret", pop)).identity.admin, AdminScope.NONE)


class DenialTests(SynchronousTestCase):
    """C{user_deny.db}."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.denials = Denials(self.path)

    def test_no_file(self) -> None:
        self.assertFalse(self.denials.is_denied("fred", "imap"))

    def test_patterns(self) -> None:
        """The last that fits decides."""
        for patterns, service, expected in (
            ("imap", "imap", True),
            ("imap", "imaps", False),
            ("imap*", "imaps", True),
            ("*,!imap", "imap", False),
            ("*,!imap", "pop3", True),
            ("!imap,*", "imap", True),
            ("pop3, sieve", "sieve", True),
            ("", "imap", False),
        ):
            self.assertEqual(matches(patterns, service), expected, (patterns, service))

    def test_changes_are_seen(self) -> None:
        self.path.write_bytes(b"fred\t2\t*\tunpaid\n")
        self.assertTrue(self.denials.is_denied("fred", "imap"))
        self.assertFalse(self.denials.is_denied("red", "imap"))
        self.path.write_bytes(b"fred\t2\tpop3\tunpaid, really\nmary\t2\t*\t")
        self.assertFalse(self.denials.is_denied("fred", "imap"))
        self.assertTrue(self.denials.is_denied("fred", "pop3"))
        self.assertTrue(self.denials.is_denied("mary", "imap"))
        self.path.unlink()
        self.assertFalse(self.denials.is_denied("mary", "imap"))

    def test_as_cyrus_writes_it(self) -> None:
        """TABs within a value are escaped in a flat file."""
        self.path.write_bytes(b"fred\t2\xff\x89imap,sieve\xff\x89gone\n")
        self.assertTrue(self.denials.is_denied("fred", "sieve"))
        self.assertFalse(self.denials.is_denied("fred", "pop3"))

    def test_broken_entries_are_told(self) -> None:
        self.path.write_bytes(b"fred\t9\t*\t\nmary\n\xa1")
        for user in ("fred", "mary"):
            self.assertFalse(self.denials.is_denied(user, "imap"))
        self.path.write_bytes(b"\xa1\x02\x8b\x0dtwoskip file\0\0" + b"fred\t2\t*\t\n")
        self.assertFalse(self.denials.is_denied("fred", "imap"))

    @settings(max_examples=50, deadline=None, database=None)
    @given(st.binary(max_size=100), st.text(max_size=20))
    def test_garbage(self, content: bytes, user: str) -> None:
        self.path.write_bytes(content)
        denials = Denials(self.path)
        self.assertIsInstance(denials.is_denied(user.encode("utf-8", "replace").decode(), "imap"), bool)
