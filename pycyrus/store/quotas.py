"""
Quotas of this store: which root holds for a mailbox, what is used of it, and whether there is room.

Use is never kept as a number of its own that could go wrong: it is the sum of
what the mailboxes below a root use, by L{UsageMap}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from twisted.logger import Logger
from twisted.python.failure import Failure

from pycyrus.errors import MailboxNotFound, OverQuota, StoreUnavailable
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.model.quota import NOTHING, Enforcement, Limit, Quota, Resource, Usage, exceeded
from pycyrus.store.directory import Directory
from pycyrus.store.files import store_error
from pycyrus.store.mailbox import MailboxState
from pycyrus.store.notes import Annotations
from pycyrus.store.quota_roots import QuotaRoots
from pycyrus.store.rows import Entry, key_of, live_range
from pycyrus.store.usage import UsageMap, array_of, mark_of
from pycyrus.tasks import Tasks

_WAITED_FOR = 256
"""Mailboxes that are counted before an answer; more are counted while it is given without them."""
_MOST_KNOWN = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class _Members:
    """
    The mailboxes of a root.

    @ivar numbers: Of their rows.
    @ivar version: Of the list and the roots, when that was so.
    """

    numbers: NDArray[np.int64]
    marks: NDArray[np.uint32]
    unique_ids: Sequence[str]
    version: tuple[int, int]


class Quotas:
    """
    All quotas.

    @param hold: Gives a mailbox's state, to be given back by C{release}.
    """

    log = Logger()

    def __init__(
        self,
        roots: QuotaRoots,
        usage: UsageMap,
        directory: Directory,
        annotations: Annotations,
        hold: Callable[[Entry], Awaitable[MailboxState]],
        release: Callable[[MailboxState], None],
    ) -> None:
        self.roots = roots
        self._usage = usage
        self._directory = directory
        self._annotations = annotations
        self._hold = hold
        self._release = release
        self._members: dict[MailboxName, _Members] = {}
        self._tasks = Tasks()
        self._counting: set[MailboxName] = set()

    # --- what is used -----------------------------------------------------------

    async def quota(self, root: MailboxName) -> Quota | None:
        """
        A root with all that is used of it; None if it is none.

        @raise StoreUnavailable: It cannot be told.
        """
        limits = self.roots.limits(root)
        if limits is None:
            return None
        await self._count_unknown(root)
        return Quota(root, self._used(root, [*limits, Limit(Resource.ANNOTATION_STORAGE.value, 0)]), limits)

    async def quota_of(self, name: MailboxName) -> Quota | None:
        """The quota that holds for a mailbox; None if there is none."""
        found = self.roots.holds_for(name)
        return None if found is None else await self.quota(found[0])

    def _used(self, root: MailboxName, limits: Sequence[Limit]) -> Usage:
        members = self._members_of(root)
        try:
            sums, _ = self._usage.sums(members.numbers, members.marks)
        except OSError as error:
            raise store_error(error, "quota usage cannot be read") from error
        noted = sums.noted
        if any(limit.resource is Resource.ANNOTATION_STORAGE for limit in limits):
            noted += self._annotations.octets(members.unique_ids)
        return Usage(sums.octets, sums.messages, noted, len(members.numbers))

    def _members_of(self, root: MailboxName) -> _Members:
        version = (self._directory.refresh(), self.roots.refresh())
        members = self._members.get(root)
        if members is None or members.version != version:
            if len(self._members) >= _MOST_KNOWN:
                self._members.clear()
            members = self._members[root] = self._find_members(root, version)
        return members

    def _find_members(self, root: MailboxName, version: tuple[int, int]) -> _Members:
        low, high = live_range(root)
        nested = [live_range(name) for name, _ in self.roots.within(low, high) if key_of(name) != key_of(root)]
        found = self._directory.numbers_between(low, high)
        if nested:
            found = list(_outside(found, nested))
        return _Members(
            array_of([number for number, _, _ in found]),
            np.array([mark_of(unique_id) for _, _, unique_id in found], dtype=np.uint32),
            [unique_id for _, _, unique_id in found],
            version,
        )

    # --- counting what is not known ---------------------------------------------

    async def _count_unknown(self, root: MailboxName) -> None:
        members = self._members_of(root)
        try:
            _, unknown = self._usage.sums(members.numbers, members.marks)
        except OSError as error:
            raise store_error(error, "quota usage cannot be read") from error
        if not len(unknown):
            return
        unique_ids = [members.unique_ids[index] for index in unknown.tolist()]
        if len(unique_ids) <= _WAITED_FOR:
            await self._count(unique_ids)
        elif root not in self._counting:
            self._counting.add(root)
            self.log.info(
                "Usage of {count} mailboxes below {root} is being counted", count=len(unique_ids), root=str(root)
            )
            self._tasks.spawn(self._count_aside(root, unique_ids), self._not_counted)

    async def _count_aside(self, root: MailboxName, unique_ids: Sequence[str]) -> None:
        try:
            await self._count(unique_ids)
        finally:
            self._counting.discard(root)

    def _not_counted(self, failure: Failure) -> None:
        self.log.failure("Usage could not be counted", failure)

    async def _count(self, unique_ids: Sequence[str]) -> None:
        for unique_id in unique_ids:
            entry = self._directory.by_id(unique_id)
            if entry is None:
                continue
            try:
                await self._count_mailbox(entry)
            except (MailboxNotFound, StoreUnavailable) as error:
                self._unreadable(entry, error)

    async def _count_mailbox(self, entry: Entry) -> None:
        state = await self._hold(entry)
        try:
            await state.enter()
            try:
                state.tell_usage()
            finally:
                state.leave()
        finally:
            self._release(state)

    async def counted(self, root: MailboxName) -> Usage:
        """What is used, counted from the mailboxes themselves, whatever was noted of them."""
        members = self._members_of(root)
        octets = messages = noted = 0
        for unique_id in members.unique_ids:
            entry = self._directory.by_id(unique_id)
            if entry is None:
                continue
            try:
                state = await self._hold(entry)
            except (MailboxNotFound, StoreUnavailable) as error:
                self._unreadable(entry, error)
                continue
            state.refresh()
            octets += state.contents.size
            messages += state.contents.columns.count
            noted += state.contents.annotations.octets
            self._release(state)
        noted += self._annotations.octets(members.unique_ids)
        return Usage(octets, messages, noted, len(members.unique_ids))

    def _unreadable(self, entry: Entry, error: Exception) -> None:
        # What cannot be read takes nobody's room.
        self.log.error("Usage of {mailbox} is not known: {error}", mailbox=entry.unique_id, error=repr(error))

    async def recount(self, root: MailboxName) -> None:
        """Count all mailboxes of a root again, whatever was noted of them."""
        await self._count(self._members_of(root).unique_ids)

    # --- whether there is room --------------------------------------------------

    async def ready(self, name: MailboxName) -> None:
        """
        Have ready what L{admit} needs to know of a mailbox.

        @raise StoreUnavailable: It cannot be told what is used.
        """
        found = self.roots.holds_for(name)
        if found is not None and found[1]:
            await self._count_unknown(found[0])

    def admit(self, name: MailboxName, more: Usage, enforcement: Enforcement = Enforcement.FULL) -> None:
        """
        Let something be added to a mailbox, or not.

        @raise OverQuota: A limit is in the way.
        """
        if enforcement is Enforcement.NONE:
            return
        found = self.roots.holds_for(name)
        if found is None or not found[1]:
            return
        root, limits = found
        reached = exceeded(limits, self._used(root, limits), more if enforcement is Enforcement.FULL else NOTHING)
        if reached is not None:
            raise OverQuota(f"{reached.name} of {root}")

    def same_root(self, one: MailboxName, other: MailboxName) -> bool:
        """Whether what goes from one mailbox to the other stays below the same root."""
        first, second = self.roots.holds_for(one), self.roots.holds_for(other)
        return first is not None and second is not None and first[0] == second[0]

    def stop(self) -> None:
        """Count no more."""
        self._tasks.cancel_all()

    def close(self) -> None:
        """Give the files back."""
        self.roots.close()
        self._usage.close()


def _outside(found: Sequence[tuple[int, str, str]], ranges: Sequence[tuple[str, str]]) -> list[tuple[int, str, str]]:
    """Rows whose keys are in none of the ranges; both are in order, and ranges may lie within others."""
    left = []
    index = 0
    until = ""
    for row in found:
        key = row[1]
        while index < len(ranges) and ranges[index][0] <= key:
            until = max(until, ranges[index][1])
            index += 1
        if key >= until:
            left.append(row)
    return left
