"""Passwords from SQL databases: SQLite here, others by their drivers."""

from __future__ import annotations

import importlib
import os
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, TestCase

from pycyrus.auth.assemble import Authentication
from pycyrus.auth.authenticator import AuthSettings
from pycyrus.auth.checkers.chain import CheckerChain
from pycyrus.auth.checkers.sql import PARAMETER, BadDatabase, SqlChecker, SqlCheckerFactory, is_right, parse_query
from pycyrus.auth.client import ClientCredentials, choose
from pycyrus.auth.credentials import MailPassword
from pycyrus.auth.delays import DelaySettings
from pycyrus.auth.interfaces import CheckerContext
from pycyrus.auth.outside import Unusable
from pycyrus.auth.users import UserDatabase
from pycyrus.errors import AuthenticationFailed, AuthenticationUnavailable
from pycyrus.interfaces import Authenticated, Challenge
from pycyrus.test.auth.parts import CLEAR, IDENTITIES, at_once
from pycyrus.testing import mariadb
from pycyrus.testing.mariadb import Mariadb
from pycyrus.testing.postgresql import USER, Postgresql
from pycyrus.testing.programs import ProgramFailed

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


class SecretTests(SqlCase):
    """Passwords that are stored as they are serve CRAM-MD5 and its like, where those are asked for."""

    async def test_where_it_is_asked_for(self) -> None:
        self.assertFalse(CheckerChain([self.checker()]).has_shared_secrets)
        self.assertFalse(CheckerChain([self.checker(sasl_mech_list="PLAIN")]).has_shared_secrets)
        chain = CheckerChain([self.checker(imap_sasl_mech_list="plain cram-md5")])
        self.assertTrue(chain.has_shared_secrets)
        self.assertEqual(await chain.shared_secret("alice@a.org"), b"secret")
        for user in ("bob@a.org", "crypt@a.org", "nil@a.org", "nobody@a.org", "twin@a.org"):
            self.assertIsNone(await chain.shared_secret(user), user)

    async def test_login(self) -> None:
        """By CRAM-MD5, both sides."""
        parts = Authentication(
            Clock(), CheckerChain([self.checker(sasl_mech_list="CRAM-MD5")]), at_once, delays=DelaySettings(pause=0)
        )
        subject = parts.authenticator(IDENTITIES, AuthSettings(mechanisms=("CRAM-MD5",)))
        for user, password, expected in (("alice@a.org", "secret", True), ("bob@a.org", "secret", False)):
            client = choose(["CRAM-MD5"], ClientCredentials(user, password=password), tls=False)
            server = subject.start("CRAM-MD5", CLEAR)
            challenge = await server.step(None)
            assert isinstance(challenge, Challenge)
            try:
                result = await server.step(client.step(challenge.data))
            except AuthenticationFailed:
                self.assertFalse(expected)
            else:
                self.assertTrue(expected)
                assert isinstance(result, Authenticated)
                self.assertEqual(result.authenticated_as, user)


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


class ServerCase(TestCase):
    """A database on a port of the loopback."""

    timeout = 120

    def directory(self) -> Path:
        """Short, and others may pass through it."""
        directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
        directory.chmod(0o755)
        return directory

    async def try_logins(self, checker: SqlChecker, server: Postgresql | Mariadb) -> None:
        """By parameters; and over a restart."""

        async def check(user: str, password: bytes = b"secret") -> object:
            return await checker.requestAvatarId(MailPassword(user, password, "imap"))

        for user in ("alice@a.org", "bob@a.org", "carol"):
            self.assertEqual(await check(user), user.encode())
        for user, password in (
            ("alice@a.org", b"x"), ("twin@a.org", b"secret"), ("x' OR '1'='1", b"secret"),
            ("x\\' OR 1=1 -- ", b"secret"), ('x" OR ""="', b"secret"), ("%", b"secret"),
        ):  # fmt: skip
            with self.assertRaises(UnauthorizedLogin, msg=user):
                await check(user, password)
        await deferToThread(server.stop)
        with self.assertRaises(AuthenticationUnavailable):
            await check("alice@a.org")
        checker.outside.forgive()
        await deferToThread(server.start)
        self.assertEqual(await check("alice@a.org"), b"alice@a.org")

    def checker(self, **options: str) -> SqlChecker:
        """First by a host that is not there."""
        from twisted.internet import reactor

        context = CheckerContext(
            Path(), {"sasl_sql_select": SELECT + " AND name LIKE '%%'", **options}, at_once, reactor
        )
        made = SqlCheckerFactory().make_checker(context)
        self.addCleanup(made.outside.close)
        return made


class PostgresqlTests(ServerCase):
    """The same with PostgreSQL, by psycopg."""

    async def test_logins(self) -> None:
        psycopg = driver("psycopg")
        server = await deferToThread(Postgresql, self.directory())
        await deferToThread(server.start)
        self.addCleanup(server.stop)
        with psycopg.connect(host="127.0.0.1", port=server.port, user=USER, autocommit=True) as connection:
            connection.execute('CREATE TABLE users (name text, domain text, "userpassword" text)')
            connection.cursor().executemany("INSERT INTO users VALUES (%s, %s, %s)", ROWS)
        checker = self.checker(
            sasl_sql_engine="pgsql",
            sasl_sql_hostnames=f"127.0.0.1:1, 127.0.0.1:{server.port}",
            sasl_sql_user=USER,
            sasl_sql_database=USER,
        )
        await self.try_logins(checker, server)


class MariadbTests(ServerCase):
    """The same with MariaDB, by PyMySQL."""

    async def test_logins(self) -> None:
        """Also with TLS, where it is demanded on either side."""
        pymysql = driver("pymysql")
        server = await deferToThread(Mariadb, self.directory())
        await deferToThread(server.start)
        self.addCleanup(server.stop)
        account = {"user": mariadb.USER, "password": mariadb.PASSWORD, "database": mariadb.DATABASE}
        with pymysql.connect(host="127.0.0.1", port=server.port, autocommit=True, **account) as connection:
            cursor = connection.cursor()
            cursor.execute("CREATE TABLE users (name text, domain text, userPassword text)")
            cursor.executemany("INSERT INTO users VALUES (%s, %s, %s)", ROWS)
        options = {
            "sasl_sql_engine": "mysql",
            "sasl_sql_hostnames": f"127.0.0.1:1, 127.0.0.1:{server.port}",
            "sasl_sql_user": mariadb.USER,
            "sasl_sql_passwd": mariadb.PASSWORD,
            "sasl_sql_database": mariadb.DATABASE,
        }
        await self.try_logins(self.checker(**options), server)
        await deferToThread(server.stop)
        await deferToThread(server.start, "--skip-ssl")
        alice = MailPassword("alice@a.org", b"secret", "imap")
        self.assertEqual(await self.checker(**options).requestAvatarId(alice), b"alice@a.org")
        with self.assertRaises(AuthenticationUnavailable):
            await self.checker(**options, sasl_sql_usessl="yes").requestAvatarId(alice)
        await deferToThread(server.stop)
        await deferToThread(server.start, "--require-secure-transport=ON")
        self.assertEqual(await self.checker(**options, sasl_sql_usessl="yes").requestAvatarId(alice), b"alice@a.org")


def driver(name: str) -> Any:
    """The driver; where it must be and is not, an error."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        text = "the package psycopg is not installed: pip install pycyrus[pgsql]"
        raise ProgramFailed(text) if os.environ.get("CI") == "true" else SkipTest(text) from error


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
