"""
Mailboxes that come from another server: from files in a place of their own to mailboxes of this one.

Until the other server says that they are this one's, the list does not have them.  When
it says so they are put on the list in one transaction, with the work of moving their
directories into place: before it they are the other's, after it they are ours.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from pycyrus.errors import InvalidMailboxName, MailboxExists, MailboxNotFound, MailStoreError, StoreUnavailable
from pycyrus.model.internal_names import internal
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.model.naming_policy import check_policy
from pycyrus.model.ranges import parse_ranges
from pycyrus.model.transfers import Manifest, MovedMailbox, Piece
from pycyrus.store import incoming_files, moves, rows
from pycyrus.store.incoming_files import IncomingFiles, present
from pycyrus.store.paths import incoming_location, location_by_id, resolve
from pycyrus.store.rows import Entry, Work
from pycyrus.store.subscriptions import insert
from pycyrus.store.threads import in_thread
from pycyrus.store.transfer_log import Coming, Incoming, TransferLog
from pycyrus.store.transfer_parts import TransferParts, drop_seen, put_seen

T = TypeVar("T")


@dataclass(slots=True)
class IncomingTransfer:
    """
    A transfer while its files come; it belongs to one connection.

    @ivar partition: Where its mailboxes will be.
    """

    transfer_id: str
    partition: str
    files: IncomingFiles
    lock: int
    turn: DeferredLock = field(default_factory=DeferredLock)


class Arrivals:
    """Takes mailboxes over from other servers."""

    log = Logger()

    def __init__(self, parts: TransferParts, transfers: TransferLog) -> None:
        self._parts = parts
        self._transfers = transfers

    # --- files ----------------------------------------------------------

    async def begin(
        self, transfer_id: str, root: MailboxName, partition: str | None, *, replaces: bool = False
    ) -> IncomingTransfer:
        """
        Begin to take files.

        @param root: What comes: a user's INBOX, or a mailbox.
        @param partition: Where it goes; None to choose.
        @param replaces: A mailbox of that name may be here.
        @raise MailboxExists: It is here already.
        @raise UnknownPartition: There is none.
        @raise StoreUnavailable: It cannot come now.
        """
        if not replaces and self._parts.directory.lookup(root) is not None:
            raise MailboxExists(internal(root))
        check_policy(root, self._parts.settings.deletedprefix)
        check_transfer_id(transfer_id)
        chosen = self._parts.partitions.choose(partition, None)
        await in_thread(self._parts.reactor, self._clean, chosen)
        transferred = IncomingFiles(self._parts.partitions, chosen, transfer_id)
        lock = self._transfers.take(transfer_id)
        if lock is None:
            raise StoreUnavailable("the transfer is at work already")
        try:
            await in_thread(self._parts.reactor, transferred.begin)
        except BaseException:
            self._transfers.give_back(transfer_id, lock)
            raise
        return IncomingTransfer(transfer_id, chosen, transferred, lock)

    async def write(self, transfer: IncomingTransfer, pieces: list[Piece], data: bytes) -> None:
        """Take pieces; see L{IncomingFiles.write}."""
        await transfer.turn.run(in_thread, self._parts.reactor, transfer.files.write, pieces, data)

    async def sync(self, transfer: IncomingTransfer) -> None:
        """
        Make what came so far durable, so that C{prepare} has little left to do.

        @raise StoreUnavailable: It cannot be made so.
        """
        await transfer.turn.run(in_thread, self._parts.reactor, transfer.files.sync)

    async def prepare(self, transfer: IncomingTransfer) -> bytes:
        """
        Compare all that came, and keep it until the other server says what is to become of it.

        @return: SHA-1 of the inventory.
        @raise MailStoreError: It is not as it should be; see L{IncomingFiles.check}.
        """
        digest: bytes = await self._parts.shield.run(self._prepare(transfer))
        return digest

    async def _prepare(self, transfer: IncomingTransfer) -> bytes:
        def work() -> bytes:
            manifest, digest = transfer.files.check()
            _check(Manifest.decode(manifest))
            self._transfers.prepared(Incoming(transfer.transfer_id, Coming.PREPARED, transfer.partition, manifest))
            return digest

        digest: bytes = await transfer.turn.run(in_thread, self._parts.reactor, work)
        return digest

    async def leave(self, transfer: IncomingTransfer) -> None:
        """The connection ends, or has no use of it any more; what was not prepared goes."""
        await self._parts.shield.run(self._leave(transfer))

    async def _leave(self, transfer: IncomingTransfer) -> None:
        def work() -> None:
            transfer.files.end()
            try:
                if not self._transfers.is_prepared(transfer.transfer_id):
                    incoming_files.remove(self._parts.partitions, transfer.partition, transfer.transfer_id)
            finally:
                self._transfers.give_back(transfer.transfer_id, transfer.lock, is_over=True)

        await transfer.turn.run(in_thread, self._parts.reactor, work)

    # --- what becomes of it ---------------------------------------------

    def state(self, transfer_id: str) -> Coming | None:
        """How far a transfer is; None if nothing of it was prepared, or it was given up."""
        found = self._transfers.incoming(transfer_id)
        return None if found is None else found.state

    def is_here(self, unique_id: str) -> bool:
        """Whether this server's list has a mailbox of an id."""
        return rows.find_id(self._parts.directory.reading, unique_id) is not None

    def prepared(self, root: MailboxName) -> dict[str, Manifest]:
        """What came of something and waits for a word, by the ids of its transfers."""
        found = {each.transfer_id: Manifest.decode(each.manifest) for each in self._transfers.all_prepared()}
        return {transfer_id: manifest for transfer_id, manifest in found.items() if manifest.root == root}

    async def activate(self, transfer_id: str, *, instead_of: str | None = None) -> list[MailboxName]:
        """
        Have the mailboxes be this server's; it may be asked again.

        @param instead_of: Unique id of an empty mailbox that goes; the Murder's master is told nothing.
        @return: They; nothing, if that was done before.
        @raise MailboxNotFound: Nothing of that transfer was prepared.
        @raise MailboxExists: One of them is here under its name or id.
        @raise StoreUnavailable: It may be done, or not: ask again.
        """
        return await self._parts.shield.run(self._alone(transfer_id, lambda each: self._activate(each, instead_of)))

    async def _alone(self, transfer_id: str, work: Callable[[str], Coroutine[Deferred[Any], Any, T]]) -> T:
        """Do something that no other process does at the same time."""
        check_transfer_id(transfer_id)
        lock = self._transfers.take(transfer_id)
        if lock is None:
            raise StoreUnavailable("the transfer is at work")
        try:
            return await work(transfer_id)
        finally:
            self._transfers.give_back(transfer_id, lock, is_over=True)

    async def _activate(self, transfer_id: str, instead_of: str | None) -> list[MailboxName]:
        found = self._transfers.incoming(transfer_id)
        if found is None:
            raise MailboxNotFound("no such transfer")
        if found.state is Coming.ACTIVE:
            return []
        parts = self._parts
        manifest = await in_thread(parts.reactor, Manifest.decode, found.manifest)
        await in_thread(parts.reactor, self._take_over, manifest)
        await parts.directory.change(
            lambda connection: self._list(connection, found, manifest, instead_of),
            parts.tree.finish,
            is_told=instead_of is None,
        )

        def settle() -> None:
            # The mailboxes have left it.
            self._check_left(transfer_id)
            incoming_files.remove(parts.partitions, found.partition, transfer_id)
            self._transfers.activated(transfer_id, [mailbox.unique_id for mailbox in manifest.mailboxes])

        await in_thread(parts.reactor, settle)
        return [mailbox.name for mailbox in manifest.mailboxes]

    def _check_left(self, transfer_id: str) -> None:
        """@raise StoreUnavailable: A mailbox that is listed has not been moved into place yet."""
        if self._is_awaited(self._parts.directory.reading, transfer_id):
            raise StoreUnavailable("mailbox directories cannot be moved now")

    @staticmethod
    def _is_awaited(connection: sqlite3.Connection, transfer_id: str) -> bool:
        """Whether something is still to be moved into place."""
        place = incoming_location(transfer_id) + "/"
        return any(each.source.startswith(place) for each in rows.pending(connection))

    def _is_left(self, transfer: Incoming, manifest: Manifest) -> bool:
        """Whether a directory of a mailbox is where it came to."""
        return any(
            resolve(root, incoming_location(transfer.transfer_id, mailbox.unique_id)).exists()
            for root in self._parts.partitions.roots(transfer.partition)
            for mailbox in manifest.mailboxes
        )

    def _take_over(self, manifest: Manifest) -> None:
        """What is known of the mailboxes elsewhere than in their files; it may be done again."""
        parts, now = self._parts, int(time.time())

        def write(connection: sqlite3.Connection) -> None:
            for mailbox in manifest.mailboxes:
                put_seen(connection, mailbox.unique_id, mailbox.seen, now)
            if manifest.root.owner_id is not None and manifest.root.is_inbox:
                insert(connection, manifest.root.owner_id, list(manifest.subscriptions))

        parts.userstate.transaction(write, parts.userstate_signal.change)
        notes = [
            (mailbox.unique_id, note.user_id, note.entry, note.value)
            for mailbox in manifest.mailboxes
            for note in mailbox.notes
        ]
        if notes:
            parts.annotations.put_all(notes)
        if manifest.quotas:
            parts.quotas.put_all([(each.root, each.limits) for each in manifest.quotas])

    def _list(
        self, connection: sqlite3.Connection, transfer: Incoming, manifest: Manifest, instead_of: str | None
    ) -> None:
        """Put them on the list, within a transaction; nothing, if they are on it."""
        self._parts.tree.catch_up(connection)
        if all(_is_there(connection, mailbox) for mailbox in manifest.mailboxes) and (
            self._is_awaited(connection, transfer.transfer_id) or not self._is_left(transfer, manifest)
        ):
            return
        gone = None if instead_of is None else rows.find_id(connection, instead_of)
        if gone is not None:
            rows.remove(connection, gone)
            rows.add_pending(connection, Work.REMOVE, gone.partition, gone.location)
        came = {each.unique_id for each in manifest.mailboxes if self._has_come(connection, transfer, each)}
        for mailbox in manifest.mailboxes:
            taken = rows.find(connection, mailbox.name) or rows.find_id(connection, mailbox.unique_id)
            if taken is not None and mailbox.unique_id not in came:
                raise MailboxExists(internal(mailbox.name))
        now = int(time.time())
        places = []
        for mailbox in manifest.mailboxes:
            if mailbox.unique_id in came:
                # Of its directories one may have been moved, and another not.
                entry = self._complete(connection, mailbox)
            else:
                entry = self._entry(connection, transfer.partition, mailbox, now)
                rows.insert(connection, entry)
            places.append((incoming_location(transfer.transfer_id, mailbox.unique_id), entry.location))
        # All at the end: each place is compared with what is pending.
        for comes_from, goes_to in places:
            rows.add_pending(connection, Work.MOVE, transfer.partition, comes_from, goes_to)
        for mailbox in manifest.mailboxes:
            # Which has its header written.
            rows.add_pending(connection, Work.TELL_RENAME, transfer.partition, mailbox.unique_id)

    def _has_come(self, connection: sqlite3.Connection, transfer: Incoming, mailbox: MovedMailbox) -> bool:
        """Whether it was listed and moved into place before, and the list was made again since."""
        comes_from = incoming_location(transfer.transfer_id, mailbox.unique_id)
        paths = moves.mailbox_paths(self._parts.partitions, transfer.partition, comes_from)
        entry = rows.find_id(connection, mailbox.unique_id)
        is_listed = entry is not None and (entry.name, entry.partition) == (mailbox.name, transfer.partition)
        return is_listed and not Path(paths.journal).exists()

    @staticmethod
    def _complete(connection: sqlite3.Connection, mailbox: MovedMailbox) -> Entry:
        """Have the list say what the header did not yet."""
        entry = rows.find_id(connection, mailbox.unique_id)
        assert entry is not None
        known = replace(entry, acl=mailbox.acl, special_use=mailbox.special_use, created=mailbox.created)
        rows.replace(connection, known)
        return known

    def _entry(self, connection: sqlite3.Connection, partition: str, mailbox: MovedMailbox, now: int) -> Entry:
        by_id = location_by_id(mailbox.unique_id)
        entry = Entry(
            mailbox.name, mailbox.unique_id, partition, by_id, mailbox.uidvalidity, mailbox.acl, "",
            mailbox.special_use, mailbox.created, now,
        )  # fmt: skip
        place = self._parts.tree.place(entry, mailbox.name)
        taken = rows.find_location(connection, partition, place) is not None
        if taken or moves.is_occupied(connection, self._parts.partitions, partition, place):
            return entry
        return replace(entry, location=place)

    async def give_up(self, transfer_id: str) -> None:
        """
        Remove what was prepared; nothing, if there is nothing.

        @raise MailboxExists: The mailboxes are this server's already.
        @raise StoreUnavailable: Something is left, and is removed later.
        """
        await self._parts.shield.run(self._alone(transfer_id, self._give_up))

    async def _give_up(self, transfer_id: str) -> None:
        found = self._transfers.incoming(transfer_id)
        if found is None:
            return
        if found.state is Coming.ACTIVE:
            raise MailboxExists("taken over already")
        manifest = await in_thread(self._parts.reactor, Manifest.decode, found.manifest)
        if self._are_listed(manifest):
            raise MailboxExists("taken over already")
        unique_ids = [mailbox.unique_id for mailbox in manifest.mailboxes]

        def work() -> None:
            # First that nobody can activate it any more.
            self._transfers.forget(transfer_id)
            self._parts.userstate.transaction(lambda connection: drop_seen(connection, unique_ids))
            incoming_files.remove(self._parts.partitions, found.partition, transfer_id)

        await in_thread(self._parts.reactor, work)
        await self._parts.annotations.forget_mailboxes(unique_ids)

    def is_listed(self, transfer: Incoming) -> bool:
        """Whether the list has all of a transfer, although whoever put it there may have died then."""
        return self._are_listed(Manifest.decode(transfer.manifest))

    def _are_listed(self, manifest: Manifest) -> bool:
        mailboxes = manifest.mailboxes
        return bool(mailboxes) and all(_is_there(self._parts.directory.reading, each) for each in mailboxes)

    async def forget(self, transfer_id: str) -> None:
        """The other server knows that the mailboxes are this one's, and will not ask again."""
        found = self._transfers.incoming(transfer_id)
        if found is not None and found.state is Coming.ACTIVE:
            await in_thread(self._parts.reactor, self._transfers.forget, transfer_id)

    def _clean(self, partition: str) -> None:
        """Remove what broke off."""
        for transfer_id in present(self._parts.partitions, partition):
            try:
                lock = self._transfers.take(transfer_id)
                if lock is None:
                    continue
                try:
                    # Of one that is active nothing is left there: else it would still be prepared.
                    if not self._transfers.is_prepared(transfer_id):
                        self._check_left(transfer_id)
                        incoming_files.remove(self._parts.partitions, partition, transfer_id)
                finally:
                    self._transfers.give_back(transfer_id, lock, is_over=True)
            except (MailStoreError, OSError) as error:
                self.log.warn("What came of a transfer is left for now: {error}", error=str(error))

    async def clean(self) -> None:
        """Remove what broke off, on all partitions."""
        for partition in self._parts.partitions.names():
            await in_thread(self._parts.reactor, self._clean, partition)


