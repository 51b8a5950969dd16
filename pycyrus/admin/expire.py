"""
C{pycyrus expire}, Cyrus's C{cyr_expire}: ends what was kept for a time.

It works beside a running server.
"""

from __future__ import annotations

import argparse
import sys
import syslog
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pycyrus.admin.command import inbox_named, reported
from pycyrus.admin.durations import read_duration
from pycyrus.admin.source import add_source_options, source_of
from pycyrus.admin.storing import run_on_store, teller_of
from pycyrus.app.logs import syslog_prefix
from pycyrus.app.store_parts import archive_settings, retentions
from pycyrus.config.load import Configuration, load
from pycyrus.delivery.record import FILE_NAME, prune
from pycyrus.model.names import internal
from pycyrus.store.expiry import Expired, Expiry, expire
from pycyrus.store.rows import Entry
from pycyrus.store.store import MailStore


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "expire",
        help="remove expunged messages and deleted mailboxes that were kept long enough",
        description="Removes expunged messages and deleted mailboxes that were kept long enough.  DURATION is in days,"
        " or has a unit: 1.5d, 12h, 30m, 90s.  Without -A, -D, -E and -X it does what the options expunge_retention,"
        " delete_retention and archive_after say.",
    )
    parser.add_argument("-X", metavar="DURATION", dest="expunged", type=_duration, help="messages expunged before")
    parser.add_argument("-D", metavar="DURATION", dest="deleted", type=_duration, help="mailboxes deleted before")
    parser.add_argument("-E", metavar="DURATION", type=_duration, help="what is known of deliveries before")
    parser.add_argument(
        "-A", metavar="DURATION", dest="archived", type=_duration,
        help="move messages that came before, and large ones, to the archive partition",
    )  # fmt: skip
    parser.add_argument("-p", metavar="PREFIX", dest="prefix", help="only mailboxes whose names begin so")
    parser.add_argument("-u", metavar="USER", dest="user", help="only mailboxes of this user")
    parser.add_argument("-t", dest="keywords", action="store_true", help="forget user flags that no message has")
    parser.add_argument("-x", dest="keep", action="store_true", help="leave expunged messages alone")
    parser.add_argument(
        "-a", dest="plain", action="store_true", help="ignore the annotations expire, archive and delete"
    )
    parser.add_argument("-c", action="store_true", help="leave conversations alone (there are none)")
    parser.add_argument("-v", dest="verbose", action="store_true", help="say what is done in each mailbox")
    # For bin/cyr_expire: Cyrus's prints nothing, so that cron sends no mail.
    parser.add_argument("--silent", action="store_true", help=argparse.SUPPRESS)
    add_source_options(parser)
    parser.set_defaults(run=reported(run))


def _duration(text: str) -> float:
    try:
        return read_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not {error}") from error


def run(arguments: argparse.Namespace) -> int:
    """
    Do what was asked.

    @return: 0 if all of it could be done.
    """
    configuration = load(source_of(arguments))
    order = order_of(arguments, configuration, time.time())
    told: Callable[[str], None] = print if arguments.verbose else lambda line: None

    async def work(store: MailStore) -> Expired:
        return await expire(store, order, told, teller_of(store))

    done = run_on_store(configuration, work)
    lines = summary(done, order)
    if arguments.E is not None:
        record = Path(configuration.settings.text("configdirectory")) / FILE_NAME
        pruned, deliveries = prune(record, time.time() - arguments.E)
        lines.append(f"duplicate_prune: purged {pruned} out of {deliveries} entries")
    if arguments.archived is not None and order.archive is None:
        print("pycyrus: nothing is archived: archive_enabled is off", file=sys.stderr)
    _log(lines, configuration)
    if arguments.verbose or not arguments.silent:
        print("\n".join(lines))
    if done.failed:
        print(f"pycyrus: {done.failed} mailboxes could not be done", file=sys.stderr)
    return 1 if done.failed else 0


def order_of(arguments: argparse.Namespace, configuration: Configuration, now: float) -> Expiry:
    """What the command line asks for."""
    expunged, deleted = arguments.expunged, arguments.deleted
    archive = archive_settings(configuration.settings)
    if (expunged, deleted, arguments.E, arguments.archived) == (None, None, None, None):
        expunged, deleted = retentions(configuration.settings)
    elif archive is not None:
        archive = None if arguments.archived is None else replace(archive, after=arguments.archived)
    return Expiry(
        None if expunged is None or arguments.keep else now - expunged,
        None if deleted is None else now - deleted,
        arguments.keywords,
        _concerns(arguments, configuration),
        None if arguments.plain else now,
        archive,
    )


def _concerns(arguments: argparse.Namespace, configuration: Configuration) -> Callable[[Entry], bool]:
    settings = configuration.settings
    if arguments.user is not None:
        inbox = inbox_named(arguments.user, configuration)
        return lambda entry: (entry.name.domain, entry.name.owner) == (inbox.domain, inbox.owner)
    if arguments.prefix is not None:
        deleted_prefix = settings.text("deletedprefix")
        prefixes = [arguments.prefix]
        if settings.switch("unixhierarchysep"):
            prefixes.append(arguments.prefix.replace(".", "^").replace("/", "."))
        return lambda entry: internal(entry.name, deleted_prefix).startswith(tuple(prefixes))
    return lambda entry: True


def summary(done: Expired, order: Expiry) -> list[str]:
    """What Cyrus logs at the end."""
    lines = []
    if order.expunged_before is not None or order.drop_keywords:
        lines.append(
            f"Expired {done.expired} and expunged {done.expunged} out of {done.seen} messages"
            f" from {done.mailboxes} mailboxes"
        )
    if order.drop_keywords:
        lines.append(f"Expunged {done.keywords} user flags")
    if order.archive is not None:
        lines.append(f"Archived {done.archived} messages")
    if order.deleted_before is not None:
        lines.append(f"Removed {done.removed} deleted mailboxes")
    return lines


def _log(lines: list[str], configuration: Configuration) -> None:
    if configuration.home is not None:
        # What belongs to no system's mail server does not write to its log.
        return
    syslog.openlog(f"{syslog_prefix(configuration.settings)}/cyr_expire", syslog.LOG_PID, syslog.LOG_MAIL)
    for line in lines:
        syslog.syslog(syslog.LOG_NOTICE, line)
