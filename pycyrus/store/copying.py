"""Copies of messages in another mailbox, or in the same: as messages that come, but linked."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycyrus.errors import MessageGone, StoreUnavailable
from pycyrus.model.quota import Usage
from pycyrus.model.uids import NO_UIDS, Positions, UidArray, number_ranges
from pycyrus.store import files, journal, recovery
from pycyrus.store.appending import enter_in_place, let_in, take_back
from pycyrus.store.cache import record_for_copy
from pycyrus.store.columns import Columns, as_positions
from pycyrus.store.files import store_error
from pycyrus.store.keyword_bits import Keywords, translate_keywords
from pycyrus.store.layout import MailboxPaths, microseconds
from pycyrus.store.mailbox import MailboxState
from pycyrus.store.message_annotations import encode_coming, octets_of
from pycyrus.store.own_annotations import Copied
from pycyrus.store.spool import place_copy
from pycyrus.store.threads import in_thread, sleep

_IN_THREAD_FROM = 64
"""Copies of more messages than this are linked in a thread."""
_BLOCK = 1024
"""Records of so many messages are read or written at a time."""


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
    source: MailboxState, target: MailboxState, what: Copying, admit: Callable[[Usage], None] = let_in
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
    names = list(source.contents.keywords)
    originals = functools.partial(_originals, source.paths, columns, positions, what)
    rows, sources = await in_thread(target.services.reactor, originals) if count > _BLOCK else originals()
    records = await _records(source, columns, positions)
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
        admit(Usage(int(rows["size"].sum()), count, octets_of(noted)))
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
        saved = microseconds() // 1_000_000
        rows["savedate"] = saved
        copied = functools.partial(_records_of_copies, records, first, saved)
        await _keep_records(
            target, rows, copied() if lock is None else await in_thread(target.services.reactor, copied)
        )
        now = microseconds()
        encode = functools.partial(_encode_rows, rows, target.next_modseq(), now)
        last = encode() if lock is None else await in_thread(target.services.reactor, encode)
        # By their time they are known to belong together.
        coming = encode_coming(((int(copies[index]), key, value) for index, key, value in noted), now)
        target.write(b"".join((*keywords.records, target.reserve_ahead(), *coming, last)), tell=False)
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


def _originals(
    paths: MailboxPaths, columns: Columns, positions: Positions, what: Copying
) -> tuple[NDArray[np.void], list[str]]:
    """What the journal will say of the copies, but for their UIDs; and the files that they are copies of."""
    rows = columns.rows(positions)
    rows["flags"] = what.flags
    if not what.with_keywords:
        rows["keywords"] = 0
    return rows, [paths.where(uid) for uid in what.uids.tolist()]


async def _records(source: MailboxState, columns: Columns, positions: Positions) -> list[bytes]:
    """The records of messages in the cache."""
    records: list[bytes] = []
    for start in range(0, len(positions), _BLOCK):
        if start:
            await sleep(source.services.reactor, 0)
        records += source.items.raw_many(columns, positions[start : start + _BLOCK])
    return records


def _records_of_copies(records: Sequence[bytes], first: int, saved: int) -> list[bytes | None]:
    return [record_for_copy(record, uid, saved) for uid, record in enumerate(records, first)]


async def _keep_records(state: MailboxState, rows: NDArray[np.void], records: Sequence[bytes | None]) -> None:
    """Add cache records of copies, with pauses where nobody else can write meanwhile, and note where they are."""
    for start in range(0, len(rows), _BLOCK):
        if start:
            await sleep(state.services.reactor, 0)
        block = records[start : start + _BLOCK]
        # A damaged one is left out, and made again when it is asked for.
        lengths = np.array([len(record or b"") for record in block], dtype=np.uint64)
        offset = state.items.append([record for record in block if record is not None])
        some = rows[start : start + _BLOCK]
        some["cache_length"] = lengths
        some["cache_offset"] = np.where(lengths > 0, offset + np.concatenate(([0], lengths.cumsum()[:-1])), 0)


def _encode_rows(rows: NDArray[np.void], modseq: int, now: int) -> bytes:
    """The journal record of copies whose files and cache records are in place."""
    messages = np.zeros(len(rows), dtype=journal.ROW)
    for name in journal.ROW.names or ():
        messages[name] = rows[name]
    return journal.append_record(messages.tobytes(), len(rows), modseq, now)
