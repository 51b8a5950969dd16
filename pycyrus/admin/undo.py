"""
C{pycyrus undo}: a mailbox as it was at some time.

It works beside a running server; its sessions see messages come and flags change.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np

from pycyrus.admin.command import CommandError, mailbox_named, name_text, reported
from pycyrus.admin.durations import read_time, time_text
from pycyrus.admin.source import add_source_options, source_of
from pycyrus.admin.storing import run_on_store
from pycyrus.config.load import Configuration, load
from pycyrus.errors import MailboxExists, MailboxNotFound, PermissionDenied
from pycyrus.model.acl_text import acl_pairs
from pycyrus.model.flags import SYSTEM_FLAG_NAMES
from pycyrus.model.identity import SERVER
from pycyrus.model.uids import UidArray, encode_numbers
from pycyrus.store.store import MailStore
from pycyrus.store.undo import NoHistory, Plan, plan_undo, undo


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "undo",
        help="have a mailbox as it was at some time",
        description="Has a mailbox as it was: messages expunged since come back under new UIDs, flags and the access"
        " control list become what they were, a mailbox deleted since comes back.  Messages that came since stay,"
        " but with --exact.  The option undo_retention says how far back this reaches.",
    )
    parser.add_argument("mailbox", metavar="MAILBOX")
    parser.add_argument(
        "--to",
        metavar="TIME",
        required=True,
        help="2026-11-20T14:30 (local time, or with an offset), 14:30 (the last one), 2h or 1.5d (ago), @SECONDS",
    )
    parser.add_argument("-r", "--recursive", action="store_true", help="the mailboxes below it as well")
    parser.add_argument("--exact", action="store_true", help="expunge messages that came since")
    parser.add_argument("-n", "--dry-run", action="store_true", help="say what would be done, and change nothing")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_source_options(parser)
    parser.set_defaults(run=reported(run))


def run(arguments: argparse.Namespace) -> int:
    """
    Do what was asked.

    @return: 0 if it was done, or nothing had to be.
    """
    configuration = load(source_of(arguments))
    now = time.time()
    try:
        when = read_time(arguments.to, now)
    except ValueError as error:
        raise CommandError(f"--to {arguments.to}: this is not {error}") from error
    if when > now:
        raise CommandError(f"{time_text(when)} is still to come")
    name = mailbox_named(arguments.mailbox, configuration)

    async def work(store: MailStore) -> list[Plan]:
        try:
            plans = await plan_undo(store, name, when, inferiors=arguments.recursive, exact=arguments.exact)
            if not arguments.dry_run:
                await undo(store, SERVER, plans)
        except MailboxNotFound as error:
            raise CommandError(f"there is and was no mailbox {arguments.mailbox}") from error
        except MailboxExists as error:
            mend = "rename that one first"
            raise CommandError(f"{arguments.mailbox} was deleted, and another mailbox has its name: {mend}") from error
        except PermissionDenied as error:
            raise CommandError(
                f"{arguments.mailbox} belongs to a user without an INBOX: bring that back first"
            ) from error
        except NoHistory as error:
            raise CommandError(_too_long_ago(error, configuration)) from error
        return plans

    plans = run_on_store(configuration, work)
    if arguments.json:
        print(json.dumps(_as_json(plans, when, arguments, configuration), indent=2))
    else:
        print("\n".join(_lines(plans, when, arguments, configuration)))
    return 0


def _too_long_ago(error: NoHistory, configuration: Configuration) -> str:
    mailbox = name_text(error.mailbox, configuration)
    if error.since is None:
        return f"{mailbox} was not there yet"
    return f"what is known of {mailbox} begins at {time_text(error.since)}"


def _lines(plans: list[Plan], when: float, arguments: argparse.Namespace, configuration: Configuration) -> list[str]:
    """What is or would be done, in words."""
    lines = []
    for plan in plans:
        lines.append(f"{name_text(plan.name, configuration)} as it was on {time_text(when)}:")
        lines += [f"  {line}" for line in _steps(plan)]
    if arguments.dry_run:
        lines.append("nothing was changed (--dry-run)")
    return lines


def _steps(plan: Plan) -> Iterator[str]:
    if plan.is_empty:
        yield "it is the same now"
    if plan.undeletes:
        yield "the mailbox, which was deleted, comes back"
    if len(plan.back):
        yield f"expunged messages that come back under new UIDs: {_uids(plan.back)}"
    if plan.changed_flags:
        yield f"messages that get the flags that they had: {plan.changed_flags}"
        for group in plan.flags:
            yield f"  {_uids(group.uids)}: {' '.join(_flag_names(group.system, group.keywords)) or 'none'}"
    if plan.changed_notes:
        yield f"messages that get the annotations that they had: {plan.changed_notes}"
    if plan.acl is not None:
        rights = ", ".join(f"{who} {letters}" for who, letters in acl_pairs(plan.acl)) or "empty"
        yield f"the access control list becomes: {rights}"
    if len(plan.since):
        goes = "are expunged" if plan.exact else "stay (--exact would expunge them)"
        yield f"messages that came since, and {goes}: {_uids(plan.since)}"
    if len(plan.lost):
        yield f"messages that cannot come back, for their files were removed: {_uids(plan.lost)}"


def _uids(uids: UidArray) -> str:
    return f"{len(uids)} ({encode_numbers(np.sort(uids)).decode('ascii')})"


def _flag_names(system: int, keywords: tuple[bytes, ...]) -> list[str]:
    names = [name.decode("ascii") for bit, name in SYSTEM_FLAG_NAMES if system & bit]
    return [*names, *(word.decode("ascii", "replace") for word in keywords)]


def _as_json(
    plans: list[Plan], when: float, arguments: argparse.Namespace, configuration: Configuration
) -> dict[str, Any]:
    return {
        "to": datetime.fromtimestamp(when, UTC).isoformat(),
        "done": not arguments.dry_run,
        "mailboxes": [
            {
                "mailbox": name_text(plan.name, configuration),
                "was_deleted": plan.undeletes,
                "comes_back": plan.back.tolist(),
                "cannot_come_back": plan.lost.tolist(),
                "flags": [
                    {"uids": group.uids.tolist(), "flags": _flag_names(group.system, group.keywords)}
                    for group in plan.flags
                ],
                "annotations": sorted(uid for group in plan.notes for uid in group.uids.tolist()),
                "came_since": plan.since.tolist(),
                "came_since_goes": plan.exact,
                "acl": None if plan.acl is None else dict(acl_pairs(plan.acl)),
            }
            for plan in plans
        ],
    }
