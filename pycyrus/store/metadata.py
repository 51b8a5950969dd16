"""The values of METADATA entries: those that were set, and the facts that some tell (RFC 5464)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from time import gmtime

from pycyrus.errors import PermissionDenied
from pycyrus.model.acl import LOOKUP, READ, WRITE
from pycyrus.model.annotations import (
    VENDOR,
    AnnotationDefinitions,
    AnnotationScope,
    Definition,
    ValueKind,
    split_entry,
    takes,
)
from pycyrus.model.identity import Identity
from pycyrus.store import access
from pycyrus.store.mailbox import MailboxState
from pycyrus.store.notes import EVERYBODY, SERVER, Annotations
from pycyrus.store.partitions import Partitions
from pycyrus.store.rows import Entry

SHARED_SEEN = f"{VENDOR}/sharedseen"
"""Set to C{true}, all have one seen state."""
_SHARED_VENDOR = f"{AnnotationScope.SHARED.value}{VENDOR}"


def stored(annotations: Annotations, identity: Identity, entry: Entry | None) -> dict[str, bytes]:
    """
    Values that were set, by whole entry name.

    @param entry: None for the server.
    """
    unique_id = SERVER if entry is None else entry.unique_id
    values = {
        f"{AnnotationScope.SHARED.value}{name}": value for name, value in annotations.of(unique_id, EVERYBODY).items()
    }
    own = annotations.of(unique_id, identity.user_id)
    return values | {f"{AnnotationScope.PRIVATE.value}{name}": value for name, value in own.items()}


def facts_of_mailbox(entry: Entry, state: MailboxState, last_update: float, last_pop: float | None) -> dict[str, bytes]:
    """
    What a mailbox's computed entries tell.

    @param last_update: Of the journal, in seconds since the epoch.
    @param last_pop: Of its POP3 sessions, likewise; None if there was none.
    """
    values = {
        f"{_SHARED_VENDOR}/partition": entry.partition.encode(),
        f"{_SHARED_VENDOR}/size": b"%d" % state.contents.size,
        f"{_SHARED_VENDOR}/uniqueid": entry.unique_id.encode(),
        f"{_SHARED_VENDOR}/lastupdate": _date_time(last_update),
    }
    if last_pop is not None:
        values[f"{_SHARED_VENDOR}/lastpop"] = _date_time(last_pop)
    if entry.special_use:
        values[SPECIAL_USE] = " ".join(entry.special_use).encode()
    return values


def facts_of_server(partitions: Partitions) -> dict[str, bytes]:
    """Free space, which frontends ask for: C{available;total} in KiB."""
    available = total = 0
    most = 0
    seen: set[int] = set()
    for root in [partitions.data_root(name) for name in partitions.names()]:
        try:
            status = os.statvfs(root)
            device = root.stat().st_dev
        except OSError:
            continue
        if device in seen:
            continue
        seen.add(device)
        available += status.f_bavail * status.f_frsize // 1024
        total += status.f_blocks * status.f_frsize // 1024
        most = max(most, 100 * status.f_bavail // max(status.f_blocks, 1))
    return {
        f"{_SHARED_VENDOR}/freespace/total": b"%d;%d" % (available, total),
        f"{_SHARED_VENDOR}/freespace/percent/most": b"%d" % most,
    }


SPECIAL_USE = f"{AnnotationScope.PRIVATE.value}/specialuse"
"""RFC 6154 section 4: the one entry that the list of mailboxes keeps."""


def without_special_use(values: Mapping[str, bytes | None]) -> tuple[Mapping[str, bytes | None], list[str] | None]:
    """
    Take the special-use attributes from what is to be set.

    @return: The rest, and the attributes; None if they are not to be set.
    """
    key = next((whole for whole in values if whole.lower() == SPECIAL_USE), None)
    if key is None:
        return values, None
    attributes = (values[key] or b"").decode("ascii", "replace").split()
    return {whole: value for whole, value in values.items() if whole != key}, attributes


def changes_of(
    identity: Identity, entry: Entry | None, values: Mapping[str, bytes | None], definitions: AnnotationDefinitions
) -> dict[tuple[str, str], bytes | None] | str:
    """
    Check what is to be set.

    @param entry: None for the server.
    @return: What to write, by user id and entry, or the name of an entry that
        does not exist, or does not take its value.
    @raise PermissionDenied: Without the rights for one of them.
    """
    define = definitions.of_server if entry is None else definitions.of_mailbox
    changes: dict[tuple[str, str], bytes | None] = {}
    for whole, value in values.items():
        parts = split_entry(whole)
        definition = define(parts[1]) if parts is not None else None
        if parts is None or definition is None or parts[0] not in definition.scopes or definition.is_computed:
            return whole
        if value is not None and not takes(definition, value):
            return whole
        scope, name = parts
        _demand(identity, entry, scope, definition)
        if definition.kind is ValueKind.SWITCH and value is not None:
            value = value.lower()
        changes[EVERYBODY if scope is AnnotationScope.SHARED else identity.user_id, name] = value
    return changes


def _demand(identity: Identity, entry: Entry | None, scope: AnnotationScope, definition: Definition) -> None:
    if entry is None:
        if not identity.administers(""):
            raise PermissionDenied("server annotations")
        return
    if identity.administers(entry.name.domain):
        return
    for right in (LOOKUP, READ, *((WRITE, *definition.right) if scope is AnnotationScope.SHARED else ())):
        access.check(identity, entry, right)


def _date_time(seconds: float) -> bytes:
    months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    year, month, day, hour, minute, second, *_ = gmtime(seconds)
    return f"{day:2}-{months[month - 1]}-{year:04} {hour:02}:{minute:02}:{second:02} +0000".encode()
