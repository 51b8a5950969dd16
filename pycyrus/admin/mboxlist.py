"""C{ctl_mboxlist}: writes the mailbox list out, takes one in, and compares it with what lies on disk."""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from pycyrus.admin.command import CommandError, reported
from pycyrus.admin.mailboxes import Mailboxes, open_mailboxes
from pycyrus.admin.push_options import add_push_options
from pycyrus.admin.source import add_source_options, source_of
from pycyrus.admin.storing import run_on_store
from pycyrus.app.store_parts import store_settings
from pycyrus.config.load import Configuration, load
from pycyrus.errors import InvalidMailboxName, MailStoreError
from pycyrus.interfaces import Location, LocationState
from pycyrus.model.acl import Acl
from pycyrus.model.acl_text import BadAcl, parse_rights, write_rights
from pycyrus.model.names import MailboxName, parse_internal
from pycyrus.store import locations
from pycyrus.store.partitions import Partitions
from pycyrus.store.restored_list import Restore, Restored, restore_list
from pycyrus.store.rows import Entry
from pycyrus.store.store import MailStore
from pycyrus.store.verify import open_list, verify_places


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "ctl_mboxlist",
        help="dump, restore or verify the mailbox list",
        description="Dumps the mailbox list as JSON, restores mailboxes and rights from such a dump, or compares the"
        " list with what lies on disk.",
    )
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("-d", "--dump", action="store_true", help="write the list to standard output")
    mode.add_argument("-u", "--undump", action="store_true", help="read a dump (from standard input, or a file)")
    mode.add_argument("-v", "--verify", action="store_true", help="tell of mailboxes that are only listed, or on disk")
    mode.add_argument("-m", "--mupdate", action="store_true", help="tell the Murder's master what is here")
    add_push_options(parser.add_argument_group("with -m"))
    parser.add_argument("-p", "--partition", metavar="NAME", help="only mailboxes of this partition")
    parser.add_argument("-f", "--database", metavar="FILE", type=Path, help="with -d: another list than this server's")
    parser.add_argument("-L", "--legacy", action="store_true", help="with -u: a dump of Cyrus before 3.6")
    parser.add_argument("-y", action="store_true", help="intermediary mailboxes too (there are none)")
    parser.add_argument("-n", "--dry-run", action="store_true", help="with -u: say what would be done")
    parser.add_argument("file", nargs="?", type=Path, help="with -u: the dump")
    add_source_options(parser)
    parser.set_defaults(run=reported(run))


def run(arguments: argparse.Namespace) -> int:
    """
    Do what was asked.

    @return: 0 if all is well.
    """
    if arguments.mupdate:
        # What links servers takes longer to import than the rest takes to run.
        from pycyrus.admin.murder import run_push

        return run_push(arguments)
    configuration = load(source_of(arguments))
    if arguments.database is not None and not arguments.dump:
        raise CommandError("-f goes with -d only: all else is about the list that this server uses")
    if arguments.undump:
        return _undump(arguments, configuration)
    with open_mailboxes(configuration, arguments.database) as mailboxes:
        if arguments.verify:
            return _verify(mailboxes, configuration)
        listed = ((mailboxes.text(entry), entry) for entry in mailboxes.entries())
        here = ((name, entry.partition, as_json(entry, name)) for name, entry in listed)
        elsewhere = _elsewhere(mailboxes, configuration) if arguments.database is None else ()
        _dump(chain(here, elsewhere), arguments.partition, sys.stdout)
    return 0


# --- out --------------------------------------------------------------------


def _dump(found: Iterable[tuple[str, str, dict[str, Any]]], partition: str | None, out: TextIO) -> None:
    """
    Write one JSON object, an entry at a time: the list may be longer than memory.

    @param found: Names, partitions and what else there is to say of mailboxes.
    """
    out.write("{")
    before = ""
    for name, at, told in found:
        if partition is None or at == partition:
            out.write(f"{before}\n{json.dumps(name)}:{json.dumps(told, separators=(',', ':'))}")
            before = ","
    out.write("\n}\n")


def _elsewhere(mailboxes: Mailboxes, configuration: Configuration) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """What a Murder's master, or a frontend, knows of other servers' mailboxes, and is not in its own list."""
    directory = Path(configuration.settings.text("configdirectory"))
    if not (directory / locations.FILE_NAME).exists():
        return
    prefix = configuration.settings.text("deletedprefix")
    try:
        for location in locations.all_of(directory):
            with suppress(InvalidMailboxName):
                if mailboxes.find(parse_internal(location.mailbox, prefix)) is not None:
                    continue
            yield location.mailbox, location.partition, _remote_json(location)
    except sqlite3.Error as error:
        raise CommandError(f"{directory / locations.FILE_NAME}: {error}") from error


