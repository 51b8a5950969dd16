"""
C{pycyrus user}: the accounts of the built-in user database.

It works beside a running server, which sees the change at the next login.
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pycyrus.admin.command import act_as_server
from pycyrus.admin.running import run_with_reactor
from pycyrus.admin.source import add_source_options, source_of
from pycyrus.admin.storing import opened
from pycyrus.admin.user_import import accounts_of, add_accounts
from pycyrus.app.identity_parts import identity_settings
from pycyrus.auth.checkers.passwd import DATABASE
from pycyrus.auth.identity import Identities, InvalidUserId
from pycyrus.auth.sasldb.database import BadSasldb
from pycyrus.auth.users import UserDatabase, UserDatabaseError
from pycyrus.config.load import Configuration, load
from pycyrus.errors import InvalidMailboxName, MailboxExists, MailStoreError
from pycyrus.model.identity import Identity
from pycyrus.model.names import user_inbox
from pycyrus.store.partitions import BadPartition


class UserCommandError(Exception):
    """The command cannot be done; the text says why."""


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser("user", help="add, change, list and delete accounts")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, (function, text) in _ACTIONS.items():
        action = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        if name == "import":
            action.add_argument("file", metavar="FILE", help="such as /etc/sasldb2")
        elif name != "list":
            action.add_argument("user", metavar="USER", help="NAME, or NAME@DOMAIN with virtual domains")
        if name in ("add", "passwd"):
            _add_password_options(action)
        if name == "add":
            action.add_argument("--no-inbox", action="store_true", help="do not create the INBOX")
        if name == "list":
            action.add_argument("--json", action="store_true", help="print the accounts as JSON")
        add_source_options(action)
        action.set_defaults(run=run, action=function)


def _add_password_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--password", metavar="TEXT", help="the password (other users of this machine may see it)")
    group.add_argument("--password-file", metavar="FILE", help="its first line is the password; - for standard input")


def run(arguments: argparse.Namespace) -> int:
    """
    Do what was asked.

    @return: 0 if it was done.
    @raise ConfigError: The configuration cannot be used.
    """
    action: Callable[[argparse.Namespace, Configuration], None] = arguments.action
    try:
        action(arguments, load(source_of(arguments)))
    except (UserCommandError, UserDatabaseError) as error:
        print(f"pycyrus: {error}", file=sys.stderr)
        return 1
    return 0


# --- actions ----------------------------------------------------------------


def _add(arguments: argparse.Namespace, configuration: Configuration) -> None:
    identity = _identity(arguments.user, configuration)
    password = _password(arguments)
    with closing(_open(configuration, begins=True)) as users:
        users.add(identity.user_id, password)
    text = f"added {identity.user_id}"
    if not arguments.no_inbox:
        text += " and their INBOX" if _create_inbox(identity, configuration) else "; their INBOX is there already"
    print(text)


def _passwd(arguments: argparse.Namespace, configuration: Configuration) -> None:
    user_id = _identity(arguments.user, configuration).user_id
    password = _password(arguments)
    with closing(_open(configuration)) as users:
        users.passwd(user_id, password)
    print(f"changed the password of {user_id}")


def _delete(arguments: argparse.Namespace, configuration: Configuration) -> None:
    user_id = _identity(arguments.user, configuration).user_id
    with closing(_open(configuration)) as users:
        users.delete(user_id)
    print(f"deleted {user_id}; their mailboxes stay")


def _disable(arguments: argparse.Namespace, configuration: Configuration) -> None:
    user_id = _identity(arguments.user, configuration).user_id
    with closing(_open(configuration)) as users:
        users.disable(user_id)
    print(f"{user_id} can no longer log in; sessions that exist go on")


def _enable(arguments: argparse.Namespace, configuration: Configuration) -> None:
    user_id = _identity(arguments.user, configuration).user_id
    with closing(_open(configuration)) as users:
        users.disable(user_id, False)
    print(f"{user_id} can log in")


def _list(arguments: argparse.Namespace, configuration: Configuration) -> None:
    with closing(_open(configuration)) as users:
        found = users.users()
    if arguments.json:
        rows = [
            {
                "user": user.user_id,
                "disabled": user.disabled,
                "password_changed": datetime.fromtimestamp(user.changed, UTC).isoformat(),
            }
            for user in found
        ]
        print(json.dumps(rows, indent=2))
        return
    for user in found:
        print(f"{user.user_id} (disabled)" if user.disabled else user.user_id)


def _import(arguments: argparse.Namespace, configuration: Configuration) -> None:
    try:
        # While we may still read it.
        accounts = accounts_of(Path(arguments.file), configuration)
    except BadSasldb as error:
        raise UserCommandError(str(error)) from error
    with closing(_open(configuration, begins=True)) as users:
        added, others = add_accounts(accounts, users)
    for text in others:
        print(text)
    print(f"added {added} of {len(accounts)} accounts, without INBOXes")


_ACTIONS: dict[str, tuple[Callable[[argparse.Namespace, Configuration], None], str]] = {
    "add": (_add, "add an account, and create its INBOX"),
    "passwd": (_passwd, "change a password"),
    "list": (_list, "list the accounts"),
    "disable": (_disable, "keep an account from logging in"),
    "enable": (_enable, "let an account log in again"),
    "import": (_import, "add the accounts of saslpasswd2"),
    "delete": (_delete, "delete an account, but not its mail"),
}


# --- what they stand on -----------------------------------------------------


def _identity(name: str, configuration: Configuration) -> Identity:
    try:
        identities = Identities(identity_settings(configuration.settings))
        return identities.identity(identities.canonical(os.fsencode(name)))
    except InvalidUserId as error:
        raise UserCommandError(f"{name!r} cannot be a user: {error}") from error


def _open(configuration: Configuration, *, begins: bool = False) -> UserDatabase:
    """
    Open the user database, as the user that the server runs as.

    @param begins: As L{act_as_server}.
    """
    act_as_server(configuration, begins=begins)
    return UserDatabase(configuration.state / DATABASE)


def _password(arguments: argparse.Namespace) -> str:
    if arguments.password is not None:
        password: str = arguments.password
    elif arguments.password_file == "-" or (arguments.password_file is None and not sys.stdin.isatty()):
        password = sys.stdin.readline().rstrip("\r\n")
    elif arguments.password_file is not None:
        password = _first_line(Path(arguments.password_file))
    else:
        password = getpass.getpass("Password: ")
        if password != getpass.getpass("Again: "):
            raise UserCommandError("the passwords differ")
    if not password:
        raise UserCommandError("the password is empty")
    return password


def _first_line(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserCommandError(f"cannot read the password from {path}: {error}") from error


def _create_inbox(identity: Identity, configuration: Configuration) -> bool:
    """
    Create a user's INBOX.

    @return: Whether there was none.
    """

    async def create(reactor: Any) -> bool:
        async with opened(configuration, reactor) as store:
            try:
                await store.create_inbox(user_inbox(identity.user, identity.domain))
            except MailboxExists:
                return False
        return True

    try:
        return run_with_reactor(create)
    except (MailStoreError, InvalidMailboxName, BadPartition, OSError) as error:
        raise UserCommandError(
            f"added {identity.user_id}, but their INBOX could not be created: {str(error) or type(error).__name__}"
        ) from error
