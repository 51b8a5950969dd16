"""User ids and identities."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.auth.identity import Identities, IdentitySettings, InvalidUserId
from pycyrus.model.identity import AdminScope, Identity

OFF = Identities(IdentitySettings())
USERID = Identities(IdentitySettings(virtdomains="userid", default_domain="internal"))
ON = Identities(IdentitySettings(virtdomains="on", default_domain="example.org"))


class CanonicalTests(SynchronousTestCase):
    def test_spellings(self) -> None:
        """All ways to write a user come to one."""
        for raw, expected in (
            (b"Fred", "fred"),
            (b"fred@Example.COM", "fred@example.com"),
            (b"fred%example.com", "fred@example.com"),
            (b"fred@internal", "fred"),
            (b"Fred.Smith+x", "fred.smith+x"),
            (b"-fred", "-fred"),
        ):
            self.assertEqual(USERID.canonical(raw), expected)

    def test_last_separator_counts(self) -> None:
        """Both marks count, and none may be left in the local part."""
        for raw in (b"a%b@example.com", b"a@b%example.com", b"a@b@example.com"):
            for identities in (OFF, USERID, ON):
                self.assertRaises(InvalidUserId, identities.canonical, raw)

    def test_local_domain(self) -> None:
        """With virtdomains on, an unqualified id belongs where the client connected to."""
        self.assertEqual(ON.canonical(b"fred", "example.com"), "fred@example.com")
        self.assertEqual(ON.canonical(b"fred@x.org", "example.com"), "fred@x.org")
        self.assertEqual(ON.canonical(b"fred", "example.org"), "fred")
        self.assertEqual(USERID.canonical(b"fred", "example.com"), "fred")

    def test_realm(self) -> None:
        """Without virtual domains the realm is part of the name, and must be in loginrealms."""
        self.assertEqual(OFF.canonical(b"fred@REALM.example"), "fred@realm.example")
        self.assertEqual(OFF.identity("fred@realm.example"), Identity("fred@realm.example"))
        self.assertFalse(OFF.may_log_in("fred@realm.example"))
        self.assertTrue(OFF.may_log_in("fred"))
        self.assertTrue(USERID.may_log_in("fred@realm.example"))
        listed = Identities(IdentitySettings(virtdomains="userid", realms=frozenset({"example.com"})))
        self.assertTrue(listed.may_log_in("fred@example.com"))
        self.assertFalse(listed.may_log_in("fred@example.net"))

    def test_forbidden(self) -> None:
        """Nothing that is a path, a wildcard, a template, or looks like another name."""
        names = [
            b"", b"@example.com", b"fred@", b"%", b"a/b", b"../x", b"..", b".fred", b"fred.", b"a..b", b"a^b",
            b"a\\b", b"a*", b"a!b", b"a?", b"a:b", b"group:x", b"a&b", b"a b", b"a\0b", b"a\nb", b"a\x7f", b"fr\xe9d",
            "\uff46red".encode(), b"anyone", b"anonymous@example.com", b"x" * 81, b"x" * 10000, b"fred@-x.org",
            b"fred@x..org", b"fred@x/../y", b"fred@x.org.", b"fred@.org", b"fred@ex(am)ple",
        ]  # fmt: skip
        for name in names:
            for identities in (OFF, USERID, ON):
                self.assertRaises(InvalidUserId, identities.canonical, name)

    def test_case_is_kept_if_asked(self) -> None:
        """C{username_tolower: no} keeps the local part; a domain has no case."""
        kept = Identities(IdentitySettings(virtdomains="userid", lower=False))
        self.assertEqual(kept.canonical(b"Fred@Example.com"), "Fred@example.com")

    @settings(max_examples=300, deadline=None, database=None)
    @given(st.binary(max_size=90) | st.from_regex(rb"[a-z.@%^/]{1,20}", fullmatch=True))
    def test_any_input(self, raw: bytes) -> None:
        """Anything is refused, or becomes an id that stays what it is."""
        for identities in (OFF, USERID, ON):
            try:
                user_id = identities.canonical(raw)
            except InvalidUserId:
                continue
            self.assertEqual(identities.canonical(user_id.encode()), user_id)
            self.assertEqual(identities.identity(user_id).user_id, user_id)


class AdminTests(SynchronousTestCase):
    def test_scopes(self) -> None:
        """Without a domain an administrator administers all, with one that domain alone."""
        identities = Identities(
            IdentitySettings(
                virtdomains="userid", admins=("Boss", "chief@example.com", "cyrus@internal", "group:staff")
            ),
            lambda user_id: frozenset({"staff"}) if user_id.startswith("staff") else frozenset(),
        )
        for user_id, scope in (
            ("boss", AdminScope.GLOBAL),
            ("cyrus", AdminScope.GLOBAL),
            ("chief@example.com", AdminScope.DOMAIN),
            ("staff1", AdminScope.GLOBAL),
            ("staff2@example.com", AdminScope.DOMAIN),
            ("boss@example.com", AdminScope.NONE),
            ("chief", AdminScope.NONE),
            ("chief@example.net", AdminScope.NONE),
            ("fred", AdminScope.NONE),
        ):
            self.assertIs(identities.identity(user_id).admin, scope, user_id)
