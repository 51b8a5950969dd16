"""C{pycyrus explain}: which rules decide about somebody's rights, a quota or a delivery, and which one did."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from pycyrus.admin.command import CommandError, mailbox_named, name_text, reported
from pycyrus.admin.explain_login import add_login
from pycyrus.admin.source import add_source_options, source_of
from pycyrus.admin.storing import run_on_store
from pycyrus.app.context import delivery_settings
from pycyrus.app.identity_parts import identity_settings
from pycyrus.auth.identity import Identities, InvalidUserId
from pycyrus.config.load import Configuration, load
from pycyrus.delivery.recipients import catchall_target, nearest, poster, resolve
from pycyrus.delivery.settings import DeliverySettings
from pycyrus.errors import InvalidMailboxName
from pycyrus.interfaces import Envelope, Recipient
from pycyrus.model.acl import Acl, rights_of
from pycyrus.model.acl_text import write_rights
from pycyrus.model.identity import POSTMAN, AdminScope, Identity
from pycyrus.model.names import MailboxName
from pycyrus.store.quota_roots import domain_root
from pycyrus.store.rows import Entry
from pycyrus.store.store import MailStore


@dataclass(frozen=True, slots=True)
class Step:
    """
    One rule.

    @ivar rule: What was looked at.
    @ivar outcome: What came of it.
    @ivar decided: The result is this one's.
    """

    rule: str
    outcome: str
    decided: bool = False


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser("explain", help="tell why somebody may, a mailbox is full, or mail goes somewhere")
    subjects = parser.add_subparsers(title="subjects", metavar="SUBJECT", required=True)
    acl = subjects.add_parser("acl", help="what a user may do with a mailbox, and why")
    acl.add_argument("user", metavar="USER")
    acl.add_argument("mailbox", metavar="MAILBOX")
    quota = subjects.add_parser("quota", help="which quota root holds for a mailbox")
    quota.add_argument("mailbox", metavar="MAILBOX")
    delivery = subjects.add_parser("delivery", help="where mail to an address goes")
    delivery.add_argument("address", metavar="ADDRESS")
    delivery.add_argument("--auth", metavar="USER", help="as sent by this user (MAIL's AUTH parameter)")
    add_login(subjects)
    for subject, work in ((acl, _acl), (quota, _quota), (delivery, _delivery)):
        subject.add_argument("--json", action="store_true", help="print JSON")
        add_source_options(subject)
        subject.set_defaults(run=reported(run), work=work)


def run(arguments: argparse.Namespace) -> int:
    """Explain; returns 0 unless it cannot be told."""
    configuration = load(source_of(arguments))

    async def work(store: MailStore) -> list[Step]:
        return [step async for step in _each(arguments.work(store, arguments, configuration))]

    steps = run_on_store(configuration, work)
    if arguments.json:
        print(json.dumps([asdict(step) for step in steps], indent=2, ensure_ascii=False))
    else:
        for step in steps:
            print(f"{'=>' if step.decided else '  '} {step.rule}: {step.outcome}")
    return 0


async def _each(steps: Any) -> Any:
    if hasattr(steps, "__aiter__"):
        async for step in steps:
            yield step
    else:
        for step in steps:
            yield step


def _entry(store: MailStore, name: MailboxName, text: str) -> Entry:
    entry = store.directory.lookup(name)
    if entry is None:
        raise CommandError(f"there is no mailbox {text}")
    return entry


# --- rights -----------------------------------------------------------------


def _acl(store: MailStore, arguments: argparse.Namespace, configuration: Configuration) -> Iterator[Step]:
    try:
        identities = Identities(identity_settings(configuration.settings))
        identity = identities.identity(identities.canonical(os.fsencode(arguments.user)))
    except InvalidUserId as error:
        raise CommandError(f"{arguments.user!r} cannot be a user: {error}") from error
    name = mailbox_named(arguments.mailbox, configuration)
    return explain_rights(identity, name, _entry(store, name, arguments.mailbox).acl)


def explain_rights(identity: Identity, name: MailboxName, acl: Acl) -> Iterator[Step]:
    """The rules of L{rights_of}, in their order."""
    administers = identity.administers(name.domain)
    if identity.domain != name.domain and not (administers or identity.crosses_domains):
        yield Step("domain", f"{identity.user_id} is of another domain than the mailbox: no rights", decided=True)
        return
    identifiers = {identity.user_id, "anyone"} | {f"group:{group}" for group in identity.groups}
    known: set[str] = set()
    for identifier, rights in acl.entries:
        text = write_rights(rights)
        if identifier in identifiers:
            known |= rights
            yield Step(f"entry {identifier} {text}", "gives these")
        elif identifier[:1] == "-" and identifier[1:] in identifiers:
            yield Step(f"entry {identifier} {text}", "takes these from what entries give")
        elif identifier.removeprefix("-").startswith("group:"):
            yield Step(f"entry {identifier} {text}", "is about members of a group, which only a login tells")
        else:
            yield Step(f"entry {identifier} {text}", "is about somebody else")
    if name.owned_by(identity):
        implicit = rights_of(replace(identity, admin=AdminScope.NONE), name, Acl())
        known |= implicit
        yield Step("owner", f"has {write_rights(implicit)} whatever the entries say")
    if administers:
        known |= identity.admin_rights
        yield Step("administrator", f"has {write_rights(identity.admin_rights)} whatever the entries say")
    result = rights_of(identity, name, acl)
    if not result <= known:
        yield Step("acl_admin_implies_write", f"adds {write_rights(result - known)}, as right a is there")
    yield Step("result", write_rights(result) or "no rights", decided=True)


# --- quotas -----------------------------------------------------------------


async def _quota(store: MailStore, arguments: argparse.Namespace, configuration: Configuration) -> Any:
    name = mailbox_named(arguments.mailbox, configuration)
    _entry(store, name, arguments.mailbox)
    for root in _roots_above(name):
        text = name_text(root, configuration) if root.owner is not None or root.path else f"@{root.domain}"
        quota = await store.quotas.quota(root)
        if quota is None:
            yield Step(text, "is no quota root")
            continue
        limits = ", ".join(f"{limit.name} {quota.used(limit)} of {limit.value}" for limit in quota.limits)
        yield Step(text, f"is the nearest quota root: {limits or 'without limits'}", decided=True)
        return
    yield Step("result", "no quota holds for it", decided=True)


def _roots_above(name: MailboxName) -> Iterator[MailboxName]:
    at: MailboxName | None = name
    while at is not None:
        yield at
        at = at.parent
    if name.domain:
        yield domain_root(name.domain)


# --- deliveries -------------------------------------------------------------


def _delivery(store: MailStore, arguments: argparse.Namespace, configuration: Configuration) -> Iterator[Step]:
    settings = delivery_settings(configuration.settings, "localhost")
    local_part, _, domain = arguments.address.rpartition("@")
    if not local_part:
        local_part, domain = domain, ""
    envelope = Envelope("", None, POSTMAN, "localhost", "localhost", "LMTP", "", auth=arguments.auth)
    try:
        target = resolve(Recipient(local_part, domain), settings)
    except InvalidMailboxName as error:
        yield Step("address", f"nobody can have it: {error}")
        target = None
    if target is not None:
        if target.inbox is None:
            yield Step(f"postuser {settings.post_user}", "it is a shared mailbox's address")
        else:
            yield Step("address", f"is of the user {target.inbox.owner_id}")
        is_user = target.inbox is None or store.directory.lookup(target.inbox) is not None
        if target.folder is not None and is_user:
            sender = poster(envelope, target.domain, settings)
            found = _folder_step(store, target.folder, sender, settings, configuration)
            yield found
            if found.decided:
                return
        if target.inbox is not None:
            text = name_text(target.inbox, configuration)
            if is_user:
                yield Step("INBOX", f"is there: mail goes to {text}", decided=True)
                return
            yield Step("INBOX", f"{text} is not there")
            if configuration.settings.switch("autocreate_post"):
                yield Step("autocreate_post", "it is made when mail comes, if autocreate_users lets it", decided=True)
                return
    fallback = catchall_target(settings)
    if fallback is not None and fallback.inbox is not None and store.directory.lookup(fallback.inbox) is not None:
        text = name_text(fallback.inbox, configuration)
        yield Step("lmtp_catchall_mailbox", f"mail goes to {text}", decided=True)
        return
    yield Step("result", "the address is refused", decided=True)


def _folder_step(
    store: MailStore, folder: MailboxName, sender: Identity, settings: DeliverySettings, configuration: Configuration
) -> Step:
    text = name_text(folder, configuration)
    entry = store.directory.lookup(folder)
    if entry is None and settings.fuzzy_mailbox_match:
        names = [each.name for each in store.directory.entries(folder.domain, deleted=False)]
        alike = nearest(folder, [name for name in names if name.owner == folder.owner])
        entry = store.directory.lookup(alike) if alike is not None else None
    if entry is None:
        return Step("folder", f"{text} is not there")
    text = name_text(entry.name, configuration)
    if not settings.excluded_special_uses.isdisjoint(use.lower() for use in entry.special_use):
        return Step("lmtp_exclude_specialuse", f"{text} gets no mail by address")
    if "p" not in rights_of(sender, entry.name, entry.acl):
        return Step("folder", f"{sender.user_id} has no right p on {text}")
    return Step("folder", f"{sender.user_id} has right p: mail goes to {text}", decided=True)
