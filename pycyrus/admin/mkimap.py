"""C{mkimap}: makes the directories of a server."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pycyrus.admin.command import CommandError, act_as_server, reported
from pycyrus.admin.source import add_source_options, source_of
from pycyrus.app.store_parts import store_settings
from pycyrus.config.load import load
from pycyrus.store.partitions import BadPartition, Partitions

_STATE = ("proc", "db", "socket", "log", "msg", "ptclient")
"""What Cyrus's has below configdirectory."""


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "mkimap",
        help="make the directories of a server",
        description="Makes the directories of a server; those that are there stay as they are.  The server makes"
        " what is missing by itself.",
    )
    parser.add_argument("-d", action="store_true", help="taken, and without effect")
    parser.add_argument("conf", nargs="?", metavar="IMAPD_CONF", type=Path, help="as -C")
    add_source_options(parser)
    parser.set_defaults(run=reported(run))


def run(arguments: argparse.Namespace) -> int:
    """
    Make them.

    @return: 0 if all are there.
    """
    if arguments.conf is not None:
        arguments.imapd_conf = arguments.conf.expanduser().absolute()
    print("reading configure file...")
    configuration = load(source_of(arguments))
    state = Path(configuration.settings.text("configdirectory"))
    settings = store_settings(configuration.settings)
    print(f"i will configure directory {state}.")
    for path in settings.partitions.values():
        print(f"i saw partition {path}.")
    print("done")
    # It makes the directory of state and the partitions, for the user that the server becomes.
    act_as_server(configuration, begins=True)
    try:
        print(f"configuring {state}...")
        for name in _STATE:
            (state / name).mkdir(0o700, exist_ok=True)
        for path in (*settings.partitions.values(), *settings.metapartitions.values()):
            print(f"creating {path}...")
        Partitions(settings).prepare()
    except (OSError, BadPartition) as error:
        raise CommandError(str(error)) from error
    print("done")
    return 0
