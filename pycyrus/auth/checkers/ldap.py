"""Passwords and groups from LDAP directories, one for all domains or one for each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
    IGroups,
    IMailPassword,
    IReloadable,
)
from pycyrus.auth.ldap.directory import LdapDirectory
from pycyrus.auth.ldap.settings import BadDirectory, Form, LdapSettings, ldap_settings, read_saslauthd_conf
from pycyrus.auth.outside import Outside, Refused
from pycyrus.interfaces import IUserDefaults, UserDefaults

FILE = "ldap_config"
"""Option: a file like saslauthd.conf, for all domains that have none of their own."""
FILES = "ldap_config_dir"
"""Option: a directory of such files, each called C{DOMAIN.conf}."""


class Asked:
    """One directory, asked from the reactor thread."""

    def __init__(self, domain: str, settings: LdapSettings, reactor: Any) -> None:
        """@param domain: Whose it is; empty for that of all others."""
        self.directory = directory = LdapDirectory(settings, f"LDAP of {domain}" if domain else "LDAP")
        # To connect to each server, and to be answered twice.
        patience = settings.timeout * (len(settings.uris) + 1) + settings.time_limit
        self.outside = Outside(directory.where, patience, directory.close, reactor)
        self.ask = self.outside.ask


@implementer(IAccounts, IGroups, IExplains, IReloadable, IUserDefaults)
class LdapChecker(PasswordChecker):
    """
    Checks passwords, and knows groups.

    @ivar directories: By domain; that of an empty name is for all others.
    """

    log = Logger()

    def __init__(self, directories: Mapping[str, LdapSettings], reactor: Any) -> None:
        self._reactor = reactor
        self.directories = {domain: Asked(domain, settings, reactor) for domain, settings in directories.items()}
        self._reloads = 0

    def close(self) -> None:
        """Give connections and threads back."""
        for asked in self.directories.values():
            asked.outside.close()

    def reload(self, options: Mapping[str, str]) -> None:
        """See L{IReloadable}.  Directories of which nothing has changed keep their connections."""
        wanted = directories_of(options)
        former = self.directories
        self.directories = {
            domain: former[domain]
            if domain in former and former[domain].directory.settings == settings
            else Asked(domain, settings, self._reactor)
            for domain, settings in wanted.items()
        }
        kept = set(map(id, self.directories.values()))
        for asked in former.values():
            if id(asked) not in kept:
                asked.outside.retire()
                self._reloads += 1
        self._reloads += len(wanted.keys() ^ former.keys())

    def version(self) -> object:
        """See L{IAccounts}: other directories may know other people."""
        return self._reloads

    def is_disabled(self, user_id: str) -> bool:
        """See L{IAccounts}: only a login shows it."""
        return False

    @override
    async def check(self, credentials: IMailPassword) -> str:
        user_id: str = credentials.user_id
        asked = self._of(user_id)
        if asked is None:
            raise UnauthorizedLogin("no directory for that domain")
        password, service = credentials.password, credentials.service
        try:
            found = await asked.ask(lambda: asked.directory.check(user_id, password, service))
        except Refused as refused:
            self.log.debug("{user}: {reason}", user=user_id, reason=str(refused))
            raise UnauthorizedLogin(str(refused)) from refused
        return found

    async def groups_of(self, user_id: str) -> frozenset[str]:
        """See L{IGroups}."""
        asked = self._of(user_id)
        if asked is None or not asked.directory.settings.has_groups:
            return frozenset()
        groups = await asked.ask(lambda: asked.directory.groups(user_id))
        _, _, domain = user_id.rpartition("@") if "@" in user_id else ("", "", "")
        if not domain or domain not in self.directories:
            return groups
        # Whoever keeps the directory of one domain must not give out the groups of another.
        return frozenset(f"{group}@{domain}" for group in groups)

    async def defaults_of(self, user_id: str) -> UserDefaults:
        """See L{IUserDefaults}."""
        asked = self._of(user_id)
        if asked is None or not asked.directory.settings.defaults.names:
            return UserDefaults()
        return await asked.ask(lambda: asked.directory.defaults(user_id))

    async def explain(self, user_id: str, service: str) -> list[str]:
        """See L{IExplains}."""
        asked = self._of(user_id)
        if asked is None:
            return ["LDAP: no directory for that domain"]
        return await asked.ask(lambda: asked.directory.explain(user_id, service))

    def _of(self, user_id: str) -> Asked | None:
        _, _, domain = user_id.rpartition("@") if "@" in user_id else ("", "", "")
        return self.directories.get(domain) or self.directories.get("")


def directories_of(options: Mapping[str, str]) -> dict[str, LdapSettings]:
    """
    Which directories there are, by domain.

    @param options: All options as they were written.
    @raise BadDirectory: One is misconfigured.
    """
    found: dict[str, LdapSettings] = {}
    if FILES in options:
        found |= _of_files(Path(options[FILES]))
    if FILE in options:
        found[""] = _of_file(Path(options[FILE]))
    own = {name: value for name, value in options.items() if name.startswith("ldap_") and not name.startswith(FILE)}
    if "" not in found and own:
        found[""] = ldap_settings(own)
    if not found:
        raise BadDirectory("sasl_pwcheck_method: it has ldap, so ldap_uri and ldap_base must say where it is")
    return found


def _of_file(path: Path) -> LdapSettings:
    return ldap_settings(read_saslauthd_conf(path), str(path), Form.SASLAUTHD)


def _of_files(directory: Path) -> dict[str, LdapSettings]:
    try:
        paths = [path for path in sorted(directory.iterdir()) if path.suffix == ".conf"]
    except OSError as error:
        raise BadDirectory(f"{FILES}: cannot read {directory}: {error.strerror}") from error
    if not paths:
        raise BadDirectory(f"{FILES}: there is no DOMAIN.conf in {directory}")
    return {path.stem.lower(): _of_file(path) for path in paths}


@implementer(ICheckerFactory)
class LdapCheckerFactory:
    """C{sasl_pwcheck_method: ldap}."""

    name = "ldap"
    summary = "LDAP directories (ldap_uri, ldap_base, ..., or ldap_config, ldap_config_dir)"

    def make_checker(self, context: CheckerContext) -> LdapChecker:
        """
        Make the checker; no directory is asked yet.

        @raise BadDirectory: One is misconfigured.
        """
        return LdapChecker(directories_of(context.options), context.reactor)
