"""
Mailboxes that leave for another server: holding them, letting them go, and letting them go on.

A mailbox is I{held} by its type in the list, and by a record in its journal: who writes
next finds the record under the lock, asks the list, and does not write.  So what is read
after that is all there is.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import replace

from pycyrus.errors import MailboxMoving, MailboxNotFound, OperationNotSupported
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.model.transfers import Manifest, MovedMailbox, MovedRoot, Note
from pycyrus.store import files, journal, moves, rows
from pycyrus.store.files import store_error
from pycyrus.store.layout import MailboxPaths, microseconds
from pycyrus.store.locks import block_lock
from pycyrus.store.outgoing_files import FilesOfMailbox
from pycyrus.store.rows import LEAVING, Entry, Work, live_range
from pycyrus.store.subscriptions import forget_subscriptions
from pycyrus.store.threads import in_thread, sleep
from pycyrus.store.transfer_parts import TransferParts, belongings, drop_seen, seen_by

_AT_ONCE = 200
_DESCRIBED_AT_ONCE = 20


class Departures:
    """What is done to a user's mailboxes, or to one mailbox, that another server takes over."""

    def __init__(self, parts: TransferParts) -> None:
        self._parts = parts

    @property
    def parts(self) -> TransferParts:
        """The store's."""
        return self._parts

    def tell_departed(self, has_departed: Callable[[str], bool]) -> None:
        """Have sessions told whether a mailbox that is gone is on another server."""
        self._parts.directory.has_departed = has_departed

    def files(self, entry: Entry, known: FilesOfMailbox | None = None) -> FilesOfMailbox:
        """
        What is to be sent of a mailbox.

        @param known: What was sent of it before it was renamed, perhaps.
        """
        if known is None:
            return FilesOfMailbox(entry.unique_id, self._paths(entry))
        known.paths = self._paths(entry)
        return known

    def files_of(self, entries: list[Entry], known: Mapping[str, FilesOfMailbox]) -> dict[str, FilesOfMailbox]:
        """The same of many, which takes a while, by unique id."""
        return {entry.unique_id: self.files(entry, known.get(entry.unique_id)) for entry in entries}

    def _paths(self, entry: Entry) -> MailboxPaths:
        return moves.mailbox_paths(self._parts.partitions, entry.partition, entry.location)

    async def find(self, root: MailboxName, *, deleted: bool) -> list[Entry]:
        """
        What moves at once.

        @param deleted: With the delayed-deleted mailboxes of a user.
        @raise MailboxNotFound: There is nothing of that name.
        @raise OperationNotSupported: It is a part of what moves at once.
        """
        if root.deleted is not None or (root.owner is not None and root.path):
            raise OperationNotSupported("users move as a whole")
        entries = await self._belongings(root, deleted=deleted)
        if not entries or entries[0].name != root:
            raise MailboxNotFound("no such user or mailbox")
        return entries

    async def _belongings(self, root: MailboxName, *, deleted: bool = True) -> list[Entry]:
        """What moves at once: there may be thousands, so they are read on a thread."""
        return await self._parts.directory.change(
            lambda connection: belongings(connection, root, deleted=deleted), is_told=False
        )

    async def roots(self, partition: str) -> list[MailboxName] | None:
        """
        Users whose INBOX is on a partition, and shared mailboxes that are.

        @return: None if there is no such partition, or a shared mailbox of that name.
        """
        if partition not in self._parts.partitions.names() or self.is_here(MailboxName("", None, (partition,))):
            return None
        found = []
        for number, entry in enumerate(self._parts.directory.entries(deleted=False), 1):
            if entry.partition == partition and (entry.name.owner is None or entry.name.is_inbox):
                found.append(entry.name)
            if number % _AT_ONCE == 0:
                # Others have their turn.
                await sleep(self._parts.reactor, 0)
        return found

    # --- holding --------------------------------------------------------

    async def hold(self, root: MailboxName, *, deleted: bool, by: str = "") -> list[Entry]:
        """
        Have nobody use the mailboxes any more.

        @param by: The id of the transfer, and the other server.
        @return: They, as they are now.
        @raise MailboxNotFound: They are gone.
        @raise StoreUnavailable: Some may be held, and some not: C{release} them.
        """
        return await self._parts.shield.run(self._hold(root, f"{LEAVING} {by}".rstrip(), deleted=deleted))

    async def _hold(self, root: MailboxName, mailbox_type: str, *, deleted: bool) -> list[Entry]:
        def mark(connection: sqlite3.Connection) -> list[Entry]:
            self._parts.tree.finish(connection)
            entries = belongings(connection, root, deleted=deleted)
            if not entries or entries[0].name != root:
                raise MailboxNotFound("no such user or mailbox")
            for entry in entries:
                if entry.mailbox_type:
                    raise MailboxMoving("already on its way")
                rows.replace(connection, replace(entry, mailbox_type=mailbox_type))
            return entries

        # What is not durable yet of what was seen is written by each process within that time.
        await self._parts.seen.save()
        entries = await self._parts.directory.change(mark)
        for begin in range(0, len(entries), _AT_ONCE):
            await in_thread(self._parts.reactor, self._seal_all, entries[begin : begin + _AT_ONCE])
        if await in_thread(self._parts.reactor, self._are_seen_by_others, entries):
            await sleep(self._parts.reactor, self._parts.settings.journal_sync_interval)
        return entries

    def _are_seen_by_others(self, entries: list[Entry]) -> bool:
        return self._parts.userstate.transaction(
            lambda connection: any(seen_by(connection, entry.unique_id) for entry in entries)
        )

    def _seal_all(self, entries: list[Entry]) -> None:
        for entry in entries:
            self._seal(entry)

    def _seal(self, entry: Entry) -> None:
        """Wait until who writes now has ended; who writes later asks the list."""
        paths = self._paths(entry)
        octets = self._parts.tree.text(entry).encode("utf-8")
        record = journal.encode_record(journal.RENAME, octets, count=len(octets), modseq=0, time=microseconds())
        try:
            while True:
                fd = files.open_file(paths.journal, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
                try:
                    block_lock(fd)
                    if os.path.samestat(files.fstat(fd), files.stat(paths.journal)):
                        files.write_all(fd, record, files.fstat(fd).st_size)
                        return
                finally:
                    files.close(fd)
        except OSError as error:
            raise store_error(error, "mailbox cannot be held") from error

    async def release(self, root: MailboxName) -> None:
        """Have the mailboxes go on here; nothing, if they are not held."""

        def unmark(connection: sqlite3.Connection) -> None:
            for entry in belongings(connection, root):
                if entry.is_leaving:
                    rows.replace(connection, replace(entry, mailbox_type=""))

        await self._parts.shield.run(self._parts.directory.change(unmark))

    async def held(self, root: MailboxName) -> list[Entry]:
        """Those that are held."""
        return [entry for entry in await self._belongings(root) if entry.is_leaving]

    def entry(self, name: MailboxName) -> Entry | None:
        """A mailbox as it stands in the list."""
        return self._parts.directory.lookup(name)

    def is_here(self, name: MailboxName) -> bool:
        """Whether there is a mailbox of a name."""
        return self._parts.directory.lookup(name) is not None

    async def names(self, root: MailboxName) -> list[MailboxName]:
        """What moves at once, as it is here."""
        return [entry.name for entry in await self._belongings(root)]

    async def names_by_id(self, root: MailboxName) -> dict[str, MailboxName]:
        """Likewise, by unique id."""
        return {entry.unique_id: entry.name for entry in await self._belongings(root)}

    # --- what goes along ------------------------------------------------

    async def manifest(self, root: MailboxName, entries: list[Entry]) -> Manifest:
        """All that is known of them here."""
        parts = self._parts
        subscriptions: tuple[MailboxName, ...] = ()
        if root.is_inbox:
            found = parts.userstate.read.execute(
                "SELECT key FROM subscriptions WHERE user_id = ? ORDER BY key", (str(root.owner_id),)
            )
            subscriptions = tuple(rows.name_of(key) for (key,) in found)
        described = []
        for number, entry in enumerate(entries, 1):
            described.append(self._describe(entry))
            if number % _DESCRIBED_AT_ONCE == 0:
                # Others have their turn.
                await sleep(parts.reactor, 0)
        return Manifest(root, tuple(described), subscriptions, tuple(self._roots(root)))

    def _describe(self, entry: Entry) -> MovedMailbox:
        return MovedMailbox(
            entry.unique_id,
            entry.name,
            entry.uidvalidity,
            entry.acl,
            entry.special_use,
            entry.created,
            tuple(Note(*note) for note in self._parts.annotations.all_of(entry.unique_id)),
            seen_by(self._parts.userstate.read, entry.unique_id),
        )

    def _roots(self, root: MailboxName) -> list[MovedRoot]:
        low, high = live_range(root)
        found = self._parts.quotas.within(low, high)
        return [
            MovedRoot(name, tuple((limit.name, limit.value) for limit in limits))
            for name, limits in found
            if root.is_inbox or name == root
        ]

    # --- going ----------------------------------------------------------

    async def remove(self, root: MailboxName) -> None:
        """Remove them, and what is known of them here: the other server has them."""
        await self._parts.shield.run(self._remove(root))

    async def _remove(self, root: MailboxName) -> None:
        parts = self._parts

        def drop(connection: sqlite3.Connection) -> list[Entry]:
            parts.tree.catch_up(connection)
            gone = [entry for entry in belongings(connection, root) if entry.is_leaving]
            # The innermost first, so that directories are empty when their turn comes.
            for entry in reversed(gone):
                rows.remove(connection, entry)
                moves.ask(connection, parts.partitions, Work.REMOVE, entry.partition, entry.location)
            return gone

        # What is known elsewhere goes first: who dies in between finds the mailboxes still held, and does it again.
        unique_ids = [entry.unique_id for entry in await self.held(root)]
        await parts.userstate.write(lambda connection: self._forget(connection, root, unique_ids))
        parts.userstate_signal.change()
        await parts.annotations.forget_mailboxes(unique_ids)
        for moved in self._roots(root):
            if root.is_inbox or not parts.directory.has_inferiors(root):
                await parts.quotas.set(moved.root, None)
        await parts.directory.change(drop, parts.tree.finish)

    def _forget(self, connection: sqlite3.Connection, root: MailboxName, unique_ids: list[str]) -> None:
        drop_seen(connection, unique_ids)
        # What users have seen of others' mailboxes stays, as those do.
        if unique_ids and root.is_inbox:
            forget_subscriptions(connection, str(root.owner_id))
