"""
Passwords from an SQL database, by the options of the sql plugin of Cyrus SASL.

What a user sends is a parameter of the query, never a part of it.
"""

from __future__ import annotations

import importlib
import re
import sqlite3
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from twisted.cred.error import UnauthorizedLogin
from twisted.logger import Logger
from typing_extensions import override
from zope.interface import alsoProvides, implementer

from pycyrus.auth.checkers.password_checker import PasswordChecker
from pycyrus.auth.interfaces import (
    BadCheckerOptions,
    CheckerContext,
    ICheckerFactory,
    IExplains,
    IMailPassword,
    ISharedSecrets,
)
from pycyrus.auth.ldap.passwords import UnknownScheme, matches
from pycyrus.auth.outside import Outside, Refused, SourceDown, Unusable

TIMEOUT = 5
"""Seconds for the network, and for a query."""
PARAMETER = "\0"
_KEPT = 4
"""Connections that are kept when nobody uses them."""
_TOKEN = re.compile(r"'((?:[^']|'')*)'|%([a-z%])", re.DOTALL)
_IN_TEXT = re.compile(r"%([a-z%])")


class BadDatabase(BadCheckerOptions):
    """The options of the database cannot be used; the text says what to mend."""


@dataclass(frozen=True, slots=True)
class Query:
    """
    A query for a password.

    @ivar text: With L{PARAMETER} for each parameter.
    @ivar parameters: Templates of the parameters: C{%u} user, C{%r} realm.
    """

    text: str
    parameters: tuple[str, ...]


def parse_query(template: str) -> Query:
    """
    Understand C{sasl_sql_select}.

    A quoted text with tokens, such as C{'%u@%r'}, becomes one parameter; C{%p} is the
    name of the property, always C{userPassword}.

    @raise BadDatabase: There is no such token, or nobody is asked for.
    """
    parameters: list[str] = []

    def put(found: re.Match[str]) -> str:
        quoted, token = found[1], found[2]
        if token == "%":
            return "%"
        if token == "p":
            return "userPassword"
        if token is not None:
            parameters.append(f"%{token}")
            return PARAMETER
        if "%" not in quoted:
            return found[0]
        parameters.append(quoted.replace("''", "'"))
        return PARAMETER

    text = _TOKEN.sub(put, template)
    known = set("".join(_IN_TEXT.findall("".join(parameters))))
    if not known <= set("urp%"):
        raise BadDatabase(f"sasl_sql_select: {template!r} has a token that is none of %u, %r and %p")
    if "u" not in known:
        raise BadDatabase(f"sasl_sql_select: {template!r} asks for no user: %u is missing")
    return Query(text, tuple(parameters))


def _filled(template: str, user: str, realm: str) -> str:
    return _IN_TEXT.sub(lambda found: {"u": user, "r": realm, "p": "userPassword", "%": "%"}[found[1]], template)


# --- engines ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Access:
    """
    Where the database is, and who we are there.

    @ivar tls: Speak TLS with it; as in Cyrus SASL its certificate is not looked at.
    """

    hosts: tuple[str, ...]
    user: str
    password: str = field(repr=False)
    database: str
    tls: bool = False


def _sqlite(access: Access, host: str) -> Any:
    # Never made here: an empty database would know nobody, which looks like wrong passwords.
    uri = Path(access.database).absolute().as_uri() + "?mode=ro"
    return sqlite3.connect(uri, uri=True, timeout=TIMEOUT, check_same_thread=False)


def _split_host(host: str, port: int) -> dict[str, Any]:
    name, _, given = host.partition(":")
    return {"host": name, "port": int(given or port)}


def _postgresql(access: Access, host: str) -> Any:
    driver = importlib.import_module("psycopg")
    where = _split_host(host, 5432) if not host.startswith("/") else {"host": host}
    return driver.connect(
        dbname=access.database, user=access.user or None, password=access.password or None, autocommit=True,
        connect_timeout=TIMEOUT, options=f"-c statement_timeout={TIMEOUT * 1000}",
        sslmode="require" if access.tls else "prefer", **where,
    )  # fmt: skip


