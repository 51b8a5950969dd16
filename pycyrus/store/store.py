"""
The mail store: what protocols see of everything in this package.

Mailboxes are found and opened by L{Openings}; changes of the tree are made by
L{MailboxTree} on a thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from zope.interface import implementer

from pycyrus.errors import (
    InvalidMailboxName,
    MailboxNotFound,
    MailStoreError,
    OperationNotSupported,
    PermissionDenied,
    QuotaRootNotFound,
)
from pycyrus.interfaces import (
    IMailboxPublisher,
    IMailStore,
    ListScope,
    MailboxListing,
    Namespace,
)
from pycyrus.model.acl import ADMINISTER, DELETE_MESSAGES, EXPUNGE, INSERT, LOOKUP, READ, Acl
from pycyrus.model.acl_changes import AclChange
from pycyrus.model.identity import Identity
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.model.quota import Limit, Quota, Usage
from pycyrus.store import access, files, metadata
from pycyrus.store.directory import in_order
from pycyrus.store.held_access import HeldAccess
from pycyrus.store.maildrops import CLAIMS, last_claim
from pycyrus.store.notes import SERVER
from pycyrus.store.openings import Openings
from pycyrus.store.partitions import Partitions
from pycyrus.store.reconstruct_tree import reconstruct_tree
from pycyrus.store.relist import Relisted, relist
from pycyrus.store.rows import Entry, live_range
from pycyrus.store.settings import DeleteMode, StoreSettings
from pycyrus.store.soundness import hold_databases
from pycyrus.store.spool import clean_stage
from pycyrus.store.strays import gather
from pycyrus.store.survey import Found, survey
from pycyrus.store.threads import in_thread, sleep
from pycyrus.store.transfer_parts import TransferParts
from pycyrus.store.tree import Renamed, Wanted
from pycyrus.store.watch import WatchReactor

T = TypeVar("T")

_SORTED_HERE = 1000
"""Mailboxes that are put in order on the reactor thread."""
_HOLD = 0.001
"""Seconds for which a long listing may hold the reactor."""


def open_store(settings: StoreSettings, reactor: WatchReactor) -> MailStore:
    """
    Open the store, making what is missing.

    Damaged databases are set aside and made again; what an interrupted
    change of the tree left to be done is ended.

    @raise pycyrus.store.partitions.BadPartition: The settings contradict each other.
    @raise OSError: A directory cannot be made.
    @raise StoreUnavailable: A database cannot be used.
    """
    partitions = Partitions(settings)
    files.makedirs(settings.configdirectory, files.PRIVATE_DIRECTORY, exist_ok=True)
    partitions.prepare()
    for stage in partitions.stages():
        clean_stage(stage)
    held = hold_databases(settings, partitions)
    try:
        return MailStore(settings, partitions, reactor, held)
    except BaseException:
        files.close(held)
        raise


@implementer(IMailStore)
class MailStore(Openings):
    """All mailboxes of this server."""

    # --- the tree -------------------------------------------------------

    async def create(
        self,
        identity: Identity,
        name: MailboxName,
        *,
        partition: str | None = None,
        special_use: Sequence[str] = (),
    ) -> str:
        """Create a mailbox; see L{IMailStore}."""
        return await self._create(Wanted(identity, name, partition, tuple(special_use)))

    async def create_inbox(self, name: MailboxName, *, partition: str | None = None) -> str:
        """
        Create a user's INBOX, for the server itself: tools and automatic creation.

        @return: Its unique id.
        @raise MailboxExists: The user has one.
        """
        if not name.is_inbox:
            raise InvalidMailboxName("not an INBOX")
        return await self._create(Wanted(None, name, partition))

    async def _create(self, wanted: Wanted) -> str:
        # Who may not create there is told of no quota, and gives the other servers no work.
        is_allowed = wanted.identity is None or self._could_create(wanted.identity, wanted.name)
        if is_allowed:
            self.quotas.admit(wanted.name, Usage(mailboxes=1))
        entry = await self._shield.run(
            self._claimed(
                wanted.name if is_allowed else None,
                wanted.partition or "",
                self._directory.change(lambda connection: self._tree.create(connection, wanted)),
            )
        )
        return entry.unique_id

    async def _claimed(self, name: MailboxName | None, partition: str, change: Coroutine[Any, Any, T]) -> T:
        """
        Make a change that needs a name which no server of the Murder has.

        @param name: None to make it without.
        """
        publisher = self._directory.publisher
        if publisher is None or name is None or self._directory.lookup(name) is not None:
            return await change
        try:
            await publisher.claim(name, partition)
        except BaseException:
            change.close()
            raise
        try:
            return await change
        except MailStoreError:
            await publisher.publish([name], [])
            raise

    async def delete(self, identity: Identity, name: MailboxName) -> None:
        """Delete a mailbox; see L{IMailStore}."""
        await self._shield.run(self._delete(identity, name))

    async def _delete(self, identity: Identity, name: MailboxName) -> None:
        victims = await self._directory.change(
            lambda connection: self._tree.delete(connection, identity, name), self._tree.finish
        )
        if self._settings.delete_mode is DeleteMode.IMMEDIATE or name.deleted is not None:
            await self._userstate.write(lambda connection: _forget_seen(connection, victims))
            await self._annotations.forget_mailboxes(entry.unique_id for entry in victims)
        if self._settings.delete_unsubscribe and name.deleted is None and name.owner_id is not None:
            for entry in victims:
                await self._subscriptions.drop(name.owner_id, entry.name)
            self._subscriptions_changed()

    async def rename(
        self, identity: Identity, old: MailboxName, new: MailboxName, *, partition: str | None = None
    ) -> Renamed:
        """Rename a mailbox; see L{IMailStore}."""
        if partition is not None:
            if old != new:
                raise OperationNotSupported("cross-server or cross-partition move with rename")
            return await self._shield.run(self._movers.move(identity, old, partition))
        if old.is_inbox and old.owned_by(identity) and not new.is_inbox:
            return await self._shield.run(self._empty_inbox(identity, old, new))
        return await self._shield.run(self._rename(identity, old, new))

    def publish_to(self, publisher: IMailboxPublisher) -> None:
        """Have the other servers of a Murder told of all mailboxes here."""
        self._directory.publisher = publisher

    async def _rename(self, identity: Identity, old: MailboxName, new: MailboxName) -> Renamed:
        entry = self._directory.lookup(old)
        # Whoever may not do it learns nothing of what other servers have.
        is_allowed = (
            entry is not None
            and access.right_to_rename(identity, old) in access.rights(identity, old, entry.acl)
            and self._could_create(identity, new)
        )
        return await self._claimed(
            new if is_allowed else None,
            "",
            self._directory.change(
                lambda connection: self._tree.rename(connection, identity, old, new), self._tree.finish
            ),
        )

    async def _empty_inbox(self, identity: Identity, inbox: MailboxName, new: MailboxName) -> Renamed:
        """RFC 9051 section 6.3.6: a rename of the INBOX moves its messages, and leaves it empty."""
        entry = access.check(identity, self._directory.lookup(inbox), READ)
        for right in (DELETE_MESSAGES, EXPUNGE):
            access.check(identity, entry, right)
        await self._create(Wanted(identity, new))
        source = await self._open(identity, HeldAccess(self._directory, identity, entry))
        try:
            target = await self._open(identity, self._access(identity, new, INSERT))
            try:
                source.refresh()
                await source.move(source.view().uids.astype(np.uint32), target)
            finally:
                target.close()
        finally:
            source.close()
        return [(inbox, new)]

    async def rights(self, identity: Identity, name: MailboxName) -> frozenset[str]:
        """See L{IMailStore.rights}."""
        entry = self._directory.lookup(name)
        held = frozenset() if entry is None else access.rights(identity, entry.name, entry.acl)
        if not held:
            raise MailboxNotFound("absent or hidden")
        return held

    async def acl(self, identity: Identity, name: MailboxName) -> Acl:
        """See L{IMailStore.acl}."""
        return access.check(identity, self._directory.lookup(name), ADMINISTER).acl

    async def change_acl(self, identity: Identity, name: MailboxName, change: AclChange) -> None:
        """See L{IMailStore.change_acl}."""
        await self._shield.run(
            self._directory.change(
                lambda connection: self._tree.change_acl(connection, identity, name, change), self._tree.finish
            )
        )

    def annotations_version(self) -> int:
        """See L{IMailStore.annotations_version}."""
        return self._annotations.version()

    async def annotations(
        self, identity: Identity, name: MailboxName | None, *, facts: bool = True
    ) -> dict[str, bytes]:
        """See L{IMailStore.annotations}."""
        entry = None if name is None else access.check(identity, self._directory.lookup(name), LOOKUP)
        values = metadata.stored(self._annotations, identity, entry)
        return values | await self._facts(entry) if facts else values

    async def _facts(self, entry: Entry | None) -> dict[str, bytes]:
        if entry is None:
            return await in_thread(self._reactor, metadata.facts_of_server, self._partitions)
        state = await self.hold(entry)
        try:
            last_pop = last_claim(self._settings.configdirectory / CLAIMS, entry.unique_id)
            return metadata.facts_of_mailbox(entry, state, state.last_update(), last_pop)
        finally:
            self.release(state)

    async def shared_annotation(self, identity: Identity, name: MailboxName, entry: str) -> bytes | None:
        """See L{IMailStore.shared_annotation}."""
        found = self._access(identity, name, LOOKUP).entry
        access.check_stays(found)
        return self.shared_note(found.unique_id, entry)

    async def annotate(
        self, identity: Identity, name: MailboxName | None, values: Mapping[str, bytes | None]
    ) -> str | None:
        """See L{IMailStore.annotate}."""
        entry = None if name is None else access.check(identity, self._directory.lookup(name), LOOKUP)
        others, special_use = metadata.without_special_use(values)
        changes = metadata.changes_of(identity, entry, values if entry is None else others, self._settings.annotations)
        if isinstance(changes, str):
            return changes
        if entry is not None and special_use is not None:
            await self.change_tree(
                lambda connection: self._tree.set_special_use(connection, identity, entry.name, special_use)
            )
        if entry is not None:
            added = sum(len(value) for value in changes.values() if value is not None)
            self.quotas.admit(entry.name, Usage(annotation_octets=added))
        await self._shield.run(self._annotations.change(SERVER if entry is None else entry.unique_id, changes))
        self._subscriptions_changed()
        return None

    async def set_acl(self, identity: Identity, name: MailboxName, acl: Acl) -> None:
        """
        Replace the access control list of a mailbox; right a.

        @raise MailboxNotFound: Absent or hidden.
        @raise PermissionDenied: Seen, but without the right.
        """
        await self._shield.run(
            self._directory.change(
                lambda connection: self._tree.set_acl(connection, identity, name, acl), self._tree.finish
            )
        )

    # --- quotas ---------------------------------------------------------

    async def quota(self, identity: Identity, root: MailboxName) -> Quota:
        """See L{IMailStore.quota}."""
        if not (identity.administers(root.domain) or root.owned_by(identity)):
            raise PermissionDenied("quotas are an administrator's")
        found = await self.quotas.quota(root)
        if found is None:
            raise QuotaRootNotFound(str(root))
        return found

    async def quota_of(self, identity: Identity, name: MailboxName) -> Quota | None:
        """See L{IMailStore.quota_of}."""
        entry = self._directory.lookup(name) if identity.administers(name.domain) else None
        if entry is None:
            entry = self._access(identity, name, READ).entry
        return await self.quotas.quota_of(entry.name)

    async def set_quota(
        self, identity: Identity, root: MailboxName, limits: Sequence[Limit], *, anywhere: bool = False
    ) -> None:
        """See L{IMailStore.set_quota}."""
        if not identity.administers(root.domain):
            raise PermissionDenied("quotas are an administrator's")
        if not anywhere and not self._directory.numbers_between(*live_range(root)):
            raise MailboxNotFound(str(root))
        await self._shield.run(self.quotas.roots.set(root, limits))

    async def reconstruct(self, identity: Identity, name: MailboxName, *, recursive: bool) -> None:
        """See L{IMailStore.reconstruct}."""
        await reconstruct_tree(self, identity, name, recursive=recursive)

    # --- for those who look after the store -----------------------------

    def transfer_parts(self) -> TransferParts:
        """For those who move mailboxes to and from other servers."""
        return TransferParts(
            self._settings, self._reactor, self._directory, self._tree, self._partitions, self._userstate,
            self._userstate_signal, self._seen, self._annotations, self.quotas.roots, self._shield,
        )  # fmt: skip

    async def change_tree(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """
        Do several changes of the tree at once, all or none; nobody sees less than all of them.

        @raise StoreUnavailable: Nothing was changed, or directories are moved later.
        """
        return await self._shield.run(self._directory.change(change, self._tree.finish))

    async def subscribe_to(self, user_id: str, names: Sequence[MailboxName]) -> None:
        """
        Subscribe a user, whether the mailboxes are there or not.

        @raise LimitExceeded: The user has too many subscriptions.
        """
        await self._shield.run(self._subscriptions.add(user_id, list(names)))
        self._subscriptions_changed()

    async def purge_deleted(self, entry: Entry) -> bool:
        """
        Remove a delayed-deleted mailbox for good.

        @return: Whether it was still there, and deleted.
        """
        return await self._shield.run(self._purge_deleted(entry))

    async def _purge_deleted(self, entry: Entry) -> bool:
        purged = await self._directory.change(lambda connection: self._tree.purge(connection, entry), self._tree.finish)
        if purged:
            await self._userstate.write(lambda connection: _forget_seen(connection, [entry]))
            await self._annotations.forget_mailboxes([entry.unique_id])
        return purged

    async def undelete(self, deleted: MailboxName) -> Renamed:
        """
        Bring a delayed-deleted mailbox back, with the inferiors deleted along with it.

        @return: Old and new names, parents first.
        @raise MailboxNotFound: It is not there any more.
        @raise MailboxExists: Something has its name now.
        @raise PermissionDenied: Its owner has no INBOX.
        """
        return await self._shield.run(
            self._directory.change(lambda connection: self._tree.undelete(connection, deleted), self._tree.finish)
        )

    async def relist(
        self, wanted: Callable[[Found], bool], *, dry_run: bool = False, ignore_headers: bool = False
    ) -> Relisted:
        """
        Put mailboxes on the list that lie on the partitions and are not there.

        @param wanted: Whether a mailbox that was found is to be.
        @param ignore_headers: Give default rights instead of those in the header.
        """

        def change(connection: sqlite3.Connection) -> Relisted:
            self._tree.finish(connection)
            connection.execute("SAVEPOINT relist")
            found = filter(wanted, survey(self._partitions))
            done = relist(connection, found, self._settings, partitions=self._partitions, ignore_headers=ignore_headers)
            if dry_run:
                connection.execute("ROLLBACK TO relist")
            else:
                gather(connection, self._partitions)
            connection.execute("RELEASE relist")
            return done

        return await self._shield.run(self._directory.change(change))

    # --- listings -------------------------------------------------------

    async def list(self, identity: Identity, scopes: Sequence[ListScope]) -> Sequence[MailboxListing]:
        """What an identity may see; see L{IMailStore}."""
        found: list[tuple[str, MailboxListing]] = []
        until = self._reactor.seconds() + _HOLD
        for scope in scopes:
            for page in self._directory.listings(identity, scope):
                found += page
                if self._reactor.seconds() > until:
                    await sleep(self._reactor, 0)
                    until = self._reactor.seconds() + _HOLD
        if len(found) <= _SORTED_HERE:
            return in_order(found)
        return await in_thread(self._reactor, in_order, found)

    def walk(
        self, identity: Identity, scopes: Sequence[ListScope], depth: int | None = None
    ) -> Iterator[Sequence[MailboxListing]]:
        """What an administrator may see; see L{IMailStore}."""
        return self._directory.walk(identity, scopes, depth)

    async def namespaces(self, identity: Identity) -> frozenset[Namespace]:
        """Where an identity has something to see; see L{IMailStore}."""
        return self._directory.namespaces(identity)

    # --- subscriptions --------------------------------------------------

    async def subscriptions(self, identity: Identity) -> frozenset[MailboxName]:
        """Names subscribed to; see L{IMailStore}."""
        return self._subscriptions.of(identity.user_id)

    async def subscribe(self, identity: Identity, name: MailboxName, wanted: bool) -> None:
        """Subscribe or unsubscribe; see L{IMailStore}."""
        if not wanted:
            await self._shield.run(self._subscriptions.drop(identity.user_id, name))
        else:
            if not self._settings.allowallsubscribe:
                self._check(identity, name, LOOKUP)
            await self._shield.run(self._subscriptions.add(identity.user_id, [name]))
        self._subscriptions_changed()

    def _subscriptions_changed(self) -> None:
        self._userstate_signal.change()
        self._told_userstate = self._userstate_signal.value()
        self._watchers.tell_soon()

    def watch(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Tell of changes of the list and of subscriptions; see L{IMailStore}."""
        return self._watchers.add(listener)

    def has_departed(self, unique_id: str) -> bool:
        """Whether it is on another server; see L{IMailStore}."""
        return self.directory.has_departed is not None and self.directory.has_departed(unique_id)


def _forget_seen(connection: sqlite3.Connection, entries: Sequence[Entry]) -> None:
    connection.executemany("DELETE FROM seen WHERE unique_id = ?", [(entry.unique_id,) for entry in entries])


__all__ = ["MailStore", "open_store"]
