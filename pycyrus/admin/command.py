"""What all commands have in common: whom they act as, how names are read and errors told."""

from __future__ import annotations

import argparse
import os
import pwd
import sys
from collections.abc import Callable
from pathlib import Path

from pycyrus.app.directories import make_directories
from pycyrus.app.privileges import UnixUser, become, user_to_become
from pycyrus.config.load import Configuration, namespace_settings
from pycyrus.config.problems import ConfigError, Problem
from pycyrus.errors import InvalidMailboxName
from pycyrus.model.identity import SERVER
from pycyrus.model.names import ExternalNames, MailboxName, parse_internal, user_inbox

USAGE = 64
"""Exit code of a command that was called in a wrong way, as sysexits(3) has it."""


class CommandError(Exception):
    """The command cannot be done; the text says why."""


def act_as_server(configuration: Configuration, *, begins: bool = False) -> None:
    """
    Become the user that the server runs as, and have its directories.

    Root would leave files behind that the server cannot write.

    @param begins: The home of a server that has never run may be made.
    @raise ConfigError: There is no such home.
    """
    home = configuration.home
    if home is not None and not begins and not home.exists():
        raise ConfigError(
            [
                Problem(
                    None, f"there is no server in {home}", "name its directory with --home, or its imapd.conf with -C"
                )
            ]
        )
    user = user_to_become(configuration) or _owner(configuration.home)
    make_directories(configuration, user)
    if user is not None:
        become(user)


def _owner(home: Path | None) -> UnixUser | None:
    """Whose a home is; None if that is us, or if we could not become them."""
    if home is None or os.geteuid() != 0 or not home.exists():
        return None
    uid = home.stat().st_uid
    if uid == 0:
        return None
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return None
    return UnixUser(entry.pw_name, uid, entry.pw_gid, entry.pw_dir)


def mailbox_named(text: str, configuration: Configuration) -> MailboxName:
    """
    Read a mailbox name as administrators write it, or an internal one.

    @raise CommandError: It is none.
    """
    names = ExternalNames(namespace_settings(configuration.settings), SERVER)
    try:
        if "!" in text:
            return parse_internal(text, configuration.settings.text("deletedprefix"))
        return names.decode(os.fsencode(text), utf8=not text.isascii())
    except InvalidMailboxName as error:
        raise CommandError(f"{text} cannot be a mailbox: {error}") from error


def inbox_named(text: str, configuration: Configuration) -> MailboxName:
    """
    The INBOX of a user as administrators write users: C{fred} or C{fred@example.com}.

    @raise CommandError: It can be nobody's.
    """
    local, _, domain = text.partition("@")
    try:
        return user_inbox(local, "" if domain == configuration.settings.text("defaultdomain") else domain)
    except InvalidMailboxName as error:
        raise CommandError(f"{text} cannot be a user: {error}") from error


def name_text(name: MailboxName, configuration: Configuration) -> str:
    """Write a mailbox name as administrators do."""
    names = ExternalNames(namespace_settings(configuration.settings), SERVER)
    return names.encode(name, utf8=True).decode("utf-8")


def reported(function: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """Have a command say in one line why it cannot be done."""

    def run(arguments: argparse.Namespace) -> int:
        try:
            return function(arguments)
        except CommandError as error:
            print(f"pycyrus: {error}", file=sys.stderr)
            return 1
        except PermissionError as error:
            # The files are another user's than the one that the server runs as.
            print(f"pycyrus: {error.filename}: {error.strerror}", file=sys.stderr)
            return 1

    return run
