"""C{cyr_ls}: lists what lies below mailboxes, as ls(1) lists what lies in directories."""

from __future__ import annotations

import argparse
import grp
import os
import pwd
import shutil
import stat
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pycyrus.admin.command import CommandError, mailbox_named, name_text, reported
from pycyrus.admin.mailboxes import Mailboxes, open_mailboxes
from pycyrus.admin.source import add_source_options, source_of
from pycyrus.config.load import Configuration, load
from pycyrus.errors import StoreUnavailable
from pycyrus.model.names import MailboxName
from pycyrus.store.rows import Entry

_WIDTH = 18
"""Of a column at least."""


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "cyr_ls",
        help="list what lies below mailboxes",
        description="Lists mailboxes one level below those named, or below the one whose directory this is.",
    )
    parser.add_argument("-p", dest="paths", action="store_true", help="the arguments are directories")
    parser.add_argument("-m", dest="meta", action="store_true", help="with -l: directories of metadata")
    parser.add_argument("-i", dest="ids", action="store_true", help="print the unique id of each")
    parser.add_argument("-l", dest="long", action="store_true", help="mode, owner, size and time of their directories")
    parser.add_argument("-R", dest="recursive", action="store_true", help="what lies further below too")
    parser.add_argument("-1", dest="single", action="store_true", help="one on a line")
    parser.add_argument("-7", action="store_true", help="names are in modified UTF-7 (which is always understood)")
    parser.add_argument("names", nargs="*", metavar="MAILBOX")
    add_source_options(parser, cyrus_conf_letter=False)
    parser.set_defaults(run=reported(run))


def run(arguments: argparse.Namespace) -> int:
    """
    Print what was asked for.

    @return: 0, or EX_DATAERR if a mailbox is not there.
    """
    configuration = load(source_of(arguments))
    code = 0
    here = str(Path.cwd())
    with open_mailboxes(configuration) as mailboxes:
        listing = _Listing(mailboxes, configuration, arguments)
        for text in arguments.names or [here]:
            try:
                entry = listing.find(text, is_path=arguments.paths or not arguments.names)
            except CommandError:
                entry = None
            if entry is None:
                print(f"Invalid mailbox name: '{text}'", file=sys.stderr)
                code = os.EX_DATAERR
            else:
                listing.tell(entry.name)
    return code


class _Listing:
    """Prints, as the command line wants it."""

    def __init__(self, mailboxes: Mailboxes, configuration: Configuration, arguments: argparse.Namespace) -> None:
        self._mailboxes = mailboxes
        self._configuration = configuration
        self._arguments = arguments

    def find(self, text: str, *, is_path: bool) -> Entry | None:
        """
        The mailbox that an argument names.

        @raise CommandError: It cannot be a name.
        """
        if is_path:
            return self._mailboxes.at(Path(os.path.normpath(Path(text).absolute())))
        return self._mailboxes.find(mailbox_named(text, self._configuration))

    def tell(self, name: MailboxName) -> None:
        """Print what lies below a mailbox, or a name between mailboxes."""
        below = [entry for entry in self._mailboxes.below(name) if entry.name != name]
        children: dict[str, Entry | None] = {}
        for entry in below:
            component = entry.name.path[len(name.path)]
            is_child = len(entry.name.path) == len(name.path) + 1
            children[component] = entry if is_child else children.get(component)
        print(f"\n{name_text(name, self._configuration)}:\n")
        for line in self._lines(children):
            print(line)
        if self._arguments.recursive:
            for component in children:
                self.tell(name.child(component))

    def _lines(self, children: dict[str, Entry | None]) -> Iterator[str]:
        arguments = self._arguments
        told = [f"{self._about(entry)} {component}" for component, entry in children.items()]
        if arguments.single or arguments.long:
            yield from told
        elif told:
            yield from _in_columns(told)

    def _about(self, entry: Entry | None) -> str:
        """What stands before a name; a name between mailboxes has nothing."""
        words = []
        if self._arguments.long:
            words.append("-" if entry is None else self._directory(entry))
        if self._arguments.ids:
            words.append("-" if entry is None else entry.unique_id)
        return "".join(f"{word} " for word in words)

    def _directory(self, entry: Entry) -> str:
        try:
            paths = self._mailboxes.paths(entry)
            found = Path(paths.meta if self._arguments.meta else paths.data).stat()
        except (OSError, StoreUnavailable):
            return "?"
        changed = time.strftime("%b %e %H:%M", time.localtime(found.st_mtime))
        owner, group = _name(pwd.getpwuid, found.st_uid), _name(grp.getgrgid, found.st_gid)
        return f"{stat.filemode(found.st_mode)} {found.st_nlink} {owner:8} {group:8} {found.st_size:10} {changed}"


def _in_columns(told: Sequence[str]) -> Iterator[str]:
    width = max(_WIDTH, *(len(text) for text in told)) + 1
    count = max(1, shutil.get_terminal_size().columns // width)
    for start in range(0, len(told), count):
        yield "".join(f"{text:{width}}" for text in told[start : start + count])


def _name(look_up: Any, number: int) -> str:
    try:
        return str(look_up(number)[0])
    except KeyError:
        return str(number)
