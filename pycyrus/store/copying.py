"""Copies of messages in another mailbox, or in the same: as messages that come, but linked."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycyrus.errors import MessageGone, StoreUnavailable
from pycyrus.model.uids import NO_UIDS, UidArray, number_ranges
from pycyrus.store import files, journal, recovery
from pycyrus.store.appending import enter_in_place, let_in, take_back
from pycyrus.store.cache import record_for_copy
from pycyrus.store.columns import as_positions
from pycyrus.store.files import store_error
from pycyrus.store.keyword_bits import Keywords, translate_keywords
from pycyrus.store.layout import MailboxPaths, microseconds
from pycyrus.store.mailbox import MailboxState
from pycyrus.store.message_annotations import Noted, encode_coming
from pycyrus.store.own_annotations import Copied
from pycyrus.store.spool import place_copy
from pycyrus.store.threads import in_thread

_IN_THREAD_FROM = 64
"""Copies of more messages than this are linked in a thread."""


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
    source: MailboxState, target: MailboxState, what: Copying, admit: Callable[[int, int], None] = let_in
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
        await enter_in_place(target, count)
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
        files.unlink_all(placed)
        raise MessageGone("a message to copy is gone") from error
    except OSError as error:
        files.unlink_all(placed)
        raise store_error(error, "messages cannot be copied") from error
    except BaseException:
        files.unlink_all(placed)
        raise
    finally:
        if lock is None:
            target.leave()
        else:
            files.close(lock)
    try:
        await target.commit([*placed, *target.written])
    except StoreUnavailable:
        await take_back(target, number_ranges(copies))
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
