"""Passwords from the database of secrets of Cyrus SASL, which is only read."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from pathlib import Path
from socket import gethostname

from twisted.cred.error import UnauthorizedLogin
from twisted.logger import Logger
from typing_extensions import override
from zope.interface import implementer

from pycyrus.auth.checkers.password_checker import PasswordChecker
from pycyrus.auth.interfaces import (
    CheckerContext,
    IAccounts,
    ICheckerFactory,
    IExplains,
    IMailPassword,
    ISharedSecrets,
    Run,
)
from pycyrus.auth.sasldb.database import BadSasldb, Sasldb
from pycyrus.errors import AuthenticationUnavailable

DEFAULT_PATH = "/etc/sasldb2"


@implementer(ISharedSecrets, IAccounts, IExplains)
class SasldbChecker(PasswordChecker):
    """
    Compares passwords with those of the file, which are kept there as they are.

    @param realm: Of users who have no domain.
    @param run: Where the file is read.
    """

    log = Logger()

    def __init__(self, database: Sasldb, realm: str, run: Run) -> None:
        self._database = database
        self._realm = realm
        self._run = run

    @override
    async def check(self, credentials: IMailPassword) -> str:
        user_id: str = credentials.user_id
        password: bytes = credentials.password
        if not password:
            raise UnauthorizedLogin("empty password")
        stored = await self.shared_secret(user_id)
        if not hmac.compare_digest(stored or b"", password):
            raise UnauthorizedLogin("wrong password, or no such user")
        return user_id

    async def shared_secret(self, user_id: str) -> bytes | None:
        """See L{ISharedSecrets}."""
        try:
            secrets: Mapping[tuple[str, str], bytes] = await self._run(self._database.secrets)
        except BadSasldb as error:
            self.log.error("sasldb: {error}", error=str(error))
            raise AuthenticationUnavailable(str(error)) from error
        return secrets.get(self._key(user_id)) or None

    def _key(self, user_id: str) -> tuple[str, str]:
        user, at, realm = user_id.rpartition("@")
        return (user, realm) if at else (user_id, self._realm)

    def version(self) -> object:
        """A value that changes with the file."""
        try:
            return self._database.state()
        except BadSasldb:
            # Never equal to what was before: nothing remembered is believed.
            return object()

    def is_disabled(self, user_id: str) -> bool:
        """See L{IAccounts}: who is disabled has no secret there."""
        return False

    async def explain(self, user_id: str, service: str) -> list[str]:
        """See L{IExplains}."""
        user, realm = self._key(user_id)
        found = "a password is stored" if await self.shared_secret(user_id) else "nothing is stored"
        return [f"sasldb {self._database.path}: user {user!r}, realm {realm!r}: {found}"]


@implementer(ICheckerFactory)
class SasldbCheckerFactory:
    """C{sasl_pwcheck_method: sasldb}, and C{auxprop} of it."""

    name = "sasldb"
    summary = "the database of saslpasswd2 (sasl_sasldb_path)"

    def make_checker(self, context: CheckerContext) -> SasldbChecker:
        """Make the checker; the file is read when it is needed."""
        path = Path(context.options.get("sasl_sasldb_path", DEFAULT_PATH))
        return SasldbChecker(Sasldb(path), context.options.get("servername") or gethostname(), context.run)
