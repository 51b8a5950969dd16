"""Finding checkers by name, and asking several in turn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
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
    Make the checkers that C{sasl_pwcheck_method} names, some of them for certain domains.

    @param names: As L{of_domains} reads them.
    @raise UnknownChecker: One of them is not installed.
    """
    known = factories()
    made, domains = [], []
    for written in names:
        name, its_domains = of_domains(written)
        if name not in known:
            raise UnknownChecker(f"sasl_pwcheck_method: {name!r} is none of {', '.join(sorted(known))}")
        made.append(known[name].make_checker(context))
        domains.append(its_domains)
    return CheckerChain(made, domains)


def of_domains(written: str) -> tuple[str, frozenset[str] | None]:
    """
    Read a word of C{sasl_pwcheck_method}.

    @param written: C{NAME}, or C{NAME@DOMAIN,DOMAIN} of a checker for these domains only, where an
        empty one is for users who have none.
    @return: The name, and the domains; None for all.
    """
    name, at, domains = written.partition("@")
    return name, frozenset(domains.lower().split(",")) if at else None


@implementer(ICredentialsChecker, IScramKeyStore, ISharedSecrets, IGroups, IAccounts, IUserDefaults)
class CheckerChain:
    """
    Asks checkers in turn until one says yes.

    Where all others say no and one cannot tell, the answer is that it cannot be told
    now: a directory that is down must not turn people away for good.
    """

    credentialInterfaces = (IMailPassword,)

    def __init__(self, checkers: Sequence[object], domains: Sequence[frozenset[str] | None] = ()) -> None:
        """@param domains: Of each checker those whose users it is asked for; None, or nothing at all, for all."""
        self.checkers = [ICredentialsChecker(checker) for checker in checkers]
        pairs = zip(self.checkers, domains, strict=False)
        self._domains = {id(checker): its_domains for checker, its_domains in pairs if its_domains is not None}
        self._keys = [IScramKeyStore(checker) for checker in self.checkers if IScramKeyStore.providedBy(checker)]
        self._secrets = [ISharedSecrets(checker) for checker in self.checkers if ISharedSecrets.providedBy(checker)]
        self._groups = [IGroups(checker) for checker in self.checkers if IGroups.providedBy(checker)]
        self._defaults = [IUserDefaults(checker) for checker in self.checkers if IUserDefaults.providedBy(checker)]
        self._accounts = [IAccounts(checker) for checker in self.checkers if IAccounts.providedBy(checker)]

    def _serves(self, checker: object, user_id: str) -> bool:
        """Whether a checker is one for the user's domain."""
        domains = self._domains.get(id(checker))
        return domains is None or (user_id.rpartition("@")[2] if "@" in user_id else "") in domains

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
        if len(self.checkers) == 1 and not self._domains:
            return maybeDeferred(self.checkers[0].requestAvatarId, credentials)
        return Deferred.fromCoroutine(self._ask(credentials))

    async def _ask(self, credentials: IMailPassword) -> bytes | tuple[()]:
        unavailable: AuthenticationUnavailable | None = None
        for checker in self.checkers:
            if not self._serves(checker, credentials.user_id):
                continue
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
            if not self._serves(store, user_id):
                # As if nobody were called so there.
                keys = replace(keys, usable=False)
            if keys.usable:
                return keys
            found = found or keys
        if found is None:
            raise AuthenticationUnavailable("no checker has SCRAM keys")
        return found

    async def shared_secret(self, user_id: str) -> bytes | None:
        """The first that any checker has."""
        for store in self._secrets:
            if not self._serves(store, user_id):
                continue
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
            if self._serves(source, user_id):
                found |= await source.groups_of(user_id)
        return found

    async def defaults_of(self, user_id: str) -> UserDefaults:
        """What the checkers know; the first that says something of a thing is heard."""
        found = UserDefaults()
        for source in self._defaults:
            if self._serves(source, user_id):
                found = found.over(await source.defaults_of(user_id))
        return found

    async def explain(self, user_id: str, service: str) -> list[str]:
        """The steps of all checkers, in order."""
        steps: list[str] = []
        for checker in self.checkers:
            if not self._serves(checker, user_id):
                steps.append(f"{type(checker).__name__}: not asked, for it is for users of other domains")
            elif IExplains.providedBy(checker):
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
        return any(accounts.is_disabled(user_id) for accounts in self._accounts if self._serves(accounts, user_id))
