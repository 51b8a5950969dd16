"""
What changes a mailbox: append, flags, expunge, copies and the recent mark.

Each is one stretch under the lock and, where somebody must be sure, a commit
after it.  Permission is none of this module's business.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycyrus.errors import MailboxNotFound, MessageGone, StoreUnavailable, TooManyKeywords
from pycyrus.interfaces import Expunged, Stored
from pycyrus.mime.summary import sent_or_arrived
from pycyrus.model.flags import DELETED
from pycyrus.model.uids import MAX_NUMBER, Positions, UidArray, number_ranges
from pycyrus.store import files, journal, recovery
from pycyrus.store.cache import record_for_copy
from pycyrus.store.columns import as_positions
from pycyrus.store.files import store_error
from pycyrus.store.journal import FlagMasks
from pycyrus.store.layout import MailboxPaths, microseconds
from pycyrus.store.mailbox import MailboxState
from pycyrus.store.message_annotations import Change, Noted, encode_coming
from pycyrus.store.own_annotations import Copied
from pycyrus.store.spool import StagedMessage, place_copy
from pycyrus.store.threads import in_thread, sleep

NO_UIDS: UidArray = np.empty(0, dtype=np.uint32)
_IN_THREAD_FROM = 64
"""Copies of more messages than this are linked in a thread."""
_MOVED_WITHIN, _LOOK_AGAIN = 2.0, 0.01
"""Seconds to wait for a directory that somebody renames, and between two looks."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """
    A message to append, with rights already applied.

    @ivar flags: Bits of system flags.
    @ivar annotations: Values that it has from the beginning.
    """

    staged: StagedMessage
    flags: int
    keywords: tuple[bytes, ...]
    internaldate: int | None
    annotations: tuple[Change, ...] = ()


class Keywords:
    """Turns keyword names to bits, defining those that have none."""

    def __init__(self, state: MailboxState) -> None:
        self._contents = state.contents
        self._new: dict[bytes, int] = {}
        self._free: list[int] | None = None
        self.records: list[bytes] = []

    def words(self, names: Sequence[bytes], *, define: bool) -> tuple[int, int]:
        """
        The bits of keywords as two words.

        @param define: Unknown ones get a bit; otherwise they are left out.
        @raise TooManyKeywords: There is none free.
        """
        bits = 0
        for name in names:
            bit = self._contents.keyword_bit(name)
            if bit is None:
                bit = self._new.get(name.lower())
            if bit is None and define:
                bit = self._define(name)
            if bit is not None:
                bits |= 1 << bit
        return bits & 0xFFFFFFFFFFFFFFFF, bits >> 64

    def _define(self, name: bytes) -> int:
        if self._free is None:
            self._free = self._contents.free_keyword_bits()
        if not self._free:
            raise TooManyKeywords("all keyword bits are in use")
        bit = self._free.pop(0)
        self._new[name.lower()] = bit
        self.records.append(journal.keyword_record(bit, name, microseconds()))
        return bit


# --- append -----------------------------------------------------------------


def _let_in(octets: int, messages: int) -> None:
    """There is always room."""


async def _enter_in_place(state: MailboxState, uids: int) -> None:
    """
    Take the lock, once the directory is where the paths say: whoever renames the mailbox moves it in a moment.

    @raise StoreUnavailable: It was not for some time.
    """
    reactor = state.services.reactor
    deadline = reactor.seconds() + _MOVED_WITHIN
    while True:
        await state.enter(uids)
        try:
            state.check_place()
            return
        except StoreUnavailable:
            state.leave()
            if reactor.seconds() > deadline:
                raise
        await sleep(reactor, _LOOK_AGAIN)


async def append(
    state: MailboxState, messages: Sequence[Incoming], admit: Callable[[int, int], None] = _let_in
) -> tuple[int, ...]:
    """
    Add messages, all or none, durably.

    @param admit: Told how many octets and messages there will be; raises
        L{OverQuota} where there is no room.
    @return: Their UIDs.
    @raise TooManyKeywords: Nothing was changed.
    @raise StoreUnavailable: None was acknowledged; what was written is taken
        back.
    """
    if not messages:
        return ()
    await _enter_in_place(state, len(messages))
    placed: list[str] = []
    try:
        admit(sum(message.staged.size for message in messages), len(messages))
        paths = state.paths
        first = state.contents.uidnext
        if first + len(messages) > MAX_NUMBER:
            raise StoreUnavailable("the mailbox has no UIDs left")
        noted = _noted(message.annotations for message in messages)
        state.contents.annotations.check_coming(noted)
        keywords = Keywords(state)
        words = [keywords.words(message.keywords, define=True) for message in messages]
        for uid, message in enumerate(messages, first):
            _place(state, message.staged, uid)
            placed.append(paths.message(uid))
        cached = _record_appended(state, messages, words, first, keywords.records, noted)
    except OSError as error:
        _unlink_all(placed)
        raise store_error(error, "message cannot be stored") from error
    except BaseException:
        _unlink_all(placed)
        raise
    finally:
        state.leave()
    uids = range(first, first + len(messages))
    try:
        await state.commit([*placed, *(state.written if cached else state.written_rows)])
    except StoreUnavailable:
        await _take_back(state, number_ranges(np.array(uids, dtype=np.uint32)))
        raise
    return tuple(uids)


def _place(state: MailboxState, staged: StagedMessage, uid: int) -> None:
    path = state.paths.message(uid)
    try:
        staged.place(path)
    except FileExistsError:
        # Somebody died between linking and recording: never acknowledged.
        recovery.quarantine(state.paths, uid)
        staged.place(path)


def _record_appended(
    state: MailboxState,
    messages: Sequence[Incoming],
    words: Sequence[tuple[int, int]],
    first: int,
    before: list[bytes],
    noted: Noted,
) -> bool:
    """
    Cache and journal records of messages whose files are in place.

    @return: Whether there are any of the cache.
    """
    now = microseconds()
    saved = now // 1_000_000
    filler = state.services.filler
    records = []
    facts = []
    for uid, message in enumerate(messages, first):
        staged = message.staged
        internal = saved if message.internaldate is None else message.internaldate
        sent_time, sent_day = sent_or_arrived(staged.sent, internal)
        guid, size = staged.guid, staged.size
        if filler is not None and staged.items_may_wait():
            records.append(b"")
        else:
            records.append(staged.packed_items().record(uid, size, guid, sent_day, internal, saved, sent_time))
        facts.append((uid, size, internal, saved, sent_time, sent_day, message.flags, guid))
    made = [record for record in records if record]
    offset = state.items.append(made) if made else 0
    rows = []
    for fact, record, keywords in zip(facts, records, words, strict=True):
        length = len(record)
        rows.append(journal.pack_row(*fact[:7], keywords, offset if length else 0, length, fact[7]))
        offset += length
    last = journal.append_record(b"".join(rows), len(rows), state.next_modseq(), now)
    coming = encode_coming(((first + index, key, value) for index, key, value in noted), now)
    state.write(b"".join((*before, state.reserve_ahead(), *coming, last)), tell=False)
    if filler is not None and len(made) < len(records):
        filler.later(state)
    return bool(made)


def _noted(messages: Iterable[Sequence[Change]]) -> Noted:
    """Values of messages to come, by their place."""
    return [
        (index, change.key, change.value)
        for index, changes in enumerate(messages)
        for change in changes
        if change.value is not None
    ]


async def _take_back(state: MailboxState, ranges: list[tuple[int, int]]) -> None:
    """What could not be made durable is removed again, so that nobody keeps what was never acknowledged."""
    try:
        await state.enter()
    except (StoreUnavailable, MailboxNotFound):
        state.log.error("Unacknowledged messages remain in {mailbox}", mailbox=state.unique_id)
        return
    try:
        now = microseconds()
        state.write(
            journal.ranges_record(journal.EXPUNGE, ranges, state.next_modseq(), now)
            + journal.ranges_record(journal.PURGE, ranges, 0, now)
        )
        for low, high in ranges:
            _unlink_all([path for uid in range(low, high + 1) for path in state.paths.places(uid)])
    except OSError as error:
        state.log.error(
            "Unacknowledged messages remain in {mailbox}: {error}", mailbox=state.unique_id, error=error.strerror
        )
    finally:
        state.leave()


def _unlink_all(paths: Sequence[str]) -> None:
    for path in paths:
        try:
            files.unlink(path)
        except OSError:
            # Recovery finds what is left: no record tells of it.
            continue


# --- flags ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FlagOrder:
    """
    A change of flags, with rights already applied.

    @ivar clear: Bits to take away.
    @ivar set: Bits to add after that.
    @ivar clear_all_keywords: Take all keywords away first.
    @ivar touch: Give the messages a new modseq even where no flag changes.
    """

    clear: int
    set: int
    clear_keywords: tuple[bytes, ...] = ()
    set_keywords: tuple[bytes, ...] = ()
    clear_all_keywords: bool = False
    touch: bool = False


_ALL_WORDS = (0xFFFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)


async def change_flags(
    state: MailboxState, uids: UidArray, order: FlagOrder, unchanged_since: int | None, *, wait: bool
) -> Stored:
    """
    Change flags.

    @param wait: Return when it is durable, not only journaled.
    @raise TooManyKeywords: Nothing was changed.
    """
    await state.enter()
    try:
        contents = state.contents
        columns = contents.columns
        where = columns.positions(uids)
        modified = NO_UIDS
        if unchanged_since is not None:
            positions = as_positions(where)
            late = columns.modseqs[positions] > np.uint64(unchanged_since)
            modified = columns.uids[positions[late]]
            where = positions[~late]
        changed = columns.uids[: columns.count][where]
        if not len(changed):
            return Stored(changed.copy(), modified, None)
        keywords = Keywords(state)
        masks = _masks(order, keywords)
        modseq = state.next_modseq()
        state.write(
            b"".join(keywords.records)
            + state.reserve_ahead()
            + journal.flags_record(masks, _uid_bounds(columns.uids, where), modseq, microseconds(), touch=order.touch)
        )
        stored = Stored(changed.copy(), modified, modseq)
    except OSError as error:
        raise store_error(error, "flags cannot be changed") from error
    finally:
        state.leave()
    if wait:
        await state.commit([state.paths.journal])
    else:
        state.commit_soon()
    return stored


def _masks(order: FlagOrder, keywords: Keywords) -> FlagMasks:
    clear = _ALL_WORDS if order.clear_all_keywords else keywords.words(order.clear_keywords, define=False)
    return FlagMasks(order.clear, order.set, *clear, *keywords.words(order.set_keywords, define=True))


def _uid_bounds(uids: UidArray, where: slice | Positions) -> list[tuple[int, int]]:
    """
    Ranges of UIDs that hold just the messages at these positions.

    Neighbours make one range, whatever UIDs were expunged between them.
    """
    if isinstance(where, slice):
        return [(int(uids[where.start]), int(uids[where.stop - 1]))]
    return [(int(uids[low]), int(uids[high])) for low, high in number_ranges(where)]


# --- expunge ----------------------------------------------------------------


async def expunge(state: MailboxState, uids: UidArray | None, *, only_deleted: bool, keep_files: bool) -> Expunged:
    """
    Remove messages, durably.

    @param uids: Only among these.
    @param only_deleted: Only those with the deleted flag.
    @param keep_files: They go later, by L{purge}.
    """
    await state.enter()
    try:
        contents = state.contents
        columns = contents.columns
        positions = as_positions(slice(0, columns.count) if uids is None else columns.positions(uids))
        if only_deleted:
            positions = positions[columns.flags[positions] & DELETED != 0] if contents.deleted else positions[:0]
        if not len(positions):
            return Expunged(NO_UIDS, None)
        gone = columns.uids[positions].copy()
        modseq = state.next_modseq()
        now = microseconds()
        ranges = _uid_bounds(columns.uids, positions)
        records = journal.ranges_record(journal.EXPUNGE, ranges, modseq, now)
        if not keep_files:
            records += journal.ranges_record(journal.PURGE, ranges, 0, now)
        state.write(state.reserve_ahead() + records)
    except OSError as error:
        raise store_error(error, "messages cannot be expunged") from error
    finally:
        state.leave()
    await state.commit([state.paths.journal])
    if not keep_files:
        await _remove_files(state, gone)
    return Expunged(gone, modseq)


async def purge(state: MailboxState, older_than: int) -> int:
    """
    Remove the files of messages expunged before a time.

    @param older_than: Seconds since the epoch.
    @return: How many messages went for good.
    """
    await state.enter()
    try:
        retained = state.contents.retained
        gone = np.sort(retained["uid"][retained["expunge_time"] < older_than * 1_000_000]).astype(np.uint32)
        if not len(gone):
            return 0
        ranges = number_ranges(gone)
        state.write(journal.ranges_record(journal.PURGE, ranges, 0, microseconds()))
    except OSError as error:
        raise store_error(error, "expunged messages cannot be removed") from error
    finally:
        state.leave()
    # Only when the record is durable: a file must not go while the record of
    # its going can still be lost.
    await state.commit([state.paths.journal])
    await _remove_files(state, gone)
    return len(gone)


async def _remove_files(state: MailboxState, uids: UidArray) -> None:
    paths = [path for uid in uids.tolist() for path in state.paths.places(uid)]
    if len(paths) <= _IN_THREAD_FROM:
        _unlink_all(paths)
    else:
        await in_thread(state.services.reactor, _unlink_all, paths)


# --- recent -----------------------------------------------------------------


def claim_recent(state: MailboxState) -> int:
    """
    Take the recent messages for one session of the owner.

    @return: The UID from which they are recent.
    """
    contents = state.contents
    first = contents.recent_uid + 1
    if not contents.recent_count():
        return first
    if not state.enter_now():
        return first
    try:
        contents = state.contents
        first = contents.recent_uid + 1
        if contents.recent_count():
            last = int(contents.columns.uids[contents.columns.count - 1])
            state.write(journal.recent_record(last, microseconds()))
    except OSError as error:
        # Then they are recent for another session, too: harmless.
        state.log.warn("Recent mark of {mailbox} not written: {error}", mailbox=state.unique_id, error=error.strerror)
    finally:
        state.leave()
    state.commit_soon()
    return first


# --- copy -------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Copying:
    """
    What to copy, with rights already applied.

    @ivar uids: Of the originals, ascending, all there.
    @ivar flags: System flags that each copy gets.
    @ivar with_keywords: Whether keywords are copied.
    @ivar annotations: Which of a message's are copied.
    """

    uids: UidArray
    flags: NDArray[np.uint32]
    with_keywords: bool
    annotations: Copied


async def copy(
    source: MailboxState, target: MailboxState, what: Copying, admit: Callable[[int, int], None] = _let_in
) -> UidArray:
    """
    Copy messages, all or none, durably.

    @param admit: As for L{append}.
    @return: UIDs of the copies, in the order of the originals.
    @raise MessageGone: One of them went meanwhile; none was copied.
    @raise TooManyKeywords: Nothing was changed.
    """
    columns = source.contents.columns
    positions = as_positions(columns.positions(what.uids))
    if len(positions) != len(what.uids):
        raise MessageGone("a message to copy is gone")
    count = len(positions)
    if not count:
        return NO_UIDS
    rows = columns.rows(positions)
    rows["flags"] = what.flags
    if not what.with_keywords:
        rows["keywords"] = 0
    names = list(source.contents.keywords)
    sources = [source.paths.where(uid) for uid in what.uids.tolist()]
    records = [source.items.raw(columns, position) for position in positions.tolist()]
    noted = [
        (index, *pair)
        for index, uid in enumerate(what.uids.tolist() if len(source.contents.annotations) else ())
        for pair in what.annotations(source.contents.annotations.of(uid)).items()
    ]
    placed: list[str] = []
    # What is archived has to be copied: no link reaches from there.
    takes_long = count > _IN_THREAD_FROM or any(map(source.paths.is_archived, sources))
    lock = await target.enter_apart(count) if takes_long else None
    if lock is None:
        await _enter_in_place(target, count)
    try:
        admit(int(rows["size"].sum()), count)
        target.check_place()
        target.contents.annotations.check_coming(noted)
        first = target.contents.uidnext
        keywords = Keywords(target)
        translate_keywords(rows, names, keywords)
        link = functools.partial(_link_all, target.paths, sources, first, placed)
        if lock is None:
            link()
        else:
            await in_thread(target.services.reactor, link)
        rows["uid"] = copies = np.arange(first, first + count, dtype=np.uint32)
        _record_copied(target, rows, records, keywords.records, noted)
    except FileNotFoundError as error:
        _unlink_all(placed)
        raise MessageGone("a message to copy is gone") from error
    except OSError as error:
        _unlink_all(placed)
        raise store_error(error, "messages cannot be copied") from error
    except BaseException:
        _unlink_all(placed)
        raise
    finally:
        if lock is None:
            target.leave()
        else:
            files.close(lock)
    try:
        await target.commit([*placed, *target.written])
    except StoreUnavailable:
        await _take_back(target, number_ranges(copies))
        raise
    return copies


def _link_all(paths: MailboxPaths, sources: Sequence[str], first: int, placed: list[str]) -> None:
    for uid, path in enumerate(sources, first):
        target = paths.message(uid)
        try:
            place_copy(path, target)
        except FileExistsError:
            # Somebody died between linking and recording: never acknowledged.
            recovery.quarantine(paths, uid)
            place_copy(path, target)
        placed.append(target)


def translate_keywords(rows: NDArray[np.void], names: Sequence[bytes], keywords: Keywords) -> None:
    """From the source's bits to the target's."""
    words = rows["keywords"]
    used = np.bitwise_or.reduce(words, axis=0).tolist()
    if not any(used):
        return
    translated = np.zeros_like(words)
    for bit in range(len(names)):
        if not names[bit] or not used[bit >> 6] >> (bit & 63) & 1:
            continue
        low, high = keywords.words((names[bit],), define=True)
        having = words[:, bit >> 6] & np.uint64(1 << (bit & 63)) != 0
        translated[having] |= np.array([low, high], dtype=np.uint64)
    rows["keywords"] = translated


def _record_copied(
    state: MailboxState, rows: NDArray[np.void], records: Sequence[bytes], before: Sequence[bytes], noted: Noted
) -> None:
    """Cache and journal records of copies whose files are in place."""
    now = microseconds()
    saved = now // 1_000_000
    copied = [record_for_copy(record, uid, saved) for record, uid in zip(records, rows["uid"].tolist(), strict=True)]
    # A damaged one is left out, and made again when it is asked for.
    lengths = np.array([len(record or b"") for record in copied], dtype=np.uint64)
    offset = state.items.append([record for record in copied if record is not None])
    rows["cache_length"] = lengths
    rows["cache_offset"] = np.where(lengths > 0, offset + np.concatenate(([0], lengths.cumsum()[:-1])), 0)
    rows["savedate"] = saved
    messages = np.zeros(len(rows), dtype=journal.ROW)
    for name in journal.ROW.names or ():
        messages[name] = rows[name]
    last = journal.append_record(messages.tobytes(), len(rows), state.next_modseq(), now)
    coming = encode_coming(((int(rows["uid"][index]), key, value) for index, key, value in noted), now)
    state.write(b"".join((*before, state.reserve_ahead(), *coming, last)), tell=False)
