"""C{pycyrus xfer}: users and mailboxes go to another server, and how far they are."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from socket import gethostname
from typing import Any

from pycyrus.admin.command import CommandError, inbox_named, mailbox_named, name_text, reported
from pycyrus.admin.source import add_source_options, source_of
from pycyrus.admin.storing import run_on_store
from pycyrus.app.transfer_parts import make_transfers
from pycyrus.config.load import Configuration, load
from pycyrus.errors import MailStoreError
from pycyrus.interfaces import Moved
from pycyrus.model.identity import SERVER
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.model.transfers import Manifest
from pycyrus.murder.moving.dump_intake import DUMP_PREFIX
from pycyrus.murder.moving.sync_intake import SYNC_PREFIX
from pycyrus.murder.moving.transfers import Transfers
from pycyrus.store.incoming import Arrivals
from pycyrus.store.store import MailStore
from pycyrus.store.transfer_log import Incoming, Outgoing, TransferLog

_MIB = 1 << 20
_NAMED = {"user": inbox_named, "mailbox": mailbox_named}
_OF_OURS = "the other server says what becomes of it"
_OF_CYRUS = (
    "taken over when the MUPDATE master or that server says that it has it no more, or by 'xfer accept';"
    " where that server has it, but nobody can use it, run 'ctl_mboxlist -m' there"
)
_HELP = {"partition": "move all users whose INBOX is on a partition, and its shared mailboxes, to another server"}


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser("xfer", help="move users and mailboxes to another server")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    for action, what in (("user", "USER"), ("mailbox", "MAILBOX"), ("partition", "PARTITION")):
        move = actions.add_parser(
            action,
            help=_HELP.get(action, f"move each {action} to another server"),
            description="Moves them one after the other.  The status is 1 if one of them is still here.",
        )
        move.add_argument("names", nargs="+", metavar=what)
        move.add_argument("--to", required=True, metavar="SERVER", help="the other server's name")
        move.add_argument("--partition", default="", help="there; by default that server chooses")
        add_source_options(move)
        move.set_defaults(run=reported(run_move), named=_NAMED.get(action))
    accept = actions.add_parser(
        "accept",
        help="have mailboxes be this server's that a server of Cyrus's sent and did not hand over",
        description="Without an id it tells of all that wait.  They are listed then, and the Murder's master is told.",
    )
    accept.add_argument("ids", nargs="*", metavar="ID", help="of a transfer")
    accept.add_argument("--drop", action="store_true", help="remove them instead: the other server still has them")
    add_source_options(accept)
    accept.set_defaults(run=reported(run_accept))
    cancel = actions.add_parser(
        "cancel",
        help="have what is on its way to another server stay here",
        description="The status is 1 if it is too late, or there is none of that id, which 'status --json' tells.",
    )
    cancel.add_argument("ids", nargs="+", metavar="ID", help="of a transfer")
    add_source_options(cancel)
    cancel.set_defaults(run=reported(run_cancel))
    status = actions.add_parser(
        "status",
        help="tell what is on its way, and what became of what was",
        description="Tells of all moves that are known, also of what came and waits for a word of the other server."
        "  The status is 1 if one is neither done nor undone.",
    )
    status.add_argument("--json", action="store_true", help="as JSON")
    add_source_options(status)
    status.set_defaults(run=reported(run_status))


def run_move(arguments: argparse.Namespace) -> int:
    """
    Move them.

    @return: 1 if one of them is still here.
    """
    configuration = load(source_of(arguments))
    named = [] if arguments.named is None else [arguments.named(text, configuration) for text in arguments.names]
    settings = configuration.settings

    async def work(store: MailStore) -> int:
        from twisted.internet import reactor

        name = settings.text("servername") or gethostname()
        transfers = make_transfers(settings, name, store, store.directory.publisher, reactor, may_move_users=True)
        failed = 0
        try:
            for root in named or await _on_partitions(transfers, arguments.names):
                try:
                    await transfers.move(SERVER, root, arguments.to, arguments.partition, _ignore)
                    print(f"{name_text(root, configuration)}: moved to {arguments.to}", flush=True)
                except MailStoreError as error:
                    print(f"pycyrus: {name_text(root, configuration)}: {error}", file=sys.stderr)
                    failed += 1
        finally:
            transfers.close()
        return failed

    return 1 if run_on_store(configuration, work) else 0


async def _on_partitions(transfers: Transfers, partitions: Sequence[str]) -> list[MailboxName]:
    found: list[MailboxName] = []
    for partition in partitions:
        roots = await transfers.roots(SERVER, partition)
        if roots is None:
            raise CommandError(f"{partition}: no such partition, or there is a mailbox of that name")
        found += roots
    return found


def _ignore(moved: Moved) -> None:
    """It is told otherwise."""


def run_accept(arguments: argparse.Namespace) -> int:
    """
    Have mailboxes be this server's that came and were not handed over.

    @raise CommandError: There is no such transfer, or the mailboxes are here already.
    """
    configuration = load(source_of(arguments))

    async def work(store: MailStore) -> None:
        from twisted.internet import reactor

        parts = store.transfer_parts()
        log = TransferLog(parts.settings.configdirectory, reactor)  # type: ignore[arg-type] # the module is the reactor
        arrivals = Arrivals(parts, log)
        try:
            for each in log.all_prepared() if not arguments.ids else ():
                root = Manifest.decode(each.manifest).root
                print(f"{each.transfer_id} {name_text(root, configuration)}")
            for transfer_id in arguments.ids:
                if arguments.drop:
                    await arrivals.give_up(transfer_id)
                    continue
                for name in await arrivals.activate(transfer_id):
                    print(f"{name_text(name, configuration)}: accepted")
        finally:
            log.close()

    run_on_store(configuration, work)
    return 0


def run_cancel(arguments: argparse.Namespace) -> int:
    """
    Have them stay.

    @return: 1 if one of them does not.
    """

    async def work(store: MailStore) -> int:
        from twisted.internet import reactor

        log = TransferLog(store.transfer_parts().settings.configdirectory, reactor)  # type: ignore[arg-type] # the module is the reactor
        failed = 0
        try:
            for each in arguments.ids:
                if await log.cancel(each):
                    print(f"{each}: cancelled")
                else:
                    print(f"pycyrus: {each}: not on its way, or the other server has it already", file=sys.stderr)
                    failed += 1
        finally:
            log.close()
        return failed

    return 1 if run_on_store(load(source_of(arguments)), work) else 0


def run_status(arguments: argparse.Namespace) -> int:
    """
    Print it.

    @return: 1 if something is under way.
    """
    configuration = load(source_of(arguments))

    async def work(store: MailStore) -> tuple[list[Outgoing], list[Incoming]]:
        from twisted.internet import reactor

        log = TransferLog(store.transfer_parts().settings.configdirectory, reactor)  # type: ignore[arg-type] # the module is the reactor
        try:
            return log.outgoing(), log.all_prepared()
        finally:
            log.close()

    leaving, came = run_on_store(configuration, work)
    if arguments.json:
        found = [_fields(each, configuration) for each in leaving]
        print(json.dumps(found + [_fields_of_arrival(each, configuration) for each in came], indent=2))
    else:
        for leaves in leaving:
            print(_line(leaves, configuration))
        for comes in came:
            fields = _fields_of_arrival(comes, configuration)
            print(f"{fields['mailbox']} from another server: {comes.state.value}: {fields['error']} ({fields['id']})")
    return 1 if came or any(not each.state.is_over for each in leaving) else 0


def _fields(transfer: Outgoing, configuration: Configuration) -> dict[str, Any]:
    return {
        "id": transfer.transfer_id,
        "mailbox": name_text(transfer.root, configuration),
        "server": transfer.server,
        "partition": transfer.partition,
        "state": transfer.state.value,
        "octets": transfer.octets,
        "total": transfer.total,
        "begun": transfer.begun,
        "changed": transfer.changed,
        "error": transfer.error,
    }


def _fields_of_arrival(transfer: Incoming, configuration: Configuration) -> dict[str, Any]:
    is_of_cyrus = transfer.transfer_id.startswith((SYNC_PREFIX, DUMP_PREFIX))
    return {
        "id": transfer.transfer_id,
        "mailbox": name_text(Manifest.decode(transfer.manifest).root, configuration),
        "partition": transfer.partition,
        "state": transfer.state.value,
        "error": _OF_CYRUS if is_of_cyrus else _OF_OURS,
    }


def _line(transfer: Outgoing, configuration: Configuration) -> str:
    begun = datetime.fromtimestamp(transfer.begun, UTC).strftime("%Y-%m-%d %H:%M:%S")
    name = name_text(transfer.root, configuration)
    done = f"{transfer.octets / _MIB:.1f} of {transfer.total / _MIB:.1f} MiB"
    error = transfer.error and f": {transfer.error}"
    return f"{begun} {name} to {transfer.server}: {transfer.state.value}, {done}{error} ({transfer.transfer_id})"
