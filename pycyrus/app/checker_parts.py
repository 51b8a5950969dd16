"""What the options say of checkers: which there are, and whether what they are told can be used."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from pycyrus.app.privileges import UnixUser, as_user
from pycyrus.auth.checkers.chain import CheckerChain, factories, make_checkers, of_domains
from pycyrus.auth.checkers.ldap import LdapChecker, directories_of
from pycyrus.auth.groups import LIFETIME
from pycyrus.auth.interfaces import BadCheckerOptions, CheckerContext, IGroups
from pycyrus.auth.ldap.settings import LdapSettings
from pycyrus.auth.sasldb.database import BadSasldb, Sasldb
from pycyrus.auth.unix_groups import UnixGroups
from pycyrus.config.load import Configuration
from pycyrus.config.problems import Problem
from pycyrus.config.settings import Settings

_OPENED_AT_START = frozenset({"passwd"})
"""Checkers that open something of ours when they are made."""


def checker_names(settings: Settings) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """
    Which checkers look at passwords.

    @return: Those asked, and those of C{sasl_pwcheck_method} that are not
        installed.  Where none is left, the built-in user database is asked.
    """
    wanted = list(
        dict.fromkeys(ours for name in settings.words("sasl_pwcheck_method") for ours in _ours(name, settings))
    )
    known = factories()
    return tuple(name for name in wanted if of_domains(name)[0] in known) or ("passwd",), tuple(
        name for name in wanted if of_domains(name)[0] not in known
    )


_AUXPROP = ("sql", "sasldb")
"""Plugins of libsasl's auxprop that are checkers here."""


def _ours(name: str, settings: Settings) -> list[str]:
    """What libsasl calls auxprop are checkers of their own here."""
    name, at, domains = name.partition("@")
    return [f"{each}{at}{domains}" for each in _of_auxprop(name, settings)]


def _of_auxprop(name: str, settings: Settings) -> list[str]:
    if name not in ("auxprop", "auxprop-hashed"):
        return [name]
    plugins = settings.words("sasl_auxprop_plugin")
    if not plugins and Path(settings.text("sasl_sasldb_path")).exists():
        # All that are installed, and that is the one which always is.
        return ["sasldb"]
    return [plugin for plugin in plugins if plugin in _AUXPROP] or [name]


def checkers_of(settings: Settings, run: Callable[[Callable[[], Any]], Awaitable[Any]], reactor: Any) -> CheckerChain:
    """
    Make the checkers that the options name.

    @param run: Where hashes are computed.
    @raise BadCheckerOptions: What one is told cannot be used.
    @raise pycyrus.auth.users.UserDatabaseError: Accounts cannot be read.
    """
    names, _ = checker_names(settings)
    directory = Path(settings.text("configdirectory"))
    return make_checkers(names, CheckerContext(directory, settings.texts, run, reactor))


def _bare_names(settings: Settings) -> list[str]:
    """The checkers, whatever domains they are for."""
    return [of_domains(name)[0] for name in checker_names(settings)[0]]


def group_source(settings: Settings, reactor: Any) -> IGroups | None:
    """
    Who knows groups beside the checkers: this machine, or a directory that checks no passwords (C{auth_mech}).

    @raise BadCheckerOptions: The directory cannot be used.
    """
    if settings.word("auth_mech") == "unix" and settings.switch("unix_group_enable"):
        return IGroups(UnixGroups(reactor))
    if _has_groups_in_ldap(settings) and "ldap" not in _bare_names(settings):
        return IGroups(LdapChecker(directories_of(settings.texts), reactor))
    return None


def _has_groups_in_ldap(settings: Settings) -> bool:
    return settings.word("auth_mech") == "pts" and settings.word("pts_module") == "ldap"


def directories_used(settings: Settings) -> dict[str, LdapSettings]:
    """
    The LDAP directories that are asked, for passwords or groups.

    @return: By domain, as L{directories_of} has them.
    @raise BadCheckerOptions: One is misconfigured.
    """
    if "ldap" in _bare_names(settings) or _has_groups_in_ldap(settings):
        return directories_of(settings.texts)
    return {}


def group_lifetime(settings: Settings) -> float:
    """For how long groups are believed, in seconds: our own time, unless Cyrus's is set (C{ptscache_timeout})."""
    if settings.given("ptscache_timeout"):
        return float(settings.duration("ptscache_timeout"))
    return LIFETIME


async def _never(function: Callable[[], Any]) -> Any:
    raise AssertionError("no checker computes anything when it is made")


def check_checkers(configuration: Configuration, user: UnixUser | None) -> list[Problem]:
    """
    Look whether checkers can use what they are told; nothing outside is asked.

    @param user: Whom the server becomes, who must be able to read their files.
    """
    problems = []
    for text in as_user(user, lambda: _mistakes(configuration.settings)):
        place = configuration.place(text.partition(":")[0]) or configuration.place("sasl_pwcheck_method")
        problems.append(Problem(place, text, "correct it, or take the checker out of sasl_pwcheck_method"))
    return problems


def _mistakes(settings: Settings) -> list[str]:
    context = CheckerContext(Path(settings.text("configdirectory")), settings.texts, _never)
    mistakes = []
    for name in _bare_names(settings):
        if name in _OPENED_AT_START:
            continue
        try:
            make_checkers([name], context)
            if name == "sasldb":
                Sasldb(Path(settings.text("sasl_sasldb_path"))).secrets()
        except BadCheckerOptions as error:
            mistakes.append(str(error))
        except BadSasldb as error:
            mistakes.append(f"sasl_sasldb_path: {error}")
    try:
        group_source(settings, None)
    except BadCheckerOptions as error:
        mistakes.append(str(error))
    return mistakes
