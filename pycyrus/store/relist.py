"""Putting mailboxes that lie on the partitions back on the list."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from twisted.logger import Logger

from pycyrus.errors import InvalidMailboxName, StoreUnavailable
from pycyrus.model.acl import OWNER_RIGHTS, Acl
from pycyrus.model.acl_text import parse_rights
from pycyrus.model.internal_names import internal
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.store import rows
from pycyrus.store.layout import JOURNAL
from pycyrus.store.partitions import Partitions
from pycyrus.store.rows import Entry
from pycyrus.store.settings import StoreSettings
from pycyrus.store.survey import Found, name_of

_log = Logger()


@dataclass(slots=True)
class Relisted:
    """
    What was done.

    @ivar added: Mailboxes that are on the list now.
    @ivar remarks: What could not be put there, and why.
    """

    added: list[Entry] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def relist(
    connection: sqlite3.Connection,
    found: Iterable[Found],
    settings: StoreSettings,
    *,
    partitions: Partitions | None = None,
    ignore_headers: bool = False,
) -> Relisted:
    """
    Put on the list what is not there, within a transaction.

    @param partitions: To see whether a mailbox that lies elsewhere than the list says is there as well; otherwise
        the list is believed.
    @param ignore_headers: Give default rights instead of those in the header.
    """
    done = Relisted()
    last = 0
    for each in _latest_first(found):
        remark = _add(connection, each, settings, done, partitions, ignore_headers=ignore_headers)
        last = max(last, each.uidvalidity)
        if remark:
            remark = f"{each.partition}:{each.location}: {remark}"
            done.remarks.append(remark)
            _log.error("Not on the mailbox list: {remark}", remark=remark)
    if last:
        rows.next_uidvalidity(connection, last)
    return done


def _latest_first(found: Iterable[Found]) -> list[Found]:
    """As they were found, but for those of one mailbox, of which one was moved to another partition, or is a copy."""
    everything = list(found)
    latest: dict[str, Found] = {}
    for each in everything:
        if each.unique_id is not None and each.age > latest.setdefault(each.unique_id, each).age:
            latest[each.unique_id] = each
    return sorted(everything, key=lambda each: latest.get(each.unique_id or "", each) is not each)


def _add(
    connection: sqlite3.Connection,
    found: Found,
    settings: StoreSettings,
    done: Relisted,
    partitions: Partitions | None,
    *,
    ignore_headers: bool,
) -> str:
    """
    Add one mailbox.

    @return: Why not; empty if it was added, or is there.
    """
    if rows.find_location(connection, found.partition, found.location) is not None:
        return ""
    unique_id = found.unique_id
    if unique_id is None:
        return "neither header nor journal tell whose mailbox this is"
    other = rows.find_id(connection, unique_id)
    missing = other is not None and partitions is not None and not _is_there(other, partitions)
    if other is not None and not missing:
        return f"a mailbox of the same unique id is at {other.partition}:{other.location}"
    name = name_of(found, settings)
    if name is None:
        return "nothing tells its name"
    there = rows.find(connection, name)
    if there is not None and there.unique_id != unique_id:
        return f"there is another mailbox {internal(name, settings.deletedprefix)}"
    named = None if ignore_headers else found.header
    now = int(time.time())
    entry = Entry(
        name,
        unique_id,
        found.partition,
        found.location,
        found.uidvalidity,
        _acl(name, settings, named.acl if named is not None else None),
        named.mailbox_type if named is not None else "",
        named.special_use if named is not None else (),
        named.created if named is not None else now,
        now,
    )
    if other is None:
        rows.insert(connection, entry)
    else:
        rows.replace(connection, entry)
    done.added.append(entry)
    return ""


def _is_there(entry: Entry, partitions: Partitions) -> bool:
    """Whether a mailbox is where the list says; it is, for all that is known, where a partition is missing."""
    try:
        return (partitions.meta(entry.partition, entry.location) / JOURNAL).exists()
    except (StoreUnavailable, InvalidMailboxName):
        return True


def _acl(name: MailboxName, settings: StoreSettings, pairs: tuple[tuple[str, str], ...] | None) -> Acl:
    if pairs:
        return Acl(tuple((identifier, parse_rights(rights)) for identifier, rights in pairs))
    owner = name.owner_id
    return Acl(((owner, OWNER_RIGHTS),)) if owner is not None else settings.default_acl
