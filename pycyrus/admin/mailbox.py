"""C{pycyrus mailbox} and C{pycyrus acl}: what C{cyradm} does, from the server's own machine and for programs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred

from pycyrus.admin.command import CommandError, mailbox_named, name_text, reported
from pycyrus.admin.durations import time_text
from pycyrus.admin.source import add_source_options, source_of
from pycyrus.admin.storing import run_on_store
from pycyrus.app.store_parts import store_settings
from pycyrus.config.load import Configuration, load
from pycyrus.errors import MailStoreError
from pycyrus.model.acl import Acl
from pycyrus.model.acl_changes import AclAction, AclChange
from pycyrus.model.acl_text import BadAcl, acl_pairs, parse_rights
from pycyrus.model.identity import SERVER
from pycyrus.model.names import MailboxName, compile_pattern
from pycyrus.store.moves import mailbox_paths
from pycyrus.store.partitions import Partitions
from pycyrus.store.rows import Entry
from pycyrus.store.store import MailStore

Work = Callable[[MailStore, argparse.Namespace, Configuration], Coroutine[Deferred[Any], Any, Any]]


def register(verbs: Any) -> None:
    """Add the verbs."""
    mailbox = verbs.add_parser("mailbox", help="create, delete, rename, list and show mailboxes")
    _add_actions(mailbox, _MAILBOX_ACTIONS)
    acl = verbs.add_parser("acl", help="show and change who may do what with a mailbox")
    _add_actions(acl, _ACL_ACTIONS)


def _add_actions(parser: Any, actions: dict[str, tuple[Work, str, tuple[str, ...]]]) -> None:
    added = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, (work, text, words) in actions.items():
        action = added.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        for word in words:
            optional = word.endswith("?")
            word = word.rstrip("?")
            action.add_argument(word, metavar=word.upper(), nargs="?" if optional else None)
        if name in ("create", "rename"):
            action.add_argument("--partition", metavar="NAME", help="where it is to lie")
        if name == "create":
            action.add_argument(
                "--special-use", metavar="ATTRIBUTE", action="append", default=[], help=r"such as \Sent"
            )
        action.add_argument("--json", action="store_true", help="print JSON")
        add_source_options(action)
        action.set_defaults(run=reported(run), work=work)


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked; returns 0 if it was done."""
    configuration = load(source_of(arguments))
    work: Work = arguments.work

    async def on_store(store: MailStore) -> Any:
        try:
            return await work(store, arguments, configuration)
        except MailStoreError as error:
            raise CommandError(_WORDS.get(type(error).__name__, str(error) or type(error).__name__)) from error

    told = run_on_store(configuration, on_store)
    if arguments.json:
        print(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        for line in _lines(told):
            print(line)
    return 0


_WORDS = {
    "MailboxNotFound": "there is no such mailbox",
    "MailboxExists": "there is such a mailbox already",
    "MailboxHasChildren": "other mailboxes are below it; delete these first",
    "PermissionDenied": "the server's rules do not allow this",
}


def _lines(told: Any) -> list[str]:
    """For people: a list is a line each, facts are C{name: value}."""
    if isinstance(told, list):
        return [line for each in told for line in ([each["name"]] if isinstance(each, dict) else [str(each)])]
    lines = []
    for key, value in told.items():
        if isinstance(value, dict):
            lines.append(f"{key}:")
            lines += [f"  {name} {text}" for name, text in value.items()]
        else:
            lines.append(f"{key}: {' '.join(value) if isinstance(value, list) else value}")
    return lines


def _entry(store: MailStore, name: MailboxName) -> Entry:
    entry = store.directory.lookup(name)
    if entry is None:
        raise CommandError(_WORDS["MailboxNotFound"])
    return entry


# --- mailboxes --------------------------------------------------------------


async def _create(store: MailStore, arguments: argparse.Namespace, configuration: Configuration) -> Any:
    name = mailbox_named(arguments.mailbox, configuration)
    unique_id = await store.create(
        SERVER, name, partition=arguments.partition, special_use=tuple(arguments.special_use)
    )
    return {"created": name_text(name, configuration), "unique id": unique_id}


async def _delete(store: MailStore, arguments: argparse.Namespace, configuration: Configuration) -> Any:
    name = mailbox_named(arguments.mailbox, configuration)
    await store.delete(SERVER, name)
    return {"deleted": name_text(name, configuration)}


async def _rename(store: MailStore, arguments: argparse.Namespace, configuration: Configuration) -> Any:
    old, new = (mailbox_named(text, configuration) for text in (arguments.mailbox, arguments.new))
    renamed = await store.rename(SERVER, old, new, partition=arguments.partition)
    return {"renamed": {name_text(was, configuration): name_text(now, configuration) for was, now in renamed}}


async def _list(store: MailStore, arguments: argparse.Namespace, configuration: Configuration) -> Any:
    separator = b"/" if configuration.settings.switch("unixhierarchysep") else b"."
    matches = compile_pattern((arguments.pattern or "*").encode("utf-8"), separator)
    named = ((name_text(entry.name, configuration), entry) for entry in store.directory.entries())
    return [
        {"name": name, "unique_id": entry.unique_id, "partition": entry.partition, "acl": dict(acl_pairs(entry.acl))}
        for name, entry in named
        if matches(name.encode("utf-8"))
    ]


async def _show(store: MailStore, arguments: argparse.Namespace, configuration: Configuration) -> Any:
    name = mailbox_named(arguments.mailbox, configuration)
    entry = _entry(store, name)
    settings = store_settings(configuration.settings)
    paths = mailbox_paths(Partitions(settings), entry.partition, entry.location)
    state = await store.hold(entry)
    try:
        state.refresh()
        contents = state.contents
        facts: dict[str, Any] = {
            "name": name_text(name, configuration),
            "unique_id": entry.unique_id,
            "uidvalidity": entry.uidvalidity,
            "uidnext": contents.uidnext,
            "highest_modseq": contents.highest_modseq,
            "messages": len(contents),
            "size": contents.size,
            "unseen": contents.unseen,
            "expunged": len(contents.retained),
            "last_update": time_text(state.last_update()),
        }
    finally:
        store.release(state)
    quota = store.quotas.roots.holds_for(name)
    return facts | {
        "created": time_text(entry.created),
        "partition": entry.partition,
        "directory": str(paths.data),
        "special_use": list(entry.special_use),
        "quota_root": "" if quota is None else name_text(quota[0], configuration) or f"@{quota[0].domain}",
        "acl": dict(acl_pairs(entry.acl)),
    }


_MAILBOX_ACTIONS: dict[str, tuple[Work, str, tuple[str, ...]]] = {
    "create": (_create, "create a mailbox", ("mailbox",)),
    "delete": (_delete, "delete a mailbox; undo and expire are about what is deleted", ("mailbox",)),
    "rename": (_rename, "rename a mailbox, or move it to another partition", ("mailbox", "new")),
    "list": (_list, "list mailboxes whose names match a pattern", ("pattern?",)),
    "show": (_show, "tell all facts of a mailbox", ("mailbox",)),
}


# --- rights -----------------------------------------------------------------


def _told(acl: Acl) -> dict[str, str]:
    return dict(acl_pairs(acl))


async def _acl_show(store: MailStore, arguments: argparse.Namespace, configuration: Configuration) -> Any:
    return {"acl": _told(_entry(store, mailbox_named(arguments.mailbox, configuration)).acl)}


async def _acl_set(store: MailStore, arguments: argparse.Namespace, configuration: Configuration) -> Any:
    name = mailbox_named(arguments.mailbox, configuration)
    rights, action = arguments.rights, AclAction.REPLACE
    if rights[:1] in ("+", "-"):
        rights, action = rights[1:], AclAction(rights[0])
    try:
        change = AclChange(arguments.identifier, action, parse_rights(_NAMED_RIGHTS.get(rights, rights)))
    except BadAcl as error:
        raise CommandError(f"{arguments.rights}: {error}") from error
    await store.change_acl(SERVER, name, change)
    return {"acl": _told(_entry(store, name).acl)}


async def _acl_remove(store: MailStore, arguments: argparse.Namespace, configuration: Configuration) -> Any:
    name = mailbox_named(arguments.mailbox, configuration)
    await store.change_acl(SERVER, name, AclChange(arguments.identifier, AclAction.REPLACE, frozenset()))
    return {"acl": _told(_entry(store, name).acl)}


_NAMED_RIGHTS = {
    "none": "",
    "read": "lrs",
    "post": "lrsp",
    "append": "lrsip",
    "write": "lrswipkxten",
    "delete": "lrxte",
    "all": "lrswipkxtean",
}
"""The words that cyradm knows."""

_ACL_ACTIONS: dict[str, tuple[Work, str, tuple[str, ...]]] = {
    "show": (_acl_show, "tell who may do what", ("mailbox",)),
    "set": (
        _acl_set,
        "give an identifier rights; +RIGHTS adds, and -RIGHTS (behind --) takes away",
        ("mailbox", "identifier", "rights"),
    ),
    "remove": (_acl_remove, "take an identifier's entry away", ("mailbox", "identifier")),
}
