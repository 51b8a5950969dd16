"""C{ipurge}: expunges messages that are old, or large, in all mailboxes of some name."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycyrus.admin.command import CommandError, name_text, reported
from pycyrus.admin.source import add_source_options, source_of
from pycyrus.admin.storing import run_on_store, teller_of
from pycyrus.config.load import Configuration, load
from pycyrus.errors import MailboxNotFound
from pycyrus.model.flags import DELETED, FLAGGED
from pycyrus.model.patterns import compile_pattern
from pycyrus.model.view import View
from pycyrus.store import writing
from pycyrus.store.rows import Entry
from pycyrus.store.store import MailStore

_DAY = 86400
_SIZES = {"b": (1, "octets"), "k": (1024, "KiB"), "m": (1024 * 1024, "MiB")}


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "ipurge",
        help="expunge messages that are old or large",
        description="Expunges messages of shared mailboxes that are older, or larger, than told.  They stay for"
        " unexpunge, as all expunged messages do.",
    )
    parser.add_argument("-d", "--days", metavar="DAYS", type=int, help="those older than this, by their Date field")
    for letter, (factor, unit) in _SIZES.items():
        size = _Times(factor)
        parser.add_argument(f"-{letter}", metavar="SIZE", dest="size", type=size, help=f"those larger, in {unit}")
    parser.add_argument("-X", "--delivery-time", dest="delivery", action="store_true", help="by when they came instead")
    parser.add_argument("-x", "--exact-match", dest="exact", action="store_true", help="neither older nor younger, ...")
    parser.add_argument("-i", "--invert-match", dest="invert", action="store_true", help="younger, or smaller, instead")
    parser.add_argument("-o", "--only-deleted", dest="deleted", action="store_true", help=r"only those with \Deleted")
    parser.add_argument("-s", "--skip-flagged", dest="skip", action="store_true", help=r"not those with \Flagged")
    parser.add_argument("-f", "--include-user-mailboxes", dest="force", action="store_true", help="users' too")
    parser.add_argument("-M", "--no-recursive", dest="alone", action="store_true", help="not the mailboxes below")
    parser.add_argument("-n", "--dry-run", action="store_true", help="say what would go, and change nothing")
    parser.add_argument("-v", "--verbose", action="store_true", help="say what went")
    parser.add_argument("patterns", nargs="*", metavar="MAILBOX", help="names, also with * and %%")
    add_source_options(parser, cyrus_conf_letter=False)
    parser.set_defaults(run=reported(run))


@dataclass(frozen=True, slots=True)
class _Times:
    """Reads a number, in some unit."""

    factor: int

    def __call__(self, text: str) -> int:
        return int(text) * self.factor


@dataclass(frozen=True, slots=True)
class Rule:
    """
    Which messages go.

    @ivar days: Age; None for any.
    @ivar size: In octets; None for any.
    @ivar delivery: Age counts since the message came, and not by its Date field.
    """

    days: int | None
    size: int | None
    delivery: bool = False
    exact: bool = False
    invert: bool = False
    deleted: bool = False
    skip_flagged: bool = False

    def among(self, view: View, now: float) -> NDArray[np.bool_]:
        """Whether each message of a view goes: being old is enough, and so is being large."""
        going: NDArray[np.bool_] = np.zeros(len(view.uids), dtype=np.bool_)
        if self.days is not None:
            times = view.internaldates if self.delivery else view.sent_times
            going |= self._compare((int(now) - times.astype(np.int64)) // _DAY, self.days)
        if self.size is not None:
            going |= self._compare(view.sizes.astype(np.int64), self.size)
        if self.deleted:
            going &= (view.flags & DELETED).astype(np.bool_)
        if self.skip_flagged:
            going &= ~(view.flags & FLAGGED).astype(np.bool_)
        return going

    def _compare(self, values: NDArray[np.int64], limit: int) -> NDArray[np.bool_]:
        found: NDArray[np.bool_]
        if self.exact:
            found = values != limit if self.invert else values == limit
        else:
            found = values < limit if self.invert else values > limit
        return found


def run(arguments: argparse.Namespace) -> int:
    """
    Expunge them.

    @return: 0 if all of it could be done.
    """
    if arguments.days is None and arguments.size is None:
        raise CommandError("one of -d, -b, -k and -m must say which messages go")
    configuration = load(source_of(arguments))
    wanted = _wanted(arguments, configuration)
    rule = Rule(
        arguments.days,
        arguments.size,
        arguments.delivery,
        arguments.exact,
        arguments.invert,
        arguments.deleted,
        arguments.skip,
    )

    async def work(store: MailStore) -> None:
        for entry in filter(wanted, store.directory.entries(deleted=False)):
            await _purge(store, entry, rule, arguments, name_text(entry.name, configuration))

    run_on_store(configuration, work)
    return 0


def _wanted(arguments: argparse.Namespace, configuration: Configuration) -> Callable[[Entry], bool]:
    separator = b"/" if configuration.settings.switch("unixhierarchysep") else b"."
    patterns = []
    for text in arguments.patterns or ["*"]:
        pattern = os.fsencode(text)
        patterns.append(compile_pattern(pattern, separator))
        if not arguments.alone:
            patterns.append(compile_pattern(pattern + separator + b"*", separator))

    def wanted(entry: Entry) -> bool:
        if entry.name.deleted is not None or (entry.name.owner is not None and not arguments.force):
            return False
        text = name_text(entry.name, configuration).encode("utf-8")
        return any(matches(text) for matches in patterns)

    return wanted


async def _purge(store: MailStore, entry: Entry, rule: Rule, arguments: argparse.Namespace, name: str) -> None:
    try:
        state = await store.hold(entry)
    except MailboxNotFound:
        return  # deleted meanwhile
    try:
        state.refresh()
        view = state.view()
        going = rule.among(view, time.time())
        uids = view.uids[going].astype(np.uint32)
        octets = int(view.sizes[going].sum(dtype=np.int64))
        total = len(view.uids)
        if len(uids) and not arguments.dry_run:
            await writing.expunge(state, uids, only_deleted=False, keep_files=store.keeps_expunged)
    finally:
        store.release(state)
    teller = teller_of(store)
    if len(uids) and not arguments.dry_run and teller is not None:
        await teller(entry.name, uids)
    if arguments.verbose or arguments.dry_run:
        print(f"Working on {name}...")
        print(f"total messages     {total}")
        print(f"Deleted messages   {len(uids)}")
        print(f"Deleted bytes      {octets}")
