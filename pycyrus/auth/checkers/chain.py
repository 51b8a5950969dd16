"""Finding checkers by name, and asking several in turn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.plugin import getPlugins
from zope.interface import implementer

from pycyrus.auth.checkers.ldap import LdapCheckerFactory
from pycyrus.auth.checkers.passwd import PasswdCheckerFactory
from pycyrus.auth.checkers.saslauthd import SaslauthdCheckerFactory
from pycyrus.auth.checkers.sasldb import SasldbCheckerFactory
from pycyrus.auth.checkers.sql import SqlCheckerFactory
from pycyrus.auth.interfaces import (
    CheckerContext,
    IAccounts,
    ICheckerFactory,
    IExplains,
    IGroups,
    IMailPassword,
    IReloadable,
    IScramKeyStore,
    ISharedSecrets,
    ScramKeys,
)
from pycyrus.errors import AuthenticationUnavailable
from pycyrus.interfaces import IUserDefaults, UserDefaults


class UnknownChecker(Exception):
    """No plugin of that name; the text says which there are."""


BUILT_IN = (
    PasswdCheckerFactory(),
    LdapCheckerFactory(),
    SaslauthdCheckerFactory(),
    SasldbCheckerFactory(),
    SqlCheckerFactory(),
)
"""Checkers that are there even where no plugin can be found."""


@cache
def factories() -> dict[str, ICheckerFactory]:
    """All checkers that there are, by name; looked for once, while the files can be read.  Plugins may replace ours."""
    return {str(factory.name): ICheckerFactory(factory) for factory in (*BUILT_IN, *getPlugins(ICheckerFactory))}


def make_checkers(names: Iterable[str], context: CheckerContext) -> CheckerChain:
    """
    Make the checkers that C{sasl_pwcheck_method} names.

    @raise UnknownChecker: One of them is not installed.
    """
    known = factories()
    made = []
    for name in names:
        if name not in known:
            raise UnknownChecker(f"sasl_pwcheck_method: {name!r} is none of {', '.join(sorted(known))}")
        made.append(known[name].make_checker(context))
    return CheckerChain(made)


@implementer(ICredentialsChecker, IScramKeyStore, ISharedSecrets, IGroups, IAccounts, IUserDefaults)
class CheckerChain:
    """
    Asks checkers in turn until one says yes.

    Where all others say no and one cannot tell, the answer is that it cannot be told
    now: a directory that is down must not turn people away for good.
    """

    credentialInterfaces = (IMailPassword,)

    def __init__(self, checkers: Sequence[object]) -> None:
        self.checkers = [ICredentialsChecker(checker) for checker in checkers]
        self._keys = [IScramKeyStore(checker) for checker in self.checkers if IScramKeyStore.providedBy(checker)]
        self._secrets = [ISharedSecrets(checker) for checker in self.checkers if ISharedSecrets.providedBy(checker)]
        self._groups = [IGroups(checker) for checker in self.checkers if IGroups.providedBy(checker)]
        self._defaults = [IUserDefaults(checker) for checker in self.checkers if IUserDefaults.providedBy(checker)]
        self._accounts = [IAccounts(checker) for checker in self.checkers if IAccounts.providedBy(checker)]

    @property
    def has_scram_keys(self) -> bool:
        """Whether SCRAM can be offered."""
        return bool(self._keys)

    @property
    def has_shared_secrets(self) -> bool:
        """Whether CRAM-MD5 and its like can be offered."""
        return bool(self._secrets)

    def requestAvatarId(self, credentials: IMailPassword) -> Deferred[bytes | tuple[()]]:
        """Ask; see ICredentialsChecker."""
        if len(self.checkers) == 1:
            return maybeDeferred(self.checkers[0].requestAvatarId, credentials)
        return Deferred.fromCoroutine(self._ask(credentials))

    async def _ask(self, credentials: IMailPassword) -> bytes | tuple[()]:
        unavailable: AuthenticationUnavailable | None = None
        for checker in self.checkers:
            try:
                return await maybeDeferred(checker.requestAvatarId, credentials)
            except UnauthorizedLogin:
                continue
            except AuthenticationUnavailable as error:
                unavailable = error
        if unavailable is not None:
            raise unavailable
        raise UnauthorizedLogin("no checker accepts it")

    async def scram_keys(self, user_id: str, mechanism: str) -> ScramKeys:
        """The first usable keys; unusable ones for whoever has none."""
        found: ScramKeys | None = None
        for store in self._keys:
            keys = await store.scram_keys(user_id, mechanism)
            if keys.usable:
                return keys
            found = found or keys
        if found is None:
            raise AuthenticationUnavailable("no checker has SCRAM keys")
        return found

    async def shared_secret(self, user_id: str) -> bytes | None:
        """The first that any checker has."""
        for store in self._secrets:
            secret = await store.shared_secret(user_id)
            if secret is not None:
                return secret
        return None

    @property
    def has_groups(self) -> bool:
        """Whether any checker knows groups."""
        return bool(self._groups)

    async def groups_of(self, user_id: str) -> frozenset[str]:
        """All that any checker knows."""
        found: frozenset[str] = frozenset()
        for source in self._groups:
            found |= await source.groups_of(user_id)
        return found

    async def defaults_of(self, user_id: str) -> UserDefaults:
        """What the checkers know; the first that says something of a thing is heard."""
        found = UserDefaults()
        for source in self._defaults:
            found = found.over(await source.defaults_of(user_id))
        return found

    async def explain(self, user_id: str, service: str) -> list[str]:
        """The steps of all checkers, in order."""
        steps: list[str] = []
        for checker in self.checkers:
            if IExplains.providedBy(checker):
                steps += await IExplains(checker).explain(user_id, service)
            else:
                steps.append(f"{type(checker).__name__}: asked, and tells nothing of how it decides")
        return steps

    def reload(self, options: Mapping[str, str]) -> None:
        """
        Have those checkers take up other options that can.

        @raise BadCheckerOptions: One cannot use them; it goes on as before.
        """
        for checker in self.checkers:
            if IReloadable.providedBy(checker):
                IReloadable(checker).reload(options)

    def version(self) -> object:
        """Changes when the accounts of any checker do."""
        return tuple(accounts.version() for accounts in self._accounts)

    def is_disabled(self, user_id: str) -> bool:
        """Whether any checker has the account disabled."""
        return any(accounts.is_disabled(user_id) for accounts in self._accounts)
