"""C{mbpath}: tells where a mailbox lies on disk, and which mailbox lies in a directory."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pycyrus.admin.command import CommandError, mailbox_named, name_text, reported
from pycyrus.admin.mailboxes import Mailboxes, open_mailboxes
from pycyrus.admin.source import add_source_options, source_of
from pycyrus.config.load import Configuration, load
from pycyrus.errors import InvalidMailboxName, StoreUnavailable
from pycyrus.model.names import user_inbox
from pycyrus.store.rows import Entry

_SELECTORS = {
    "A": ("Archive", "archive", "where old messages are: with the others if there is no archive"),
    "D": ("Data", "data", "where its messages are (this is the default)"),
    "M": ("Meta", "metadata", "where its other files are"),
    "S": ("Sieve", "sieve", "where its user's scripts would be"),
    "U": ("User", "user-files", "where what is known of its user is"),
}


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "mbpath",
        help="tell where mailboxes lie on disk",
        description="Prints the directories of mailboxes, a line each.",
    )
    chosen = parser.add_mutually_exclusive_group()
    for letter, (_, word, text) in _SELECTORS.items():
        chosen.add_argument(f"-{letter}", f"--{word}", dest="selector", action="store_const", const=letter, help=text)
    chosen.add_argument("-m", dest="selector", action="store_const", const="M", help="as -M")
    chosen.add_argument("-a", "--all", dest="selector", action="store_const", const="a", help="all, with labels")
    parser.add_argument("-j", "--json", action="store_true", help="all, as a JSON object for each mailbox")
    parser.add_argument(
        "-l", "--local-only", action="store_true", help="mailboxes of this server only, as all here are"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing of mailboxes that are not there")
    parser.add_argument("-s", "--stop", action="store_true", help="end at the first that is not there")
    parser.add_argument("-7", action="store_true", help="names are in modified UTF-7 (which is always understood)")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("-u", "--userids", dest="users", action="store_true", help="the arguments are users")
    mode.add_argument("-p", "--paths", dest="paths", action="store_true", help="the arguments are directories")
    parser.add_argument("names", nargs="*", metavar="MAILBOX")
    add_source_options(parser, cyrus_conf_letter=False)
    parser.set_defaults(run=reported(run))


def run(arguments: argparse.Namespace) -> int:
    """
    Print what was asked for.

    @return: 0, or EX_DATAERR if the last one is not there.
    """
    configuration = load(source_of(arguments))
    code = 0
    with open_mailboxes(configuration) as mailboxes:
        for text in arguments.names:
            entry = _find(text, arguments, configuration, mailboxes)
            code = 0 if entry is not None else os.EX_DATAERR
            if entry is None:
                if not arguments.quiet:
                    print(f"Invalid mailbox name: '{text}'", file=sys.stderr)
                if arguments.stop:
                    break
                continue
            for line in _lines(entry, arguments, configuration, mailboxes):
                print(line)
    return code


def _find(text: str, arguments: argparse.Namespace, configuration: Configuration, mailboxes: Mailboxes) -> Entry | None:
    if arguments.paths:
        return mailboxes.at(Path(os.path.normpath(Path(text).absolute())))
    try:
        name = user_of(text, configuration) if arguments.users else mailbox_named(text, configuration)
    except (CommandError, InvalidMailboxName):
        return None
    return mailboxes.find(name)


def user_of(text: str, configuration: Configuration) -> Any:
    """
    The INBOX of a user id.

    @raise InvalidMailboxName: It is none.
    """
    local, _, domain = text.partition("@")
    if domain == configuration.settings.text("defaultdomain"):
        domain = ""
    return user_inbox(local, domain)


def _lines(
    entry: Entry, arguments: argparse.Namespace, configuration: Configuration, mailboxes: Mailboxes
) -> Iterator[str]:
    try:
        places = _places(entry, configuration, mailboxes)
    except StoreUnavailable as error:
        raise CommandError(str(error)) from error
    if arguments.json:
        told: dict[str, Any] = {name.lower(): path for name, path in places.items()}
        state = configuration.settings.text("configdirectory")
        told["user"] = {"seen": f"{state}/userstate.db", "sub": f"{state}/userstate.db"}
        yield json.dumps(told, indent=2, sort_keys=True)
    elif arguments.paths and arguments.selector is None:
        yield name_text(entry.name, configuration)
    elif arguments.selector == "a":
        yield from (f"{label}: {path}" for label, path in places.items())
    else:
        yield places[_SELECTORS[arguments.selector or "D"][0]]


def _places(entry: Entry, configuration: Configuration, mailboxes: Mailboxes) -> dict[str, str]:
    """Directories by label; a user's share of the databases has no directory of its own."""
    paths = mailboxes.paths(entry)
    settings = configuration.settings
    return {
        "Archive": str(paths.data if paths.archive is None else paths.archive.directory),
        "Data": str(paths.data),
        "Meta": str(paths.meta),
        "Sieve": f"{settings.text('sievedir')}/{entry.name.owner_id or 'global'}",
        "User": settings.text("configdirectory"),
    }
