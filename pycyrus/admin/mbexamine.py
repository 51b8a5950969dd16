"""C{mbexamine}: prints what is known of a mailbox and of its messages."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np

from pycyrus.admin.command import CommandError, mailbox_named, name_text, reported
from pycyrus.admin.durations import time_text
from pycyrus.admin.source import add_source_options, source_of
from pycyrus.admin.storing import run_on_store
from pycyrus.config.load import Configuration, load
from pycyrus.model.acl_text import acl_pairs
from pycyrus.model.flags import SYSTEM_FLAG_NAMES
from pycyrus.store.mailbox import MailboxState
from pycyrus.store.rows import Entry
from pycyrus.store.store import MailStore


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser("mbexamine", help="print what is known of mailboxes and of their messages")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("-u", "--uid", metavar="UID", type=int, help="of the messages only this one")
    which.add_argument("-s", "--seqnum", metavar="N", type=int, help="of the messages only the one with this number")
    which.add_argument("-q", "--check-quota", dest="quota", action="store_true", help="only whether its use is exact")
    parser.add_argument("-c", "--check-message-files", dest="check", action="store_true", help="use pycyrus verify")
    parser.add_argument("mailboxes", nargs="+", metavar="MAILBOX")
    add_source_options(parser)
    parser.set_defaults(run=reported(run))


def run(arguments: argparse.Namespace) -> int:
    """Print it; returns 0 unless a mailbox is not there."""
    if arguments.check:
        raise CommandError("pycyrus verify compares messages with their files")
    configuration = load(source_of(arguments))

    async def work(store: MailStore) -> list[str]:
        lines: list[str] = []
        for text in arguments.mailboxes:
            entry = store.directory.lookup(mailbox_named(text, configuration))
            if entry is None:
                raise CommandError(f"there is no mailbox {text}")
            state = await store.hold(entry)
            try:
                state.refresh()
                lines += _lines(state, entry, arguments, configuration)
            finally:
                store.release(state)
        return lines

    for line in run_on_store(configuration, work):
        print(line)
    return 0


def _lines(
    state: MailboxState, entry: Entry, arguments: argparse.Namespace, configuration: Configuration
) -> Iterator[str]:
    view, contents = state.view(), state.contents
    yield f"Examining {name_text(entry.name, configuration)}..."
    if arguments.quota:
        counted = int(view.sizes.sum(dtype=np.int64))
        same = counted == contents.size
        yield f"  Mailbox has {'CORRECT' if same else 'INCORRECT'} quota usage: {contents.size}, counted {counted}"
        return
    yield " Mailbox Header Info:"
    yield f"  Path to mailbox: {state.paths.data}"
    yield f"  Unique ID: {entry.unique_id}"
    yield "  User Flags: " + " ".join(name.decode("utf-8", "replace") for name in contents.keyword_names)
    yield "  ACL: " + " ".join(f"{identifier} {rights}" for identifier, rights in acl_pairs(entry.acl))
    yield " Index Header Info:"
    yield f"  Number of Messages: {len(view.uids)}  Mailbox Size: {contents.size} bytes"
    yield f"  Last UID: {contents.uidnext - 1}  UIDVALIDITY: {entry.uidvalidity}"
    yield f"  Highest Modseq: {contents.highest_modseq}  Deleted: {contents.deleted}  Unseen: {contents.unseen}"
    yield " Message Info:"
    for at in range(len(view.uids)):
        if arguments.uid not in (None, int(view.uids[at])) or arguments.seqnum not in (None, at + 1):
            continue
        flags = int(view.flags[at])
        names = " ".join(name.decode("ascii") for bit, name in SYSTEM_FLAG_NAMES if flags & bit)
        came, sent = (time_text(int(times[at])) for times in (view.internaldates, view.sent_times))
        uid, size, modseq = (int(numbers[at]) for numbers in (view.uids, view.sizes, view.modseqs))
        yield f"{at + 1:06d}> UID:{uid:08d}   SIZE:{size}   MODSEQ:{modseq}"
        yield f"      > INT_DATE:{came} SENTDATE:{sent}"
        yield f"      > SYSTEMFLAGS:{names}   GUID:{bytes(view.guids[at]).hex()}"
