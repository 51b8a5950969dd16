"""C{ctl_cyrusdb}: recovers the databases, and keeps copies of them."""

from __future__ import annotations

import argparse
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from pycyrus.admin.command import CommandError, act_as_server, reported
from pycyrus.admin.source import add_source_options, source_of
from pycyrus.admin.storing import run_on_store
from pycyrus.config.load import load
from pycyrus.store import directory, notes, quota_roots, userstate
from pycyrus.store.store import MailStore

DATABASES = (directory.FILE_NAME, userstate.FILE_NAME, notes.FILE_NAME, quota_roots.FILE_NAME)
_NEWEST, _OLDER = "db.backup1", "db.backup2"
_PAGES = 256
"""Copied at once; writers get their turn in between."""


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "ctl_cyrusdb",
        help="recover the databases, or keep copies of them",
        description="-r opens the databases, and so ends what was interrupted, as the server does by itself; -c copies"
        f" them to {_NEWEST} in configdirectory, and what was there to {_OLDER}.",
    )
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("-r", "--recover", action="store_true", help="recover")
    mode.add_argument("-c", "--checkpoint", action="store_true", help="copy them")
    parser.add_argument("-x", "--no-cleanup", action="store_true", help="taken, and without effect")
    add_source_options(parser)
    parser.set_defaults(run=reported(run))


def run(arguments: argparse.Namespace) -> int:
    """
    Do what was asked, without a word.

    @return: 0 if it was done.
    """
    configuration = load(source_of(arguments))
    if arguments.recover:
        run_on_store(configuration, _recover)
        return 0
    act_as_server(configuration)
    try:
        checkpoint(Path(configuration.settings.text("configdirectory")))
    except (OSError, sqlite3.Error) as error:
        raise CommandError(str(error)) from error
    return 0


async def _recover(store: MailStore) -> None:
    """Opening it has done all that there is to do."""


def checkpoint(state: Path) -> None:
    """
    Copy the databases, as of one moment each, beside a server that runs.

    The last copy becomes the older one only when the new one is whole, so there
    is always one.

    @raise OSError: A file cannot be written.
    @raise sqlite3.Error: A database cannot be read.
    """
    making = state / f"{_NEWEST}.new"
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(0o700)
    for name in DATABASES:
        if (state / name).exists():
            source = sqlite3.connect(f"{(state / name).absolute().as_uri()}?mode=ro", uri=True, timeout=30.0)
            with closing(source), closing(sqlite3.connect(making / name)) as target:
                source.backup(target, pages=_PAGES)
    newest, older = state / _NEWEST, state / _OLDER
    if newest.exists():
        shutil.rmtree(older, ignore_errors=True)
        newest.rename(older)
    making.rename(newest)