def _unverified(*, tls: bool) -> ssl.SSLContext | None:
    if not tls:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _mysql(access: Access, host: str) -> Any:
    driver = importlib.import_module("pymysql")
    where = _split_host(host, 3306) if not host.startswith("/") else {"unix_socket": host}
    return driver.connect(
        database=access.database, user=access.user, password=access.password, autocommit=True, charset="utf8mb4",
        connect_timeout=TIMEOUT, read_timeout=TIMEOUT, write_timeout=TIMEOUT, ssl=_unverified(tls=access.tls), **where,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Engine:
    """
    How a kind of database is reached.

    @ivar mark: Of a parameter.
    @ivar module: To be installed; empty where it is there.
    """

    connect: Callable[[Access, str], Any]
    mark: str = "%s"
    module: str = ""


ENGINES = {
    "sqlite": _Engine(_sqlite, mark="?"),
    "sqlite3": _Engine(_sqlite, mark="?"),
    "pgsql": _Engine(_postgresql, module="psycopg"),
    "mysql": _Engine(_mysql, module="pymysql"),
}


class Database:
    """
    A database that knows passwords.  Methods block, and may be called from many threads.

    @param query: As L{parse_query} makes it.
    """

    log = Logger()

    def __init__(self, engine: _Engine, access: Access, query: Query) -> None:
        self._engine = engine
        self._access = access
        text = query.text if engine.mark == "?" else query.text.replace("%", "%%")
        self._text, self._parameters = text.replace(PARAMETER, engine.mark), query.parameters
        self._lock = threading.Lock()
        self._idle: list[Any] = []

    def passwords(self, user: str, realm: str) -> list[bytes]:
        """
        What is stored for a user: one value, or none.

        @raise Refused: There are several.
        @raise SourceDown: No host can be asked.
        """
        parameters = tuple(_filled(template, user, realm) for template in self._parameters)
        rows = self._rows(parameters)
        if len(rows) > 1:
            raise Refused("more than one row")
        value = rows[0][0] if rows else None
        return [] if value is None else [value if isinstance(value, bytes) else str(value).encode("utf-8")]

    def _rows(self, parameters: tuple[str, ...]) -> list[Any]:
        with self._lock:
            kept = self._idle.pop() if self._idle else None
        if kept is not None:
            try:
                return self._ask(kept, parameters)
            except Exception as error:  # noqa: BLE001 - drivers have no base class in common
                # It may have died while nobody used it.
                self.log.debug("SQL: an idle connection is of no use any more: {error}", error=error)
        reasons = []
        for host in self._access.hosts:
            try:
                return self._ask(self._engine.connect(self._access, host), parameters)
            except Exception as error:  # noqa: BLE001 - likewise; told below
                reasons.append(f"{type(error).__name__}: {error}")
        raise SourceDown(f"SQL: {'; '.join(reasons)}")

    def _ask(self, connection: Any, parameters: tuple[str, ...]) -> list[Any]:
        cursor = connection.cursor()
        try:
            cursor.execute(self._text, parameters)
            rows = list(cursor.fetchmany(2))
        finally:
            cursor.close()
        self._keep(connection)
        return rows

    def _keep(self, connection: Any) -> None:
        with self._lock:
            if len(self._idle) < _KEPT:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Give idle connections back."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


# --- the checker ------------------------------------------------------------

_hasher = PasswordHasher()


def is_right(stored: bytes, password: bytes) -> bool:
    """
    Whether a password is the stored one: argon2, a scheme of LDAP such as C{{SSHA512}}, or the password itself.

    @raise Unusable: It is stored in a way that cannot be checked here.
    """
    if stored.startswith(b"$argon2"):
        try:
            return _hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False
    try:
        return matches(stored, password)
    except UnknownScheme as error:
        raise Unusable(f"SQL: {error}") from error


@implementer(IExplains)
class SqlChecker(PasswordChecker):
    """Compares passwords with those of a database."""

    log = Logger()

    def __init__(self, database: Database, reactor: Any, patience: float = 3 * TIMEOUT) -> None:
        self._database = database
        self.outside = Outside("SQL", patience, database.close, reactor)

    @override
    async def check(self, credentials: IMailPassword) -> str:
        user_id: str = credentials.user_id
        password: bytes = credentials.password
        if not password:
            raise UnauthorizedLogin("empty password")

        def right() -> bool:
            stored = self._database.passwords(*_parts(user_id))
            return bool(stored) and is_right(stored[0], password)

        try:
            if await self.outside.ask(right):
                return user_id
        except Refused as refused:
            raise UnauthorizedLogin(str(refused)) from refused
        raise UnauthorizedLogin("wrong password, or no such user")

    async def shared_secret(self, user_id: str) -> bytes | None:
        """See L{ISharedSecrets}; hashes are none."""
        try:
            stored = await self.outside.ask(lambda: self._database.passwords(*_parts(user_id)))
        except Refused:
            return None
        return plain(stored[0]) if stored else None

    async def explain(self, user_id: str, service: str) -> list[str]:
        """See L{IExplains}."""
        stored = await self.outside.ask(lambda: self._database.passwords(*_parts(user_id)))
        user, realm = _parts(user_id)
        return [f"SQL: asked for user {user!r}, realm {realm!r}: {'a password' if stored else 'nothing'} is stored"]


def plain(stored: bytes) -> bytes | None:
    """The password, where it is stored as it is."""
    scheme, brace, value = stored.partition(b"}")
    if brace and scheme.startswith(b"{"):
        return value if scheme.upper() in (b"{CLEARTEXT", b"{PLAIN") else None
    return stored if stored and not stored.startswith(b"$argon2") else None


def _are_plain(options: Mapping[str, str]) -> bool:
    """Whether the administrator says that passwords are stored as they are, by naming what needs them so."""
    lists = (text for name, text in options.items() if name.endswith("sasl_mech_list"))
    return any({"CRAM-MD5", "DIGEST-MD5"} & set(text.upper().split()) for text in lists)


def _parts(user_id: str) -> tuple[str, str]:
    user, at, realm = user_id.rpartition("@")
    return (user, realm) if at else (user_id, "")


def database_of(options: Mapping[str, str]) -> Database:
    """
    The database that options describe.

    @raise BadDatabase: They do not.
    """
    name = options.get("sasl_sql_engine", "mysql").lower()
    engine = ENGINES.get(name)
    if engine is None:
        raise BadDatabase(f"sasl_sql_engine: {name!r} is none of {', '.join(ENGINES)}")
    if engine.module:
        try:
            importlib.import_module(engine.module)
        except ImportError as error:
            raise BadDatabase(f"sasl_sql_engine: {name} needs the package {engine.module}: pip install it") from error
    if not options.get("sasl_sql_select"):
        raise BadDatabase("sasl_sql_select is missing: say how a password is found")
    if not options.get("sasl_sql_database"):
        raise BadDatabase("sasl_sql_database is missing")
    hosts = tuple(options.get("sasl_sql_hostnames", "localhost").replace(",", " ").split())
    access = Access(
        hosts,
        options.get("sasl_sql_user", ""),
        options.get("sasl_sql_passwd", ""),
        options["sasl_sql_database"],
        tls=options.get("sasl_sql_usessl", "no").lower() in ("yes", "on", "1", "true", "t"),
    )
    return Database(engine, access, parse_query(options["sasl_sql_select"]))


@implementer(ICheckerFactory)
class SqlCheckerFactory:
    """C{sasl_pwcheck_method: sql}."""

    name = "sql"
    summary = "an SQL database (sasl_sql_engine, sasl_sql_database, sasl_sql_select, ...)"

    def make_checker(self, context: CheckerContext) -> SqlChecker:
        """
        Make the checker; the database is asked at each login.

        @raise BadDatabase: It is misconfigured.
        """
        checker = SqlChecker(database_of(context.options), context.reactor)
        if _are_plain(context.options):
            alsoProvides(checker, ISharedSecrets)
        return checker