def check_transfer_id(transfer_id: str) -> None:
    """
    Make sure that it can be part of a path.

    @raise InvalidMailboxName: It can not.
    """
    incoming_location(transfer_id)


def _is_there(connection: sqlite3.Connection, mailbox: MovedMailbox) -> bool:
    entry = rows.find_id(connection, mailbox.unique_id)
    return entry is not None and entry.name == mailbox.name


def _check(manifest: Manifest) -> None:
    """
    Look for what could not be put into the list, or the databases.

    @raise InvalidMailboxName: A mailbox is none of the user, or of another name.
    @raise ValueError: Seen state is none.
    """
    root = manifest.root
    names = [mailbox.name for mailbox in manifest.mailboxes]
    if not names or len(set(names)) < len(names) or names[0] != root:
        raise InvalidMailboxName("what comes is not what was said")
    for name in names:
        if (name.domain, name.owner) != (root.domain, root.owner) or (not root.is_inbox and name != root):
            raise InvalidMailboxName("a mailbox of somebody else")
    for moved in manifest.quotas:
        if moved.root != root and not (root.is_inbox and moved.root.is_below(root)):
            raise InvalidMailboxName("a quota of somebody else")
    for mailbox in manifest.mailboxes:
        for seen in mailbox.seen:
            parse_ranges(seen.uids)
