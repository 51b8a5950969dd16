"""
Taking a saved mailbox list in.

What lies on disk is listed again, what does not is made, and rights become the
saved ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from pycyrus.errors import MailStoreError
from pycyrus.model.acl import Acl
from pycyrus.model.identity import SERVER
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.store.partitions import BadPartition
from pycyrus.store.rows import Entry
from pycyrus.store.store import MailStore


@dataclass(frozen=True, slots=True)
class Restore:
    """
    A mailbox of a saved list.

    @ivar partition: Where it was.
    """

    name: MailboxName
    partition: str
    acl: Acl
    special_use: tuple[str, ...] = ()


@dataclass(slots=True)
class Restored:
    """
    What was done.

    @ivar relisted: Mailboxes that lie on disk and were not on the list.
    @ivar created: Mailboxes that were nowhere.
    @ivar changed: Mailboxes that were on the list with other rights.
    @ivar remarks: What could not be done.
    """

    relisted: int = 0
    created: int = 0
    changed: int = 0
    remarks: list[str] = field(default_factory=list)


async def restore_list(store: MailStore, wanted: Iterable[Restore], *, dry_run: bool = False) -> Restored:
    """
    Have the mailboxes of a saved list; none is removed, and doing it twice is doing it once.

    @raise StoreUnavailable: The list cannot be changed.
    """
    done = Restored()
    saved = sorted(wanted, key=lambda each: each.name)
    missing = [each for each in saved if store.directory.lookup(each.name) is None]
    found: dict[MailboxName, Entry] = {}
    if missing:
        relisted = await store.relist(lambda _: True, dry_run=dry_run)
        found = {entry.name: entry for entry in relisted.added}
        done.relisted = len(found)
        done.remarks += relisted.remarks
    for each in saved:
        try:
            await _restore(store, each, found, done, dry_run=dry_run)
        except (MailStoreError, BadPartition) as error:
            done.remarks.append(f"{each.name}: {str(error) or type(error).__name__}")
    return done


async def _restore(
    store: MailStore, each: Restore, found: dict[MailboxName, Entry], done: Restored, *, dry_run: bool
) -> None:
    entry = found.get(each.name) or store.directory.lookup(each.name)
    if entry is None:
        done.created += 1
        if dry_run:
            return
        if each.name.deleted is not None:
            # What was deleted, and is nowhere, need not come back empty.
            done.created -= 1
            return
        if each.name.is_inbox:
            await store.create_inbox(each.name, partition=each.partition or None)
        else:
            await store.create(SERVER, each.name, partition=each.partition or None, special_use=each.special_use)
    elif entry.acl == each.acl:
        return
    elif each.name not in found:
        done.changed += 1
    if not dry_run:
        await store.set_acl(SERVER, each.name, each.acl)