def _remote_json(location: Location) -> dict[str, Any]:
    """Where a mailbox is, as Cyrus 3.6 writes it; the directory has no times."""
    words = location.acl.split("\t")
    return {
        "name": location.mailbox,
        "mtime": "0",
        "uidvalidity": "0",
        "createdmodseq": "0",
        "foldermodseq": "0",
        "mbtype": "er" if location.state is LocationState.ACTIVE else "erz",
        "partition": location.partition,
        "server": location.server,
        "acl": dict(zip(words[::2], words[1::2], strict=False)),
        "name_history": [],
    }


def as_json(entry: Entry, name: str) -> dict[str, Any]:
    """An entry as Cyrus 3.6 writes it: numbers are strings."""
    return {
        "name": name,
        "mtime": str(entry.changed),
        "uidvalidity": str(entry.uidvalidity),
        "createdmodseq": "0",
        "foldermodseq": "0",
        "mbtype": "em" if entry.is_leaving else entry.mailbox_type or "e",
        "partition": entry.partition,
        "acl": {identifier: write_rights(rights) for identifier, rights in entry.acl.entries},
        "uniqueid": entry.unique_id,
        "legacy_specialuse": " ".join(entry.special_use),
        "name_history": [],
    }


def _verify(mailboxes: Mailboxes, configuration: Configuration) -> int:
    problems = 0
    for entry in mailboxes.entries():
        try:
            there = Path(mailboxes.paths(entry).journal).exists()
        except MailStoreError:
            there = False
        if not there:
            problems += 1
            print(f"'{mailboxes.text(entry)}' is in the mailbox list, and not on disk")
    settings = store_settings(configuration.settings)
    for finding in verify_places(settings, Partitions(settings), open_list(settings)):
        problems += 1
        print(f"{finding.file} is on disk, and not in the mailbox list ('{finding.mailbox}')")
    return os.EX_DATAERR if problems else 0


# --- in ---------------------------------------------------------------------


def _undump(arguments: argparse.Namespace, configuration: Configuration) -> int:
    text = _read(arguments.file)
    try:
        wanted = list(_legacy(text, configuration) if arguments.legacy else _parse(text, configuration))
    except (ValueError, KeyError, TypeError, AttributeError, BadAcl, InvalidMailboxName) as error:
        print(f"ctl_mboxlist: this is no dump: {error}", file=sys.stderr)
        return os.EX_DATAERR
    if arguments.partition is not None:
        wanted = [each for each in wanted if each.partition == arguments.partition]

    async def work(store: MailStore) -> Restored:
        return await restore_list(store, wanted, dry_run=arguments.dry_run)

    done = run_on_store(configuration, work)
    for remark in done.remarks:
        print(f"ctl_mboxlist: {remark}", file=sys.stderr)
    print(f"{done.relisted} found on disk, {done.created} created, {done.changed} with other rights")
    return os.EX_DATAERR if done.remarks else 0


def _read(file: Path | None) -> str:
    if file is None:
        return sys.stdin.read()
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{file}: {error}") from error


def _name(text: str, configuration: Configuration) -> MailboxName:
    return parse_internal(text, configuration.settings.text("deletedprefix"))


def _parse(text: str, configuration: Configuration) -> Iterator[Restore]:
    for name, each in json.loads(text).items():
        if each.get("server") or set(each.get("mbtype", "e")) & set("rdi"):
            continue  # another server's, or a mark of something unfinished
        acl = Acl(tuple((str(who), parse_rights(rights)) for who, rights in each.get("acl", {}).items()))
        uses = tuple(str(each.get("legacy_specialuse") or "").split())
        yield Restore(_name(name, configuration), str(each.get("partition") or ""), acl, uses)


def _legacy(text: str, configuration: Configuration) -> Iterator[Restore]:
    """Lines of C{name TAB type SP partition SP acl>...}; the list of rights is of identifiers and rights, with TABs."""
    for line in text.splitlines():
        name, _, rest = line.partition("\t")
        kind, partition, acl = (*rest.split(" ", 2), "")[:3]
        if "!" in partition or (kind.isdigit() and int(kind) & 0x0F & ~0x08):
            continue
        words = acl.partition(">")[0].rstrip("\t ").split("\t") if acl else []
        pairs = zip(words[::2], words[1::2], strict=False)
        yield Restore(
            _name(name, configuration),
            partition,
            Acl(tuple((identifier, parse_rights(rights)) for identifier, rights in pairs)),
        )
