"""
Creating, deleting and renaming mailboxes, within a transaction of the list.

Permission is checked here once more, on what the list says under its lock.
Everything waits for the disk, and runs on a thread.
"""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from pycyrus.errors import (
    InvalidMailboxName,
    MailboxExists,
    MailboxHasChildren,
    MailboxNotFound,
    OperationNotSupported,
    PermissionDenied,
    SpecialUseConflict,
    StoreUnavailable,
)
from pycyrus.model.acl import ADMINISTER, DELETE_MAILBOX, LOOKUP, OWNER_RIGHTS, Acl
from pycyrus.model.acl_changes import AclChange
from pycyrus.model.acl_text import acl_pairs
from pycyrus.model.identity import Identity
from pycyrus.model.internal_names import internal
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.model.namespace import INBOX
from pycyrus.model.naming_policy import check_policy
from pycyrus.store import access, moves, rows
from pycyrus.store.header import Header
from pycyrus.store.layout import create_mailbox, remove_mailbox
from pycyrus.store.partitions import Partitions
from pycyrus.store.paths import Layout, location_by_id
from pycyrus.store.rows import Entry, Work
from pycyrus.store.settings import DeleteMode, StoreSettings

Renamed = list[tuple[MailboxName, MailboxName]]
_MADE = 256
"""Places of new mailboxes that are remembered until their transaction is over, or others follow."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """
    A mailbox to create.

    @ivar identity: For whom; None for the server itself, which may.
    @ivar partition: As asked for.
    @ivar special_use: As asked for.
    @ivar is_alone: Nothing need be above it: what is, comes later, from another server.
    """

    identity: Identity | None
    name: MailboxName
    partition: str | None = None
    special_use: tuple[str, ...] = ()
    is_alone: bool = False


class MailboxTree:
    """The rules of the tree, and its changes."""

    def __init__(self, settings: StoreSettings, partitions: Partitions, user_changed: moves.UserChanged) -> None:
        """@param user_changed: Called, on a thread, for users who were renamed or removed."""
        self._settings = settings
        self._user_changed = user_changed
        self._partitions = partitions
        self._last_stuck = 0
        self._made: deque[tuple[str, str]] = deque(maxlen=_MADE)
        self._layout = Layout(
            settings.hashimapspool, settings.fulldirhash, settings.mailbox_legacy_dirs, settings.deletedprefix
        )

    def text(self, entry: Entry) -> str:
        """The internal name of an entry."""
        return internal(entry.name, self._settings.deletedprefix)

    def finish(self, connection: sqlite3.Connection) -> None:
        """
        Move and remove directories as the change just committed asks for.

        @raise StoreUnavailable: It cannot be done now, and will be done later.
        """
        stuck = moves.finish(connection, self._partitions, self.text, self._user_changed)
        harmless = moves.OF_ARCHIVES | moves.OF_MAILBOXES
        if any(each.number > self._last_stuck and each.work not in harmless for each in stuck):
            raise StoreUnavailable("mailbox directories cannot be moved now")

    def catch_up(self, connection: sqlite3.Connection) -> None:
        """Do what is left of earlier changes, as far as it can be done."""
        stuck = moves.finish(connection, self._partitions, self.text, self._user_changed)
        self._last_stuck = max((each.number for each in stuck), default=0)

    # --- create ---------------------------------------------------------

    def create(self, connection: sqlite3.Connection, wanted: Wanted) -> Entry:
        """
        Create a mailbox, and the missing ones between it and the user's INBOX.

        The files come first: what a crash leaves without an entry is cleared
        away by the next who wants the place.

        @raise MailboxExists: See L{pycyrus.interfaces.IMailStore.create}, for
            this and all others.
        """
        self.catch_up(connection)
        self._check_new(connection, wanted.identity, wanted.name, is_alone=wanted.is_alone)
        if wanted.partition is not None and wanted.identity is not None:
            # Where mail lies is the administrator's business.
            self._demand_administrator(wanted.identity, wanted.name)
        uses = self._check_special_use(connection, wanted.name, wanted.special_use)
        parent = _nearest(connection, wanted.name)
        partition = self._partitions.choose(wanted.partition, parent.partition if parent else None)
        acl = parent.acl if parent is not None and not wanted.name.is_inbox else self._first_acl(wanted.name)
        made: list[Entry] = []
        try:
            for name in (*(() if wanted.is_alone else _missing_between(parent, wanted.name)), wanted.name):
                made.append(self._make(connection, name, partition, acl, uses if name == wanted.name else ()))
        except BaseException:
            for entry in reversed(made):
                remove_mailbox(moves.mailbox_paths(self._partitions, entry.partition, entry.location))
            raise
        return made[-1]

    def _check_new(
        self, connection: sqlite3.Connection, identity: Identity | None, name: MailboxName, *, is_alone: bool = False
    ) -> None:
        """Whether a mailbox may come to be under a name."""
        if name.deleted is not None:
            raise InvalidMailboxName("a deleted mailbox's name")
        check_policy(name, self._settings.deletedprefix)
        existing = rows.find(connection, name)
        if existing is not None:
            if identity is None or access.visible(identity, existing):
                raise MailboxExists("name")
            raise PermissionDenied("hidden")
        above = _nearest(connection, name)
        if is_alone:
            return
        if name.path and name.owner is not None and above is None:
            raise PermissionDenied("no such user")
        if identity is not None and not access.may_create_below(identity, above, name):
            raise PermissionDenied("k")
        if above is not None:
            access.check_stays(above)
            if self._settings.childless_uses.intersection(above.special_use):
                raise PermissionDenied("nothing below this special use")

    def _demand_administrator(self, identity: Identity, name: MailboxName) -> None:
        if not identity.administers(name.domain):
            raise PermissionDenied("administrators only")

    def _check_special_use(
        self, connection: sqlite3.Connection, name: MailboxName, wanted: Sequence[str]
    ) -> tuple[str, ...]:
        """RFC 6154 section 3; each attribute once for each user, on a child of the INBOX."""
        if not wanted:
            return ()
        if name.owner is None or len(name.path) != 1:
            raise SpecialUseConflict("not a child of an INBOX")
        known = {use.lower(): use for use in self._settings.special_uses}
        uses: list[str] = []
        for use in wanted:
            if use.lower() not in known:
                raise SpecialUseConflict("unknown attribute")
            if known[use.lower()] not in uses:
                uses.append(known[use.lower()])
        inbox = MailboxName(name.domain, name.owner, ())
        taken = {use for entry in rows.tree(connection, inbox) if entry.name != name for use in entry.special_use}
        if taken.intersection(uses):
            raise SpecialUseConflict("attribute already used")
        return tuple(uses)

    def _first_acl(self, name: MailboxName) -> Acl:
        owner = name.owner_id
        return Acl(((owner, OWNER_RIGHTS),)) if owner is not None else self._settings.default_acl

    def _make(
        self, connection: sqlite3.Connection, name: MailboxName, partition: str, acl: Acl, uses: tuple[str, ...]
    ) -> Entry:
        self._partitions.check(partition)
        now = int(time.time())
        unique_id = str(uuid.uuid4())
        location = self._layout.location(name, unique_id)
        if rows.find_location(connection, partition, location) is not None or not moves.clear_leftovers(
            connection, self._partitions, partition, location
        ):
            location = location_by_id(unique_id)
        validity = rows.next_uidvalidity(connection, now)
        entry = Entry(name, unique_id, partition, location, validity, acl, "", uses, now, now)
        head = Header(unique_id, self.text(entry), validity, acl=acl_pairs(acl), created=now, special_use=uses)
        place = moves.mailbox_paths(self._partitions, partition, location)
        try:
            create_mailbox(place, head)
        except OSError as error:
            with suppress(OSError):
                remove_mailbox(place)
            raise StoreUnavailable(f"mailbox cannot be created: {error}") from error
        self._made.append((partition, location))
        rows.insert(connection, entry)
        return entry

    def discard_unlisted(self, connection: sqlite3.Connection) -> None:
        """
        Remove mailboxes that were just made, and that the list had no room for.

        @raise OSError: Something could not be removed.
        @raise StoreUnavailable: Likewise.
        """
        while self._made:
            partition, location = self._made.pop()
            if rows.find_location(connection, partition, location) is None:
                moves.clear_leftovers(connection, self._partitions, partition, location)

    # --- delete ---------------------------------------------------------

    def delete(self, connection: sqlite3.Connection, identity: Identity, name: MailboxName) -> list[Entry]:
        """
        Delete a mailbox, or all of a user's.

        @return: What was deleted, as it was.
        """
        self.catch_up(connection)
        entry = access.check(identity, rows.find(connection, name), DELETE_MAILBOX)
        whole_user = self._check_deletable(identity, entry)
        victims = [entry]
        if whole_user:
            victims = rows.tree(connection, name)
        elif rows.has_inferiors(connection, name):
            raise MailboxHasChildren("children")
        if self._settings.delete_mode is DeleteMode.IMMEDIATE or name.deleted is not None:
            # The innermost first, so that directories are empty when their turn comes.
            for victim in reversed(victims):
                rows.remove(connection, victim)
                moves.ask(connection, self._partitions, Work.REMOVE, victim.partition, victim.location)
        else:
            self._put_aside(connection, victims)
        if whole_user:
            rows.add_pending(connection, Work.USER, "", rows.key_of(name))
        return victims

    def _check_deletable(self, identity: Identity, entry: Entry) -> bool:
        """Whether deleting this means deleting the user."""
        administers = identity.administers(entry.name.domain)
        if entry.name.is_inbox and entry.name.deleted is None:
            if entry.name.owned_by(identity):
                raise OperationNotSupported("own INBOX")
            if not administers:
                raise PermissionDenied("another user's INBOX")
            return True
        if not administers and self._settings.protected_uses.intersection(entry.special_use):
            raise OperationNotSupported("protected special use")
        return False

    def _put_aside(self, connection: sqlite3.Connection, victims: Sequence[Entry]) -> None:
        """Delayed deletion: a rename below C{DELETED}, which C{cyr_expire} ends."""
        when = int(time.time())
        while any(rows.find(connection, _deleted_name(victim.name, when)) for victim in victims):
            when += 1
        self._rename_all(connection, victims, {each.unique_id: _deleted_name(each.name, when) for each in victims})

    def purge(self, connection: sqlite3.Connection, entry: Entry) -> bool:
        """
        Remove a delayed-deleted mailbox for good.

        @return: Whether it was still there under that name.
        """
        self.catch_up(connection)
        here = rows.find_id(connection, entry.unique_id)
        if here is None or here.name != entry.name or here.name.deleted is None:
            return False
        access.check_stays(here)
        rows.remove(connection, here)
        moves.ask(connection, self._partitions, Work.REMOVE, here.partition, here.location)
        return True

    def undelete(self, connection: sqlite3.Connection, deleted: MailboxName) -> Renamed:
        """
        Bring a delayed-deleted mailbox back under its name, with what was deleted along with it below.

        A special use that another mailbox got meanwhile stays there.

        @return: Old and new names, parents first.
        """
        self.catch_up(connection)
        if deleted.deleted is None or rows.find(connection, deleted) is None:
            raise MailboxNotFound("not a deleted mailbox")
        tree = rows.tree(connection, deleted)
        names = {each.unique_id: replace(each.name, deleted=None) for each in tree}
        new = names[tree[0].unique_id]
        self._check_new(connection, None, new)
        if any(rows.find(connection, name) is not None for name in names.values()):
            raise MailboxExists("inferior")
        missing = list(_missing_between(_nearest(connection, new), new))
        if missing:
            self.create(connection, Wanted(None, missing[-1]))
        if new.owner is not None:
            inbox = MailboxName(new.domain, new.owner, ())
            taken = {use for entry in rows.tree(connection, inbox) for use in entry.special_use}
            tree = [replace(each, special_use=tuple(u for u in each.special_use if u not in taken)) for each in tree]
        self._rename_all(connection, tree, names)
        return [(each.name, names[each.unique_id]) for each in tree]

    # --- rename ---------------------------------------------------------

    def rename(self, connection: sqlite3.Connection, identity: Identity, old: MailboxName, new: MailboxName) -> Renamed:
        """
        Rename a mailbox and its inferiors.

        An INBOX is renamed here only as the root of a user who gets another id.

        @return: Old and new names, parents first.
        """
        self.catch_up(connection)
        entry = access.check(identity, rows.find(connection, old), access.right_to_rename(identity, old))
        self._check_renaming(identity, entry, new)
        self._check_new(connection, identity, new)
        tree = rows.tree(connection, old)
        names = {each.unique_id: _below(each.name, old, new) for each in tree}
        for each in tree:
            check_policy(names[each.unique_id], self._settings.deletedprefix)
            if rows.find(connection, names[each.unique_id]) is not None:
                raise MailboxExists("inferior")
        missing = list(_missing_between(_nearest(connection, new), new))
        if missing:
            self.create(connection, Wanted(None, missing[-1]))
        self._rename_all(connection, tree, names)
        if old.is_inbox:
            rows.add_pending(connection, Work.USER, "", rows.key_of(old), rows.key_of(new))
        return [(each.name, names[each.unique_id]) for each in tree]

    def _check_renaming(self, identity: Identity, entry: Entry, new: MailboxName) -> None:
        old = entry.name
        administers = identity.administers(old.domain)
        if old.deleted is not None and not administers:
            raise PermissionDenied("deleted")
        if new == old or new.is_below(old):
            raise MailboxExists("itself") if new == old else OperationNotSupported("below itself")
        if old.is_inbox or new.is_inbox:
            if not (administers and identity.administers(new.domain)):
                raise PermissionDenied("a user's INBOX")
            if not (old.is_inbox and new.is_inbox and self._settings.allowusermoves):
                raise OperationNotSupported("a user's INBOX")
        leaves = (old.domain, old.owner) != (new.domain, new.owner)
        if leaves and not administers and self._settings.protected_uses.intersection(entry.special_use):
            raise OperationNotSupported("protected special use")

    def _rename_all(self, connection: sqlite3.Connection, tree: Sequence[Entry], names: dict[str, MailboxName]) -> None:
        """Give mailboxes new names, and have their directories follow."""
        for each in tree:
            access.check_stays(each)
        now = int(time.time())
        whole_user = tree[0].name.is_inbox
        for partition in sorted({entry.partition for entry in tree}):
            part = [entry for entry in tree if entry.partition == partition]
            occupied = partial(self._is_occupied, connection)
            plan = moves.plan(part, lambda entry: self.place(entry, names[entry.unique_id]), occupied)
            for entry in part:
                name = names[entry.unique_id]
                rows.replace(
                    connection,
                    replace(
                        entry,
                        name=name,
                        location=plan.locations[entry.unique_id],
                        acl=_acl_after(entry, name) if whole_user else entry.acl,
                        special_use=entry.special_use if whole_user or entry.name.owner == name.owner else (),
                        changed=now,
                    ),
                )
            for source, target in plan.moves:
                moves.ask(connection, self._partitions, Work.MOVE, partition, source, target)
            for entry in part:
                rows.add_pending(connection, Work.TELL_RENAME, partition, entry.unique_id)

    def place(self, entry: Entry, name: MailboxName) -> str:
        """Where a mailbox belongs; by unique id it stays where it is."""
        return self._layout.location(name, entry.unique_id) if self._layout.by_name else entry.location

    def _is_occupied(self, connection: sqlite3.Connection, entry: Entry, location: str) -> bool:
        return moves.is_occupied(connection, self._partitions, entry.partition, location)

    # --- special use ----------------------------------------------------

    def set_special_use(
        self, connection: sqlite3.Connection, identity: Identity, name: MailboxName, uses: Sequence[str]
    ) -> None:
        """
        Replace the special-use attributes of a mailbox (RFC 6154 section 4); the owner's, or an administrator's.

        @raise SpecialUseConflict: Another mailbox has one of them, or nobody can.
        """
        self.catch_up(connection)
        entry = access.check(identity, rows.find(connection, name), LOOKUP)
        if not (name.owned_by(identity) or identity.administers(name.domain)):
            raise PermissionDenied("special use is the owner's")
        if self._settings.childless_uses.intersection(uses) and rows.has_inferiors(connection, name):
            raise SpecialUseConflict("has children")
        changed = replace(entry, special_use=self._check_special_use(connection, name, uses), changed=int(time.time()))
        if changed.special_use != entry.special_use:
            rows.replace(connection, changed)
            rows.add_pending(connection, Work.TELL_ACL, entry.partition, entry.unique_id)

    # --- rights ---------------------------------------------------------

    def change_acl(
        self, connection: sqlite3.Connection, identity: Identity, name: MailboxName, change: AclChange
    ) -> None:
        """Change an entry of the access control list of a mailbox."""
        if change.identifier == "anyone" and not self._settings.anyoneuseracl and not identity.administers(name.domain):
            raise PermissionDenied("anyoneuseracl")
        entry = access.check(identity, rows.find(connection, name), ADMINISTER)
        is_safe = change.identifier == name.owner_id and not identity.administers(name.domain)
        if is_safe and not change.keeps(entry.acl, ADMINISTER):
            raise PermissionDenied(ADMINISTER)
        self.set_acl(
            connection, identity, name, change.apply(entry.acl, identity.owner_rights if is_safe else frozenset())
        )

    def set_acl(self, connection: sqlite3.Connection, identity: Identity, name: MailboxName, acl: Acl) -> None:
        """Replace the access control list of a mailbox."""
        self.catch_up(connection)
        entry = access.check(identity, rows.find(connection, name), ADMINISTER)
        if entry.acl == acl:
            return
        rows.replace(connection, replace(entry, acl=acl, changed=int(time.time())))
        rows.add_pending(connection, Work.TELL_ACL, entry.partition, entry.unique_id)


def _nearest(connection: sqlite3.Connection, name: MailboxName) -> Entry | None:
    above = name.parent
    while above is not None:
        entry = rows.find(connection, above)
        if entry is not None:
            return entry
        above = above.parent
    return None


def _missing_between(above: Entry | None, name: MailboxName) -> Iterator[MailboxName]:
    """
    Mailboxes to make between the nearest one above and a name.

    In shared trees there may be gaps, and C{INBOX/a} of a user needs no folder
    named INBOX beside the INBOX itself.
    """
    if above is None or name.owner is None:
        return
    for depth in range(len(above.name.path) + 1, len(name.path)):
        if name.path[:depth] != (INBOX,):
            yield MailboxName(name.domain, name.owner, name.path[:depth])


def _deleted_name(name: MailboxName, when: int) -> MailboxName:
    return MailboxName(name.domain, name.owner, name.path, f"{when:X}")


def _below(name: MailboxName, old: MailboxName, new: MailboxName) -> MailboxName:
    return MailboxName(new.domain, new.owner, (*new.path, *name.path[len(old.path) :]))


def _acl_after(entry: Entry, name: MailboxName) -> Acl:
    """The entries of a user who gets another id follow."""
    old_id, new_id = entry.name.owner_id, name.owner_id
    if old_id is None or new_id is None or old_id == new_id:
        return entry.acl
    changed: dict[str, frozenset[str]] = {}
    for identifier, held in entry.acl.entries:
        follows = {old_id: new_id, f"-{old_id}": f"-{new_id}"}.get(identifier, identifier)
        changed[follows] = changed.get(follows, frozenset()) | held
    return Acl(tuple(changed.items()))
