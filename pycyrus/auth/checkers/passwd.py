"""Passwords from the built-in user database."""

from __future__ import annotations

from functools import partial

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
    IScramKeyStore,
    Run,
    ScramKeys,
)
from pycyrus.auth.users import UserDatabase, UserDatabaseError, dummy_hash, verify
from pycyrus.errors import AuthenticationUnavailable

DATABASE = "users.db"
"""The file's name, in C{configdirectory}."""


@implementer(IScramKeyStore, IAccounts, IExplains)
class PasswdChecker(PasswordChecker):
    """
    Checks passwords against L{UserDatabase}.

    Unknown user, wrong password and disabled account cost one hash each and have
    one answer.
    """

    log = Logger()

    def __init__(self, database: UserDatabase, run: Run) -> None:
        """@param run: Where hashes are computed."""
        self._database = database
        self._run = run

    @override
    async def check(self, credentials: IMailPassword) -> str:
        try:
            found = self._database.password_hash(credentials.user_id)
        except UserDatabaseError as error:
            self.log.error("{error}", error=error)
            raise AuthenticationUnavailable(str(error)) from error
        password: bytes = credentials.password
        if found is None:
            await self._run(lambda: verify(dummy_hash(), password))
            raise UnauthorizedLogin("unknown user")
        if not await self._run(partial(verify, found.encoded, password)):
            raise UnauthorizedLogin("wrong password")
        if found.disabled:
            raise UnauthorizedLogin("disabled")
        return str(credentials.user_id)

    async def scram_keys(self, user_id: str, mechanism: str) -> ScramKeys:
        """See L{IScramKeyStore}."""
        try:
            return self._database.scram_keys(user_id, mechanism)
        except UserDatabaseError as error:
            self.log.error("{error}", error=error)
            raise AuthenticationUnavailable(str(error)) from error

    def version(self) -> object:
        """A value that changes with the database."""
        try:
            return self._database.version()
        except UserDatabaseError as error:
            self.log.error("{error}", error=error)
            # Never equal to what was before: nothing cached is believed.
            return object()

    def is_disabled(self, user_id: str) -> bool:
        """See L{IAccounts}."""
        try:
            return self._database.is_disabled(user_id)
        except UserDatabaseError as error:
            self.log.error("{error}", error=error)
            raise AuthenticationUnavailable(str(error)) from error

    async def explain(self, user_id: str, service: str) -> list[str]:
        """See L{IExplains}."""
        try:
            found = self._database.password_hash(user_id)
        except UserDatabaseError as error:
            raise AuthenticationUnavailable(str(error)) from error
        state = "no account" if found is None else "an account that is disabled" if found.disabled else "an account"
        return [f"user database: {state}"]


@implementer(ICheckerFactory)
class PasswdCheckerFactory:
    """C{sasl_pwcheck_method: passwd}."""

    name = "passwd"
    summary = "the built-in user database (pycyrus user ...)"

    def make_checker(self, context: CheckerContext) -> PasswdChecker:
        """
        Open the user database.

        @raise UserDatabaseError: It cannot be opened.
        """
        return PasswdChecker(UserDatabase(context.directory / DATABASE), context.run)
