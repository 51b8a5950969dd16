"""
A mailbox, or a tree of them, as it was at some time: first what that takes, then the doing.

Nothing is taken back that happened: messages come back under new UIDs, flags
are changed once more, so clients follow as they follow any change.  Each step
is durable before the next, and a plan made anew after an interruption has only
the rest in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from pycyrus.errors import MailboxExists, MailboxNotFound, MailStoreError
from pycyrus.model.acl import Acl
from pycyrus.model.identity import Identity
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.model.uids import UidArray
from pycyrus.store import writing
from pycyrus.store.annotating import annotate
from pycyrus.store.columns import as_positions
from pycyrus.store.contents import Contents
from pycyrus.store.files import store_error
from pycyrus.store.history import Past, look_back
from pycyrus.store.keyword_bits import Keywords, translate_keywords
from pycyrus.store.message_annotations import Change
from pycyrus.store.restoring import Rows, restore
from pycyrus.store.rows import Entry
from pycyrus.store.store import MailStore
from pycyrus.store.threads import in_thread
from pycyrus.store.writing import FlagOrder

_ALL_FLAGS = 0xFFFFFFFF


class NoHistory(MailStoreError):
    """
    The past is not known so far back.

    @ivar since: From where on it is, in seconds; None if the mailbox was not
        there yet.
    """

    def __init__(self, mailbox: MailboxName, since: float | None) -> None:
        super().__init__("its history does not reach back so far")
        self.mailbox = mailbox
        self.since = since


@dataclass(frozen=True, slots=True, eq=False)
class FlagsThen:
    """
    Messages that had the same flags.

    @ivar uids: The UIDs that they have now.
    """

    uids: UidArray
    system: int
    keywords: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, eq=False)
class NotesThen:
    """
    Messages whose annotations differ from what they were in the same way.

    @ivar uids: The UIDs that they have now, or had when they were expunged.
    """

    uids: UidArray
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """
    What it takes to have one mailbox as it was.

    @ivar entry: The mailbox as it is now; deleted if it comes back.
    @ivar back: UIDs of expunged messages that come back.
    @ivar lost: UIDs of messages that were there, and whose files are gone.
    @ivar flags: Messages that get the flags that they had.
    @ivar notes: Messages that get the annotations that they had.
    @ivar since: UIDs of messages that came since.
    @ivar exact: These go.
    @ivar acl: The access control list that it had, if that was another one.
    """

    entry: Entry
    back: UidArray
    lost: UidArray
    flags: tuple[FlagsThen, ...]
    notes: tuple[NotesThen, ...]
    since: UidArray
    exact: bool
    acl: Acl | None
    past: Past = field(repr=False)

    @property
    def name(self) -> MailboxName:
        """Its name, then and afterwards."""
        return replace(self.entry.name, deleted=None)

    @property
    def undeletes(self) -> bool:
        """Whether the mailbox itself comes back."""
        return self.entry.name.deleted is not None

    @property
    def changed_flags(self) -> int:
        """How many messages get other flags."""
        return sum(len(group.uids) for group in self.flags)

    @property
    def changed_notes(self) -> int:
        """How many messages get other annotations."""
        return sum(len(group.uids) for group in self.notes)

    @property
    def is_empty(self) -> bool:
        """Whether the mailbox is as it was."""
        goes = self.exact and len(self.since)
        return not (self.undeletes or len(self.back) or self.flags or self.notes or goes or self.acl is not None)


# --- planning ---------------------------------------------------------------


async def plan_undo(
    store: MailStore, name: MailboxName, when: float, *, inferiors: bool = False, exact: bool = False
) -> list[Plan]:
    """
    Find out what it takes; nothing is changed.

    A mailbox deleted since comes back, with the inferiors deleted along with it.

    @param when: Seconds since the epoch.
    @param inferiors: All mailboxes below as well.
    @param exact: Messages that came since go.
    @return: A plan for each mailbox, parents first.
    @raise MailboxNotFound: There was no such mailbox.
    @raise MailboxExists: It was deleted since, and another one has its name now.
    @raise NoHistory: It is too long ago.
    """
    plans: list[Plan] = []
    for entry in sorted(_concerned(store, name, when, inferiors), key=lambda entry: replace(entry.name, deleted=None)):
        try:
            plans.append(await _plan(store, entry, when, exact))
        except NoHistory as error:
            # One that was made since stays as it is.
            if error.since is not None or replace(entry.name, deleted=None) == name:
                raise
    return plans


def _concerned(store: MailStore, name: MailboxName, when: float, inferiors: bool) -> list[Entry]:
    live = store.directory.lookup(name)
    deleted = list(_deleted_since(store, name, when, inferiors))
    if any(replace(entry.name, deleted=None) == name for entry in deleted):
        if live is not None and live.created > when:
            raise MailboxExists("another mailbox has its name now")
        if live is not None:
            deleted = [entry for entry in deleted if replace(entry.name, deleted=None) != name]
    elif live is None:
        raise MailboxNotFound("there was no such mailbox")
    if not inferiors:
        return [*([live] if live is not None else []), *deleted]
    tree = store.directory.tree(name)
    taken = {entry.name for entry in tree}
    for entry in deleted:
        if replace(entry.name, deleted=None) in taken:
            raise MailboxExists("another mailbox has its name now")
    return [*tree, *deleted]


def _deleted_since(store: MailStore, name: MailboxName, when: float, inferiors: bool) -> Iterator[Entry]:
    """Deleted mailboxes that were there then, each the one that had the name first."""
    found: dict[MailboxName, Entry] = {}
    for entry in store.directory.entries(name.domain, deleted=True):
        was = replace(entry.name, deleted=None)
        # Deletions are known to the second; one within the second counts as later.
        if _deleted_at(entry) < int(when) or entry.created > when:
            continue
        if was == name or was.is_below(name):
            first = found.get(was)
            if first is None or _deleted_at(entry) < _deleted_at(first):
                found[was] = entry
    root = found.get(name)
    for was, entry in found.items():
        along = root is not None and entry.name.deleted == root.name.deleted
        if was == name or inferiors or along:
            yield entry


def _deleted_at(entry: Entry) -> int:
    return int(entry.name.deleted or "0", 16)


async def _plan(store: MailStore, entry: Entry, when: float, exact: bool) -> Plan:
    if entry.created > when:
        raise NoHistory(entry.name, None)
    state = await store.hold(entry)
    try:
        state.refresh()
        try:
            past = await in_thread(state.services.reactor, look_back, state.paths, round(when * 1_000_000))
        except OSError as error:
            raise store_error(error, "its history cannot be read") from error
        state.refresh()
        return _compare(entry, state.contents, past, exact)
    finally:
        store.release(state)


def _compare(entry: Entry, now: Contents, past: Past, exact: bool) -> Plan:
    """What differs between then and now."""
    then = past.contents
    if then is None:
        raise NoHistory(entry.name, past.since / 1_000_000)
    count = then.columns.count
    current = current_uids(then.columns.uids[:count], past.restored)
    here = now.columns.uids[: now.columns.count]
    live = np.isin(current, here)
    kept = np.isin(current, now.retained["uid"])
    acl = past.acl if past.acl is not None and past.acl != entry.acl else None
    return Plan(
        entry,
        current[kept],
        current[~live & ~kept],
        tuple(_flags_then(then, now, np.flatnonzero(live), current[live])),
        tuple(_notes_then(then, now, (live | kept).nonzero()[0], current)),
        np.setdiff1d(here, current),
        exact,
        acl,
        past,
    )


def current_uids(uids: UidArray, restored: dict[int, int]) -> UidArray:
    """The UIDs that messages have now, which may have gone and come back more than once."""
    current = uids.astype(np.uint32)
    if restored:
        for position, uid in enumerate(current.tolist()):
            while uid in restored:
                uid = restored[uid]
            current[position] = uid
    return current


def _flags_then(then: Contents, now: Contents, positions: NDArray[np.intp], uids: UidArray) -> Iterator[FlagsThen]:
    """Messages whose flags differ, by the flags that they had."""
    if not len(positions):
        return
    here = as_positions(now.columns.positions(np.sort(uids)))
    here = here[np.argsort(np.argsort(uids, kind="stable"), kind="stable")]
    names = [name for name in now.keywords if name]
    # Keywords by name, for bits may have changed their meaning.
    columns = [name for name in dict.fromkeys(name.lower() for name in (*then.keywords, *names)) if name]
    before = _table(then, positions, columns)
    after = _table(now, here, columns)
    differs = (then.columns.flags[positions] != now.columns.flags[here]) | np.any(before != after, axis=1)
    spelled = {name.lower(): name for name in (*then.keywords, *names)}
    groups: dict[tuple[int, bytes], list[int]] = {}
    for index in np.flatnonzero(differs).tolist():
        key = (int(then.columns.flags[positions[index]]), before[index].tobytes())
        groups.setdefault(key, []).append(index)
    for (system, having), members in groups.items():
        words = tuple(spelled[name] for name, has in zip(columns, having, strict=True) if has)
        yield FlagsThen(np.sort(uids[members]), system, words)


def _notes_then(then: Contents, now: Contents, positions: NDArray[np.intp], current: UidArray) -> Iterator[NotesThen]:
    """Messages whose annotations differ, by what is to be changed."""
    if not len(then.annotations) and not len(now.annotations):
        return
    groups: dict[tuple[Change, ...], list[int]] = {}
    uids = then.columns.uids
    for position in positions.tolist():
        uid = int(current[position])
        before, after = then.annotations.of(int(uids[position])), now.annotations.known(uid)
        if before != after:
            keys = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
            groups.setdefault(tuple(Change(key, before.get(key)) for key in keys), []).append(uid)
    for changes, members in groups.items():
        yield NotesThen(np.array(sorted(members), dtype=np.uint32), changes)


def _table(contents: Contents, positions: NDArray[np.intp], names: Sequence[bytes]) -> NDArray[np.bool_]:
    """Which messages have which keywords."""
    table = np.zeros((len(positions), len(names)), dtype=np.bool_)
    words = contents.columns.keywords[positions]
    for column, name in enumerate(names):
        bit = contents.keyword_bit(name)
        if bit is not None:
            table[:, column] = words[:, bit >> 6] >> np.uint64(bit & 63) & np.uint64(1)
    return table


# --- doing ------------------------------------------------------------------


async def undo(store: MailStore, identity: Identity, plans: Sequence[Plan]) -> None:
    """
    Do what was planned.

    @param identity: Who is said to change access control lists: an administrator.
    @raise MailboxExists: A mailbox that was to come back has no place.
    @raise StoreUnavailable: Some of it may be done; a new plan has the rest.
    """
    for plan in plans:
        if plan.undeletes and store.directory.lookup(plan.name) is None:
            # Those deleted along with it come along.
            await store.undelete(plan.entry.name)
    for plan in plans:
        entry = store.directory.by_id(plan.entry.unique_id)
        if entry is None:
            raise MailboxNotFound("it was deleted meanwhile")
        if plan.acl is not None:
            await store.set_acl(identity, entry.name, plan.acl)
        await _undo_messages(store, entry, plan)


async def _undo_messages(store: MailStore, entry: Entry, plan: Plan) -> None:
    state = await store.hold(entry)
    try:
        came_back: dict[int, int] = {}
        if len(plan.back):
            restored = await restore(state, _Chosen(plan).choose)
            came_back = dict(zip(restored.was.tolist(), restored.now.tolist(), strict=True))
        for notes in plan.notes:
            here = sorted(came_back.get(uid, uid) for uid in notes.uids.tolist())
            await annotate(state, np.array(here, dtype=np.uint32), notes.changes, None, lambda octets: None)
        for group in plan.flags:
            order = FlagOrder(_ALL_FLAGS, group.system, (), group.keywords, clear_all_keywords=True)
            await writing.change_flags(state, group.uids, order, None, wait=False)
        if plan.exact and len(plan.since):
            await writing.expunge(state, plan.since, only_deleted=False, keep_files=True)
        elif plan.flags:
            await state.commit([state.paths.journal])
    finally:
        store.release(state)


class _Chosen:
    """Expunged messages that come back, with the flags that they had."""

    def __init__(self, plan: Plan) -> None:
        then = plan.past.contents
        assert then is not None
        self._then = then
        uids = then.columns.uids[: then.columns.count]
        current = current_uids(uids, plan.past.restored)
        wanted = np.flatnonzero(np.isin(current, plan.back))
        self._positions = dict(zip(current[wanted].tolist(), wanted.tolist(), strict=True))

    def choose(self, rows: Rows, keywords: Keywords) -> Rows:
        """As L{pycyrus.store.restoring.Choose}."""
        rows = rows[np.isin(rows["uid"], np.array(list(self._positions), dtype=np.uint32))]
        positions = [self._positions[uid] for uid in rows["uid"].tolist()]
        columns = self._then.columns
        rows["flags"] = columns.flags[positions]
        rows["keywords"] = columns.keywords[positions]
        if len(rows):
            translate_keywords(rows, list(self._then.keywords), keywords)
        return rows
