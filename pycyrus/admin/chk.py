"""C{chk_cyrus}: looks whether mailboxes are sound, for those who know it by this name."""

from __future__ import annotations

import argparse
from typing import Any

from pycyrus.admin.command import CommandError, mailbox_named, reported
from pycyrus.admin.mailboxes import open_mailboxes
from pycyrus.admin.source import add_source_options, source_of
from pycyrus.app.store_parts import store_settings
from pycyrus.config.load import load
from pycyrus.store.partitions import BadPartition, Partitions
from pycyrus.store.verify import verify_mailbox


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "chk_cyrus",
        help="look for damaged mailboxes, and change nothing",
        description="Names each mailbox as it looks at it, and what is wrong with it; `verify` looks at databases and"
        " directories too.",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("-P", dest="partition", metavar="PARTITION", help="only mailboxes of this partition")
    which.add_argument("-M", dest="mailbox", metavar="MAILBOX", help="only this mailbox")
    which.add_argument("name", nargs="?", metavar="PARTITION", help="as -P")
    add_source_options(parser, cyrus_conf_letter=False)
    parser.set_defaults(run=reported(run))


def run(arguments: argparse.Namespace) -> int:
    """
    Look, and print what was found.

    @return: 0 if nothing is wrong.
    """
    configuration = load(source_of(arguments))
    settings = store_settings(configuration.settings)
    try:
        partitions = Partitions(settings)
    except BadPartition as error:
        raise CommandError(str(error)) from error
    partition = arguments.partition or arguments.name
    wanted = None
    if arguments.mailbox is not None:
        wanted = mailbox_named(arguments.mailbox, configuration)
        print(f"Examining mailbox: {arguments.mailbox}")
    else:
        print(f"Examining partition: {partition or 'ALL PARTITIONS'}")
    findings = 0
    with open_mailboxes(configuration) as mailboxes:
        if wanted is not None:
            found = mailboxes.find(wanted)
            if found is None:
                raise CommandError(f"there is no mailbox {arguments.mailbox}")
            entries = iter([found])
        else:
            entries = mailboxes.entries()
        for entry in entries:
            if partition is not None and entry.partition != partition.lower():
                continue
            if wanted is None:
                print(f"checking: {mailboxes.text(entry)}")
            for finding in verify_mailbox(entry, settings, partitions, lambda count: None):
                findings += 1
                print(f"{finding.mailbox}: {finding.file}: {finding.problem}")
    return 1 if findings else 0
