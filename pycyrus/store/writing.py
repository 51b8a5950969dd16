"""
What changes the messages of a mailbox: flags, expunge and the recent mark.

Each is one stretch under the lock and, where somebody must be sure, a commit
after it.  Permission is none of this module's business.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pycyrus.errors import StoreUnavailable
from pycyrus.interfaces import Expunged, Stored
from pycyrus.model.flags import DELETED
from pycyrus.model.uids import NO_UIDS, Positions, UidArray, number_ranges, runs
from pycyrus.store import journal
from pycyrus.store.columns import as_positions
from pycyrus.store.files import store_error
from pycyrus.store.journal import FlagMasks, Ranges
from pycyrus.store.keyword_bits import Keywords
from pycyrus.store.layout import microseconds
from pycyrus.store.mailbox import MailboxState
from pycyrus.store.removing import remove_files

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


def _uid_bounds(uids: UidArray, where: slice | Positions) -> Ranges:
    """
    Ranges of UIDs that hold just the messages at these positions.

    Neighbours make one range, whatever UIDs were expunged between them.
    """
    if isinstance(where, slice):
        return [(int(uids[where.start]), int(uids[where.stop - 1]))]
    lows, highs = runs(where)
    return np.stack((uids[lows], uids[highs]), axis=1)


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
        await remove_files(state, gone.tolist())
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
    await remove_files(state, gone.tolist())
    return len(gone)


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
    try:
        if not state.enter_now():
            return first
    except StoreUnavailable as error:
        # It can be read all the same.
        state.log.warn("Recent mark of {mailbox} not written: {error}", mailbox=state.unique_id, error=str(error))
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
