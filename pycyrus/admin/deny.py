"""C{cyr_deny}: denies users services, or allows them again."""

from __future__ import annotations

import argparse
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pycyrus.admin.command import CommandError, act_as_server, reported
from pycyrus.admin.source import add_source_options, source_of
from pycyrus.app.login_parts import denials_path
from pycyrus.auth.denials import Denial, read, written
from pycyrus.config.load import load
from pycyrus.store.files import replace_file


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "deny",
        help="deny users services, or allow them again",
        description="Whoever is denied a service gets the answer of a wrong password. Running servers see it at once.",
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("-a", "--allow", action="store_true", help="allow the users everything again")
    mode.add_argument("-l", "--list", action="store_true", help="show who is denied what")
    parser.add_argument(
        "-s", "--services", metavar="NAMES", default="*", help="services of cyrus.conf, as in pop3,pop3s or *,!imap"
    )
    parser.add_argument("-m", "--message", default="", help="why, for those who look at the list")
    parser.add_argument("users", nargs="*", metavar="USER")
    add_source_options(parser, cyrus_conf_letter=False)
    parser.set_defaults(run=reported(run))


def run(arguments: argparse.Namespace) -> int:
    """
    Show or change the list.

    @return: 0.
    """
    configuration = load(source_of(arguments))
    path = denials_path(configuration.settings)
    if arguments.list:
        for user, denial in sorted(_read(path).items()):
            print("\t".join((user, denial.patterns, denial.message)))
        return 0
    if not arguments.users:
        raise CommandError("name a user, or say -l for the list")
    if any("\t" in text or "\n" in text for text in (arguments.services, arguments.message)):
        raise CommandError("services and message must be of one line, without tabs")
    act_as_server(configuration)
    with locked(path):
        entries = _read(path)
        for user in arguments.users:
            if arguments.allow:
                entries.pop(user, None)
            else:
                entries[user] = Denial(arguments.services, arguments.message)
        try:
            replace_file(str(path), written(entries), sync=True)
        except OSError as error:
            raise CommandError(f"cannot write {path}: {error.strerror}") from error
    return 0


def _read(path: Path) -> dict[str, Denial]:
    try:
        return read(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise CommandError(f"{path}: {error}") from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """
    Have a file of pairs for oneself, against other commands.

    @raise CommandError: It cannot be locked.
    """
    try:
        descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise CommandError(f"cannot lock {path}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
