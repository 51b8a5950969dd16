"""
C{pycyrus explain login USER}: how a login would be decided, and why.

It asks what the server would ask, but for the password, and shows no secret.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any

from pycyrus.admin.command import act_as_server
from pycyrus.admin.running import run_with_reactor
from pycyrus.admin.source import add_source_options, source_of
from pycyrus.app.checker_parts import checker_names, checkers_of, group_source
from pycyrus.app.identity_parts import identity_settings
from pycyrus.app.login_parts import denials
from pycyrus.auth.checkers.chain import CheckerChain
from pycyrus.auth.groups import KnownGroups
from pycyrus.auth.identity import Identities, InvalidUserId
from pycyrus.auth.interfaces import BadCheckerOptions
from pycyrus.auth.users import UserDatabaseError
from pycyrus.config.load import load
from pycyrus.config.settings import Settings
from pycyrus.errors import AuthenticationUnavailable
from pycyrus.model.identity import AdminScope, Identity

_SCOPES = {
    AdminScope.NONE: "none",
    AdminScope.DOMAIN: "administrator of {domain}",
    AdminScope.GLOBAL: "administrator of everything",
}


def add_login(subjects: Any) -> None:
    """Add the subject to those of C{pycyrus explain}."""
    login = subjects.add_parser("login", help="how a login would be decided, and why")
    login.add_argument("user", metavar="USER", help="as the user writes it")
    login.add_argument("--service", metavar="NAME", default="imap", help="the service in cyrus.conf (default imap)")
    add_source_options(login)
    login.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """
    Explain.

    @return: 0 if the password decides, 1 if nothing lets this user in, or that cannot be told.
    @raise ConfigError: The configuration cannot be used.
    """
    configuration = load(source_of(arguments))
    settings = configuration.settings.for_service(arguments.service)
    # Plugins are looked for while their files can be read.
    checker_names(settings)
    act_as_server(configuration)
    steps: list[str] = []
    try:
        verdict = run_with_reactor(lambda reactor: _explain(arguments, settings, reactor, steps))
    except (AuthenticationUnavailable, BadCheckerOptions, UserDatabaseError) as error:
        verdict = f"cannot be told now: {error}"
    for step in steps:
        print(step)
    print(f"result: {verdict or 'the password decides'}")
    sys.stdout.flush()
    return 1 if verdict else 0


async def _at_once(function: Callable[[], Any]) -> Any:
    return function()


async def _explain(arguments: argparse.Namespace, settings: Settings, reactor: Any, steps: list[str]) -> str:
    """
    Collect the steps.

    @return: What keeps the user out whatever the password is; empty for nothing.
    """
    checkers = checkers_of(settings, _at_once, reactor)
    system = group_source(settings, reactor)
    groups = KnownGroups([checkers] if system is None else [checkers, system], reactor)
    identities = Identities(identity_settings(settings), groups.of, groups.fetch)
    try:
        user_id = identities.canonical(os.fsencode(arguments.user))
    except InvalidUserId as error:
        return f"refused: no user can be called so: {error}"
    steps.append(f"user id: {user_id}")
    if not identities.may_log_in(user_id):
        return "refused: the realm is not in loginrealms"
    names, missing = checker_names(settings)
    steps.append(f"checkers, in this order: {', '.join(names)}")
    steps.extend(f"not part of this server: {name}" for name in missing)
    steps.extend(await checkers.explain(user_id, arguments.service))
    await identities.prepare(user_id)
    identity = identities.identity(user_id)
    steps.append(f"groups: {', '.join(f'group:{name}' for name in sorted(identity.groups)) or 'none'}")
    steps.append(f"rights beyond ACLs: {_SCOPES[identity.admin].format(domain=identity.domain)}")
    return _refusal(identity, checkers, settings, arguments.service)


def _refusal(identity: Identity, checkers: CheckerChain, settings: Settings, service: str) -> str:
    if checkers.is_disabled(identity.user_id):
        return "refused: the account is disabled"
    if identity.admin is AdminScope.NONE and denials(settings)(identity.user_id, service):
        return f"refused: user_deny.db denies {service}"
    return ""
