"""C{pycyrus deliveries}, Cyrus's C{ctl_deliver -d}: prints what was delivered where."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pycyrus.admin.command import CommandError, act_as_server, reported
from pycyrus.admin.source import add_source_options, source_of
from pycyrus.config.load import load
from pycyrus.delivery.record import FILE_NAME, entries


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "deliveries",
        help="print the record of deliveries, by which duplicates are known",
        description="Prints a line for each delivery: Message-ID, unique id of the mailbox, time in seconds since the"
        " epoch, and UID.",
    )
    parser.add_argument("-f", metavar="FILE", dest="file", help="another record than the server's")
    parser.add_argument("-d", action="store_true", help="print them, which it does anyway")
    add_source_options(parser)
    parser.set_defaults(run=reported(run))


def run(arguments: argparse.Namespace) -> int:
    """Print them; returns the exit code."""
    configuration = load(source_of(arguments))
    act_as_server(configuration)
    path = Path(arguments.file or Path(configuration.settings.text("configdirectory")) / FILE_NAME)
    if not path.exists():
        raise CommandError(f"{path} is not there: nothing was delivered yet")
    for parts, when, uid in entries(path):
        identifier, target = (part.decode("ascii", "backslashreplace") for part in parts[:2])
        print(f"id: {identifier:<40}\tto: {target:<20}\tat: {when} \tuid: {uid}")
    return 0
