"""Passwords from SQL databases: SQLite here, others by their drivers."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.cred.error import UnauthorizedLogin
from twisted.trial.unittest import TestCase

from pycyrus.auth.checkers.sql import PARAMETER, BadDatabase, SqlChecker, SqlCheckerFactory, is_right, parse_query
from pycyrus.auth.credentials import MailPassword
from pycyrus.auth.interfaces import CheckerContext
from pycyrus.auth.outside import Unusable
from pycyrus.auth.users import UserDatabase
from pycyrus.errors import AuthenticationUnavailable
from pycyrus.test.auth.parts import at_once

SELECT = "SELECT %p FROM users WHERE name = '%u' AND domain = '%r'"
ROWS = (
    ("alice", "a.org", "secret"),
    ("bob", "a.org", "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="),
    ("carol", "", "secret"),
    ("twin", "a.org", "secret"),
    ("twin", "a.org", "other"),
    ("nil", "a.org", None),
    ("crypt", "a.org", "{CRYPT}x"),
)


class SqlCase(TestCase):
    """A database of SQLite."""

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.path = Path(self.mktemp()).absolute()
        with sqlite3.connect(self.path) as connection:
            connection.execute("CREATE TABLE users (name TEXT, domain TEXT, userPassword TEXT)")
            connection.executemany("INSERT INTO users VALUES (?, ?, ?)", ROWS)
        connection.close()

    def checker(self, **more: str) -> SqlChecker:
        """By the options of Cyrus SASL."""
        options = {"sasl_sql_engine": "sqlite3", "sasl_sql_database": str(self.path), "sasl_sql_select": SELECT}
        made = SqlCheckerFactory().make_checker(
            CheckerContext(self.path.parent, {**options, **more}, at_once, self.reactor)
        )
        self.addCleanup(made.outside.close)
        return made

    async def check(self, checker: SqlChecker, user: str, password: bytes = b"secret") -> object:
        return await checker.requestAvatarId(MailPassword(user, password, "imap"))


class LoginTests(SqlCase):
    async def test_logins(self) -> None:
        """Who comes in, and who does not; never by what a name contains."""
        checker = self.checker()
        for user in ("alice@a.org", "bob@a.org", "carol"):
            self.assertEqual(await self.check(checker, user), user.encode())
        for user, password in (
            ("alice@a.org", b"wrong"),
            ("alice@a.org", b""),
            ("alice", b"secret"),
            ("nobody@a.org", b"secret"),
            ("twin@a.org", b"secret"),
            ("nil@a.org", b"None"),
            ("nil@a.org", b""),
            ("x' OR '1'='1", b"secret"),
            ("alice' -- ", b"secret"),
            ("%u", b"secret"),
            ("%", b"secret"),
        ):
            with self.assertRaises(UnauthorizedLogin, msg=user):
                await self.check(checker, user, password)

    async def test_cannot_tell(self) -> None:
        """A hash of a kind that is not known, and a database that is not there: come again."""
        with self.assertRaises(AuthenticationUnavailable):
            await self.check(self.checker(), "crypt@a.org")
        gone = self.path.with_name("gone")
        with self.assertRaises(AuthenticationUnavailable):
            await self.check(self.checker(sasl_sql_database=str(gone)), "alice@a.org")
        self.assertFalse(gone.exists())

    async def test_connection_that_died(self) -> None:
        """Is replaced, and nobody notices."""
        checker = self.checker()
        await self.check(checker, "alice@a.org")
        for connection in checker._database._idle:
            connection.close()
        self.assertEqual(await self.check(checker, "alice@a.org"), b"alice@a.org")

    async def test_explain(self) -> None:
        """Whether there is a password, and not which."""
        (told,) = await self.checker().explain("alice@a.org", "imap")
        self.assertIn("a password is stored", told)
        self.assertNotIn("secret", told)

    def test_misconfigured(self) -> None:
        """Told at start."""
        for options in (
            {"sasl_sql_engine": "oracle"},
            {"sasl_sql_select": ""},
            {"sasl_sql_database": ""},
            {"sasl_sql_select": "SELECT 'x'"},
            {"sasl_sql_select": "SELECT p FROM t WHERE n = '%u' AND h = '%h'"},
        ):
            self.assertRaises(BadDatabase, self.checker, **options)

    def test_argon2(self) -> None:
        """A hash such as our own."""
        users = UserDatabase(Path(self.mktemp()))
        self.addCleanup(users.close)
        users.add("fred", "secret")
        found = users.password_hash("fred")
        assert found is not None
        self.assertTrue(is_right(found.encoded.encode(), b"secret"))
        self.assertFalse(is_right(found.encoded.encode(), b"Secret"))
        self.assertRaises(Unusable, is_right, b"{CRYPT}x", b"x")


class QueryTests(TestCase):
    def test_parameters(self) -> None:
        """Quoted or not, joined or not; other texts, marks and percent signs stay what they are."""
        for template, text, parameters in (
            ("SELECT %p WHERE n = '%u@%r'", f"SELECT userPassword WHERE n = {PARAMETER}", ("%u@%r",)),
            ("SELECT p WHERE n = %u AND r = '%r'", f"SELECT p WHERE n = {PARAMETER} AND r = {PARAMETER}", ("%u", "%r")),
            ("SELECT '?' || p WHERE n LIKE '%u'", f"SELECT '?' || p WHERE n LIKE {PARAMETER}", ("%u",)),
            ("SELECT p WHERE n = 'it''s %u'", f"SELECT p WHERE n = {PARAMETER}", ("it's %u",)),
        ):
            query = parse_query(template)
            self.assertEqual((query.text, query.parameters), (text, parameters))

    @settings(max_examples=100, deadline=None, database=None)
    @given(st.text(alphabet="%urpx'\" ?=a", max_size=30))
    def test_any_template(self, template: str) -> None:
        """Understood, or refused; no token is left in the text."""
        try:
            query = parse_query(template)
        except BadDatabase:
            return
        self.assertEqual(query.text.count(PARAMETER), len(query.parameters))
        self.assertTrue(any("%u" in parameter for parameter in query.parameters))
