"""
C{pycyrus unexpunge}, also under Cyrus's name: lists expunged messages, and brings them back.

It works beside a running server; its sessions are told of the messages at once.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from pycyrus.admin.command import USAGE, CommandError, mailbox_named, reported
from pycyrus.admin.durations import read_duration, time_text
from pycyrus.admin.source import add_source_options, source_of
from pycyrus.admin.storing import run_on_store
from pycyrus.app.logs import printable
from pycyrus.config.load import load
from pycyrus.mime.header import field_values, header_end
from pycyrus.model.flags import DELETED
from pycyrus.store.keyword_bits import Keywords
from pycyrus.store.layout import MailboxPaths
from pycyrus.store.restoring import Choose, Restored, Rows, restore
from pycyrus.store.spool import MessageFile
from pycyrus.store.store import MailStore

_FIELDS = ("From", "To", "Cc", "Bcc", "Subject")
_LABELS = {"size": "Size", "sent": "Sent", "received": "Recv", "expunged": "Expg", "subject": "Subj"}
_HEADER = 1 << 16
"""Octets of a message in which its header is looked for."""
_KEYWORD = re.compile(r"[!#$&'+,\-./0-9:;<=>?@A-Z^_`a-z|~]+")


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "unexpunge",
        help="list expunged messages, or bring them back",
        description="Lists expunged messages of a mailbox whose files are still there, or brings them back.  They get"
        " new UIDs, and keep everything else.",
    )
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("-l", "--list", dest="list", action="store_true", help="list them, or those with the UIDs")
    mode.add_argument("-a", "--all", dest="all", action="store_true", help="bring all back")
    mode.add_argument(
        "-t",
        "--within-time-interval",
        dest="within",
        metavar="TIME",
        help="bring back what was expunged within this time: seconds, or with a unit: 30m, 2h, 1.5d, 1w",
    )
    mode.add_argument("-u", "--uids", dest="uids", action="store_true", help="bring back those with the UIDs")
    parser.add_argument("-d", "--unset-deleted", dest="undelete", action="store_true", help=r"take \Deleted off them")
    parser.add_argument("-f", "--set-flag", dest="flag", metavar="FLAG", help="give them this user flag")
    parser.add_argument("-v", "--verbose", dest="verbose", action="store_true", help="print old and new UIDs")
    parser.add_argument("-n", "--dry-run", action="store_true", help="say what would come back, and change nothing")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("mailbox", metavar="MAILBOX")
    parser.add_argument("which", metavar="UID", type=int, nargs="*")
    add_source_options(parser)
    parser.set_defaults(run=reported(run))


@dataclass(frozen=True, slots=True)
class Wanted:
    """
    What comes back, and how.

    @ivar uids: Only these; None for any.
    @ivar since: Expunged since this time, in seconds; 0 for any.
    @ivar undelete: Without the deleted flag.
    @ivar keyword: With this one; empty for none.
    """

    uids: frozenset[int] | None = None
    since: float = 0.0
    undelete: bool = False
    keyword: bytes = b""

    def among(self, rows: Rows) -> Rows:
        """Those of some expunged messages that are wanted."""
        if self.uids is not None:
            rows = rows[np.isin(rows["uid"], list(self.uids))]
        return rows[rows["expunge_time"] >= self.since * 1_000_000]

    def choose(self, rows: Rows, keywords: Keywords) -> Rows:
        """Likewise, with the flags that they get."""
        rows = self.among(rows)
        if self.undelete:
            rows["flags"] &= np.uint32(~DELETED & 0xFFFFFFFF)
        if self.keyword and len(rows):
            rows["keywords"] |= np.array(keywords.words((self.keyword,), define=True), dtype=np.uint64)
        return rows


def run(arguments: argparse.Namespace) -> int:
    """
    Do what was asked.

    @return: 0 if it was done.
    """
    configuration = load(source_of(arguments))
    if bool(arguments.which) != arguments.uids and not (arguments.list and arguments.which):
        print("pycyrus: UIDs go with -u, and may go with -l", file=sys.stderr)
        return USAGE
    wanted = _wanted(arguments)
    name = mailbox_named(arguments.mailbox, configuration)

    async def work(store: MailStore) -> tuple[list[dict[str, Any]], Restored | None]:
        entry = store.directory.lookup(name)
        if entry is None:
            raise CommandError(f"there is no mailbox {arguments.mailbox}")
        state = await store.hold(entry)
        try:
            state.refresh()
            if arguments.list or arguments.dry_run:
                rows = wanted.among(state.contents.retained)
                return [_facts(row, state.paths) for row in rows[np.argsort(rows["uid"])]], None
            chosen: Choose = wanted.choose
            return [], await restore(state, chosen)
        finally:
            store.release(state)

    listed, restored = run_on_store(configuration, work)
    if restored is None:
        _print_list(listed, arguments)
    else:
        _print_restored(restored, arguments)
    return 0


def _wanted(arguments: argparse.Namespace) -> Wanted:
    since = 0.0
    if arguments.within is not None:
        try:
            since = time.time() - read_duration(arguments.within, "s")
        except ValueError as error:
            raise CommandError(f"-t {arguments.within}: this is not {error}") from error
    keyword = arguments.flag or ""
    if keyword and not _KEYWORD.fullmatch(keyword):
        raise CommandError(f"{keyword} cannot be a user flag")
    uids = frozenset(arguments.which) if arguments.which else None
    return Wanted(uids, since, arguments.undelete, keyword.encode("ascii"))


def _facts(row: np.void, paths: MailboxPaths) -> dict[str, Any]:
    """What a listing tells of a message."""
    facts: dict[str, Any] = {
        "uid": int(row["uid"]),
        "size": int(row["size"]),
        "sent": time_text(int(row["sent_time"])),
        "received": time_text(int(row["internaldate"])),
        "expunged": time_text(int(row["expunge_time"]) / 1_000_000),
    }
    try:
        file = MessageFile(paths.where(int(row["uid"])))
    except OSError:
        return {**facts, "missing": True}
    try:
        head = file.read(0, min(file.size, _HEADER))
    finally:
        file.close()
    head = head[: header_end(head, 0, len(head))]
    for field in _FIELDS:
        facts[field.lower()] = printable(b", ".join(field_values(head, field.encode("ascii"))))
    return facts


def _print_list(listed: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    if arguments.json:
        print(json.dumps(listed, indent=2))
        return
    for facts in listed:
        print(f"UID: {facts['uid']}")
        for key, value in facts.items():
            if key == "missing":
                print("\tits file is gone")
            elif key != "uid":
                print(f"\t{_LABELS.get(key, key.capitalize()):<4}: {value}")
        print()
    if not arguments.list:
        print(f"{len(listed)} expunged messages would come back; nothing was changed")


def _print_restored(restored: Restored, arguments: argparse.Namespace) -> None:
    pairs = list(zip(restored.was.tolist(), restored.now.tolist(), strict=True))
    if arguments.json:
        print(json.dumps({"restored": [{"was": was, "uid": now} for was, now in pairs]}, indent=2))
        return
    if arguments.verbose:
        for was, now in pairs:
            print(f"Unexpunged {arguments.mailbox}: {was} => {now}")
    print(f"restored {len(pairs)} expunged messages")
