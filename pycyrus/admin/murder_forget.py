"""
C{pycyrus murder forget}: what a server that is no more has left at the MUPDATE master.

A server that is there mends it by itself: at its start, and by C{pycyrus murder push}.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from socket import gethostname
from typing import Any

from pycyrus.admin.command import CommandError, mailbox_named, reported
from pycyrus.admin.master_client import connect
from pycyrus.admin.source import add_source_options, source_of
from pycyrus.admin.storing import run_on_store
from pycyrus.config.load import Configuration, load
from pycyrus.interfaces import Location, LocationState
from pycyrus.model.internal_names import internal
from pycyrus.mupdate.client import MupdateClient
from pycyrus.murder.directory.comparison import in_pieces, withdraw
from pycyrus.store.store import MailStore


def add_forget(actions: Any) -> None:
    """Add the action."""
    forget = actions.add_parser(
        "forget",
        help="have the master forget what a server that is no more has left there",
        description="Has the MUPDATE master forget names that were claimed and never used, or all of a server.  The"
        " status is 1 if something was left as it is.",
    )
    forget.add_argument("names", nargs="*", metavar="MAILBOX", help="only these")
    forget.add_argument("--server", metavar="SERVER", help="what this server has there, as locations name it")
    forget.add_argument("--active", action="store_true", help="mailboxes too: their mail is lost, or on no server")
    forget.add_argument("-w", "--warn-only", dest="warn_only", action="store_true", help="only say what would be done")
    add_source_options(forget)
    forget.set_defaults(run=reported(run_forget))


def run_forget(arguments: argparse.Namespace) -> int:
    """
    Have the master forget.

    @return: 1 if something was left as it is.
    """
    configuration = load(source_of(arguments))
    settings = configuration.settings
    if not settings.text("mupdate_server"):
        raise CommandError("this server knows no master: mupdate_server is not set")
    if not arguments.names and not arguments.server:
        raise CommandError("say which mailboxes, or --server")
    if arguments.server == _own(configuration):
        raise CommandError("the master knows by itself what is not here any more: use pycyrus murder push")
    prefix = settings.text("deletedprefix")
    wanted = [internal(mailbox_named(name, configuration), prefix) for name in arguments.names]

    async def work(store: MailStore) -> int:
        client = await connect(configuration)
        try:
            found, kept = await _chosen(client, configuration, arguments, wanted)

            async def forget(location: Location) -> None:
                print(f"Remove from MUPDATE: {location.mailbox} at {location.server}", flush=True)
                if not arguments.warn_only:
                    await withdraw(client, location.server, location.mailbox)

            await in_pieces(found, forget)
        finally:
            client.log_out()
        return kept

    return 1 if run_on_store(configuration, work) else 0


def _own(configuration: Configuration) -> str:
    return configuration.settings.text("servername") or gethostname()


async def _chosen(
    client: MupdateClient, configuration: Configuration, arguments: argparse.Namespace, wanted: Sequence[str]
) -> tuple[list[Location], int]:
    """
    What is to go.

    @return: That, and how many are not to go that were asked for.
    """
    if wanted:
        looked = [(name, await client.find(name)) for name in wanted]
    else:
        looked = [(each.mailbox, each) for each in await client.list_begun(f"{arguments.server}!")]
    own = _own(configuration)
    found: list[Location] = []
    kept = 0
    for name, location in looked:
        why = _why_kept(location, own, arguments)
        if location is not None and not why:
            found.append(location)
        else:
            kept += 1
            print(f"pycyrus: {name}: {why}", file=sys.stderr)
    return found, kept


def _why_kept(location: Location | None, own: str, arguments: argparse.Namespace) -> str:
    """Why it is to stay; empty if it is not."""
    if location is None:
        return "the master does not know it"
    if location.server == own:
        return "it is this server's: use pycyrus murder push"
    if arguments.server and location.server != arguments.server:
        return f"it is at {location.server}"
    if location.state is LocationState.ACTIVE and not arguments.active:
        return f"it is in use at {location.server}: use --active if that server is no more"
    return ""
