"""
C{pycyrus quota}, Cyrus's C{quota}: tells how full users' mailboxes are, counts again, sets limits.

It works beside a running server.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from typing import Any

from pycyrus.admin.command import CommandError, inbox_named, mailbox_named, name_text, reported
from pycyrus.admin.source import add_source_options, source_of
from pycyrus.admin.storing import run_on_store
from pycyrus.config.load import Configuration, load
from pycyrus.model.identity import SERVER
from pycyrus.model.names import MailboxName
from pycyrus.model.quota import RESOURCES, Limit, Quota, Resource
from pycyrus.store.quota_roots import domain_root
from pycyrus.store.store import MailStore

_HEAD = "   Quota   % Used     Used             Resource Root"
_NAMES = {
    Resource.STORAGE: "STORAGE",
    Resource.MESSAGE: "MESSAGE",
    Resource.ANNOTATION_STORAGE: "X-ANNOTATION-STORAGE",
    Resource.MAILBOX: "X-NUM-FOLDERS",
}
"""As Cyrus 3.6 prints them."""


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "quota",
        help="tell how much of their quotas users have used",
        description="Tells limits and use of quota roots: of all, or of those that begin as told.",
    )
    parser.add_argument("prefixes", nargs="*", metavar="PREFIX", help="only roots whose names begin so")
    parser.add_argument("-d", metavar="DOMAIN", dest="domain", help="only roots of this domain")
    parser.add_argument("-u", dest="users", action="store_true", help="the arguments are users")
    parser.add_argument("-f", dest="fix", action="store_true", help="count all mailboxes again")
    parser.add_argument("-n", action="store_true", help="only tell (what -f finds wrong is mended by looking at it)")
    parser.add_argument("-q", dest="quiet", action="store_true", help="tell only what is different")
    parser.add_argument("-J", "--json", dest="json", action="store_true", help="as JSON")
    parser.add_argument(
        "--set",
        metavar="RESOURCE=LIMIT",
        dest="limits",
        action="append",
        type=_limit,
        help="make these all limits of the named roots; STORAGE is in KiB",
    )
    parser.add_argument("--remove", action="store_true", help="let the named names be quota roots no more")
    add_source_options(parser)
    parser.set_defaults(run=reported(run))


def _limit(text: str) -> Limit:
    name, _, value = text.partition("=")
    if name.upper() not in RESOURCES or not value.isdigit():
        known = ", ".join(RESOURCES)
        raise argparse.ArgumentTypeError(f"{text!r} is not RESOURCE=NUMBER, with one of {known}")
    return Limit(name.upper(), int(value))


def run(arguments: argparse.Namespace) -> int:
    """
    Do what was asked.

    @return: 0 if all of it could be done.
    """
    if (arguments.limits or arguments.remove) and not arguments.prefixes:
        raise CommandError("--set and --remove need names of quota roots")
    configuration = load(source_of(arguments))

    async def work(store: MailStore) -> tuple[list[str], list[Quota]]:
        if arguments.limits or arguments.remove:
            await _change(store, arguments, configuration)
        return await _look(store, arguments, configuration)

    changes, quotas = run_on_store(configuration, work)
    for line in changes:
        print(line)
    if arguments.json:
        print(json.dumps(as_json(quotas, configuration), indent=2))
    elif not arguments.quiet:
        print(_HEAD)
        for quota in quotas:
            for line in lines_of(quota, _root_text(quota.root, configuration)):
                print(line)
    return 0


async def _change(store: MailStore, arguments: argparse.Namespace, configuration: Configuration) -> None:
    for text in arguments.prefixes:
        root = _root_named(text, arguments.users, configuration)
        if arguments.remove:
            await store.quotas.roots.set(root, None)
        else:
            await store.set_quota(SERVER, root, arguments.limits)


async def _look(
    store: MailStore, arguments: argparse.Namespace, configuration: Configuration
) -> tuple[list[str], list[Quota]]:
    changes: list[str] = []
    found: list[Quota] = []
    for root, _ in store.quotas.roots.within("", "\U0010ffff"):
        if not _is_meant(root, arguments, configuration):
            continue
        before = await store.quotas.quota(root)
        if before is None:
            continue
        after = before
        if arguments.fix:
            usage = await store.quotas.counted(root)
            await store.quotas.recount(root)
            after = Quota(root, usage, before.limits)
        text = _root_text(root, configuration)
        changes += [
            f"{text}: {name} usage was {before.usage.of(resource)}, now {after.usage.of(resource)}"
            for resource, name in _NAMES.items()
            if before.usage.of(resource) != after.usage.of(resource)
        ]
        found.append(after)
    return changes, found


def _is_meant(root: MailboxName, arguments: argparse.Namespace, configuration: Configuration) -> bool:
    if arguments.domain is not None and root.domain != arguments.domain.lower():
        return False
    if not arguments.prefixes:
        return True
    if arguments.users:
        users = [_root_named(text, True, configuration) for text in arguments.prefixes]
        return any((root.domain, root.owner) == (user.domain, user.owner) for user in users)
    text = _root_text(root, configuration)
    return text.startswith(tuple(arguments.prefixes))


def _root_named(text: str, is_user: bool, configuration: Configuration) -> MailboxName:
    """
    Read the name of a quota root; a whole domain's is an @ with the domain.

    @raise CommandError: It is none.
    """
    if is_user:
        return inbox_named(text, configuration)
    if text.startswith("@"):
        return domain_root(text[1:].lower())
    return mailbox_named(text, configuration)


def _root_text(root: MailboxName, configuration: Configuration) -> str:
    if root.owner is None and not root.path:
        return f"@{root.domain}"
    return name_text(root, configuration)


def as_json(quotas: Sequence[Quota], configuration: Configuration) -> dict[str, dict[str, dict[str, int]]]:
    """By root and resource: what is used and the limit, in the limit's units."""
    told: dict[str, dict[str, dict[str, int]]] = {}
    for quota in quotas:
        limits = {limit.resource: limit.value for limit in quota.limits}
        told[_root_text(quota.root, configuration)] = {
            name: {"used": quota.usage.of(resource) // resource.unit}
            | ({"limit": limits[resource]} if resource in limits else {})
            for resource, name in _NAMES.items()
        }
    return told


def lines_of(quota: Quota, root: str) -> Iterable[str]:
    """A line for each resource, in Cyrus's columns."""
    limits = {limit.resource: limit.value for limit in quota.limits}
    for resource, name in _NAMES.items():
        used = quota.usage.of(resource) // resource.unit
        limit = limits.get(resource)
        left = " " * 17
        if limit is not None:
            left = f" {limit:7d} {used * 100 // limit:8d}" if limit else f" {limit:7d}{'':9}"
        yield f"{left} {used:8d} {name:>20} {root}"
