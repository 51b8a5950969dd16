"""
C{pycyrus reconstruct}, Cyrus's C{reconstruct}: makes a mailbox again from its files, or the list from the headers.

It works beside a running server.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

from pycyrus.admin.command import CommandError, inbox_named, mailbox_named, name_text, reported
from pycyrus.admin.source import add_source_options, source_of
from pycyrus.admin.storing import run_on_store
from pycyrus.app.store_parts import store_settings
from pycyrus.config.load import Configuration, load
from pycyrus.errors import MailStoreError
from pycyrus.model.names import MailboxName
from pycyrus.store.reconstruct import Order, reconstruct
from pycyrus.store.rows import Entry
from pycyrus.store.store import MailStore
from pycyrus.store.survey import Found, name_of

_NOT_HERE = {
    "M": "the mailbox list is believed anyway where it and a header differ",
    "P": "where a mailbox lies is what the mailbox list says, or where it is found",
}


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "reconstruct",
        help="make mailboxes again from their files, and the mailbox list from headers",
        description="Looks at every file and record of mailboxes, mends what does not agree, and prints their names."
        "  Without a mailbox, all of them.",
    )
    parser.add_argument("mailboxes", metavar="MAILBOX", nargs="*")
    flags = {
        "r": ("recursive", "what lies below them as well"),
        "u": ("users", "the arguments are users: all mailboxes of each"),
        "f": ("find", "put mailboxes on the list that are on disk and not there"),
        "x": ("ignore_headers", "with -f, give default rights instead of those in the header"),
        "n": ("dry_run", "say what would be done, and change nothing"),
        "s": ("no_stat", "do not compare sizes of files"),
        "q": ("quiet", "print no names"),
        "G": ("reparse", "compare the octets of every message, and make the cache again"),
        "R": ("renumber", "messages that are not what was stored get another UID"),
        "U": ("remove", "messages that are not what was stored go to quarantine"),
        "o": ("ignore_odd", "say nothing of files that are no messages"),
        "O": ("delete_odd", "delete files that are no messages"),
    }
    for letter, (name, text) in flags.items():
        parser.add_argument(f"-{letter}", dest=name, action="store_true", help=text)
    for letter, text in _NOT_HERE.items():
        # -M and -P FILE are Cyrus's here; which server it is can be said by --cyrus-conf.
        parser.add_argument(f"-{letter}", dest=f"not_{letter}", action="store_true", help=f"does nothing: {text}")
    parser.add_argument("-p", metavar="PARTITION", dest="partition", help="only mailboxes of this partition")
    parser.add_argument(
        "--accept-loss",
        action="store_true",
        help="expunge messages whose files are missing even if these are most of a mailbox (else it is left alone,"
        " for its file system may not be mounted)",
    )
    parser.add_argument("-V", metavar="VERSION", dest="version", help="does nothing: there is one version of the files")
    add_source_options(parser, cyrus_conf_letter=False)
    parser.set_defaults(run=reported(run))


def run(arguments: argparse.Namespace) -> int:
    """
    Do what was asked.

    @return: 0 if all of it could be done.
    """
    configuration = load(source_of(arguments))
    for letter, text in _NOT_HERE.items():
        if getattr(arguments, f"not_{letter}"):
            print(f"pycyrus: -{letter} does nothing: {text}", file=sys.stderr)
    if arguments.version is not None:
        print("pycyrus: -V does nothing: there is one version of the files", file=sys.stderr)
    if arguments.renumber and arguments.remove:
        raise CommandError("-R and -U exclude each other")
    concerns = _choice(arguments, configuration)

    async def work(store: MailStore) -> bool:
        is_well = True
        if arguments.find:
            is_well = await _find(store, arguments, configuration, concerns)
        entries = [entry for entry in store.directory.entries() if concerns(entry.name)]
        if arguments.partition is not None:
            entries = [entry for entry in entries if entry.partition == arguments.partition.lower()]
        if arguments.mailboxes and not entries and not arguments.find:
            mend = "; if it is on disk, -f puts it there" if not arguments.users else ""
            raise CommandError(f"{' '.join(arguments.mailboxes)}: not on the mailbox list{mend}")
        for entry in entries:
            is_well &= await _reconstruct(store, entry, arguments, configuration)
        return is_well

    return 0 if run_on_store(configuration, work) else 1


def _choice(arguments: argparse.Namespace, configuration: Configuration) -> Callable[[MailboxName], bool]:
    """Which mailboxes the command line means."""
    if not arguments.mailboxes:
        return lambda name: True
    if arguments.users:
        users = set()
        for text in arguments.mailboxes:
            inbox = inbox_named(text, configuration)
            users.add((inbox.domain, inbox.owner))
        return lambda name: (name.domain, name.owner) in users and name.deleted is None
    names = [mailbox_named(text, configuration) for text in arguments.mailboxes]
    below = arguments.recursive or arguments.find
    return lambda name: any(name == each or (below and name.is_below(each)) for each in names)


async def _find(
    store: MailStore,
    arguments: argparse.Namespace,
    configuration: Configuration,
    concerns: Callable[[MailboxName], bool],
) -> bool:
    """Put mailboxes on the list; says whether all could be."""
    settings = store_settings(configuration.settings)

    def wanted(found: Found) -> bool:
        if arguments.partition is not None and found.partition != arguments.partition.lower():
            return False
        name = name_of(found, settings)
        return name is None or concerns(name)

    done = await store.relist(wanted, dry_run=arguments.dry_run, ignore_headers=arguments.ignore_headers)
    for entry in done.added:
        would = "would be" if arguments.dry_run else "is"
        print(f"{name_text(entry.name, configuration)}: {would} on the mailbox list again", file=sys.stderr)
    return not done.remarks


async def _reconstruct(
    store: MailStore, entry: Entry, arguments: argparse.Namespace, configuration: Configuration
) -> bool:
    name = name_text(entry.name, configuration)
    order = Order(
        arguments.dry_run,
        not arguments.no_stat,
        arguments.reparse,
        arguments.renumber,
        arguments.remove,
        arguments.ignore_odd,
        arguments.delete_odd,
        arguments.accept_loss,
    )
    try:
        state = await store.hold(entry)
        try:
            remarks = await reconstruct(state, entry, store.tree.text(entry), order)
        finally:
            store.release(state)
    except MailStoreError as error:
        print(f"pycyrus: {name}: {str(error) or type(error).__name__}", file=sys.stderr)
        return False
    for remark in remarks:
        print(f"{name}: {remark}", file=sys.stderr)
    if not arguments.quiet:
        print(name)
    return True
