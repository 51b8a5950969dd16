"""Moving mailboxes to another partition, while they are in use."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from pycyrus.errors import MailboxExists, MailboxNotFound, PermissionDenied
from pycyrus.model.acl import LOOKUP
from pycyrus.model.identity import Identity
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.store import access
from pycyrus.store.directory import Directory
from pycyrus.store.partition_moves import PartitionMove
from pycyrus.store.partitions import Partitions
from pycyrus.store.rows import Entry
from pycyrus.store.threads import StoreReactor, in_thread
from pycyrus.store.tree import MailboxTree, Renamed


class Movers:
    """Moves trees of mailboxes."""

    def __init__(self, directory: Directory, tree: MailboxTree, partitions: Partitions, reactor: StoreReactor) -> None:
        self._directory = directory
        self._tree = tree
        self._partitions = partitions
        self._reactor = reactor

    async def move(self, identity: Identity, name: MailboxName, partition: str) -> Renamed:
        """
        Move a mailbox and its inferiors, one after the other.

        @param partition: Where they go.
        @return: The names of those that were not there before.
        @raise MailboxNotFound: Absent or hidden.
        @raise PermissionDenied: Not an administrator of the domain.
        @raise UnknownPartition: There is none.
        @raise MailboxExists: All of them are there.
        """
        entry = access.check(identity, self._directory.lookup(name), LOOKUP)
        if not identity.administers(entry.name.domain):
            raise PermissionDenied("where mail lies is an administrator's")
        target = self._partitions.choose(partition, None)
        moving = [each for each in self._directory.tree(name) if each.partition != target]
        if not moving:
            raise MailboxExists("on that partition")
        moved: Renamed = []
        for each in moving:
            try:
                await self._move_one(each, target)
            except MailboxNotFound:
                # Deleted or renamed meanwhile; the one that was named was there a moment ago.
                if each.name == name:
                    raise
                continue
            moved.append((each.name, each.name))
        return moved

    async def _move_one(self, entry: Entry, partition: str) -> None:
        location = self._tree.place(entry, entry.name)
        move = PartitionMove(self._partitions, entry, partition, location, self._tree.text(entry))
        try:
            await self._directory.change(self._caught_up(move.begin))
            await in_thread(self._reactor, move.copy)
            await self._directory.change(move.finish)
            move.settled()
            # Whoever waits for the mailbox's lock may hold that of the list.
            move.release()
            await self._directory.change(self._tree.finish)
        finally:
            move.release()
            if self._directory.has_pending():
                # What broke off is cleared away at once if it can be.
                await self._directory.change(self._tree.catch_up)

    def _caught_up(self, then: Callable[[sqlite3.Connection], None]) -> Callable[[sqlite3.Connection], None]:
        def work(connection: sqlite3.Connection) -> None:
            self._tree.catch_up(connection)
            then(connection)

        return work
