"""
Messages that come into a mailbox.

They are one stretch under the lock, and a commit after it.  Permission is none of this module's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from pycyrus.errors import MailboxNotFound, StoreUnavailable
from pycyrus.mime.summary import sent_or_arrived
from pycyrus.model.quota import Usage
from pycyrus.model.uids import MAX_NUMBER, number_ranges
from pycyrus.store import files, journal, recovery
from pycyrus.store.files import store_error
from pycyrus.store.keyword_bits import Keywords
from pycyrus.store.layout import microseconds
from pycyrus.store.mailbox import MailboxState
from pycyrus.store.message_annotations import Change, Noted, encode_coming, octets_of
from pycyrus.store.spool import StagedMessage
from pycyrus.store.threads import sleep

_MOVED_WITHIN, _LOOK_AGAIN = 2.0, 0.01
"""Seconds to wait for a directory that somebody renames, and between two looks."""


class Incoming(NamedTuple):
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


def let_in(more: Usage) -> None:
    """There is always room."""


async def enter_in_place(state: MailboxState, uids: int) -> None:
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
    state: MailboxState, messages: Sequence[Incoming], admit: Callable[[Usage], None] = let_in
) -> tuple[int, ...]:
    """
    Add messages, all or none, durably.

    @param admit: Told how much more there will be; raises
        L{OverQuota} where there is no room.
    @return: Their UIDs.
    @raise TooManyKeywords: Nothing was changed.
    @raise StoreUnavailable: None was acknowledged; what was written is taken
        back.
    """
    if not messages:
        return ()
    await enter_in_place(state, len(messages))
    placed: list[str] = []
    try:
        noted = _noted(message.annotations for message in messages)
        admit(Usage(sum(message.staged.size for message in messages), len(messages), octets_of(noted)))
        paths = state.paths
        first = state.contents.uidnext
        if first + len(messages) > MAX_NUMBER:
            raise StoreUnavailable("the mailbox has no UIDs left")
        state.contents.annotations.check_coming(noted)
        keywords = Keywords(state)
        words = [keywords.words(message.keywords, define=True) for message in messages]
        for uid, message in enumerate(messages, first):
            _place(state, message.staged, uid)
            placed.append(paths.message(uid))
        cached = _record_appended(state, messages, words, first, keywords.records, noted)
    except OSError as error:
        files.unlink_all(placed)
        raise store_error(error, "message cannot be stored") from error
    except BaseException:
        files.unlink_all(placed)
        raise
    finally:
        state.leave()
    uids = range(first, first + len(messages))
    try:
        await state.commit([*placed, *(state.written if cached else state.written_rows)])
    except StoreUnavailable:
        await take_back(state, number_ranges(np.array(uids, dtype=np.uint32)))
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


async def take_back(state: MailboxState, ranges: list[tuple[int, int]]) -> None:
    """What could not be made durable is removed again, so that nobody keeps what was never acknowledged."""
    try:
        await state.enter()
    except (StoreUnavailable, MailboxNotFound):
        state.log.error("Unacknowledged messages remain in {mailbox}", mailbox=state.unique_id)
        return
    try:
        state.check_place()
        now = microseconds()
        state.write(
            journal.ranges_record(journal.EXPUNGE, ranges, state.next_modseq(), now)
            + journal.ranges_record(journal.PURGE, ranges, 0, now)
        )
        for low, high in ranges:
            files.unlink_all([path for uid in range(low, high + 1) for path in state.paths.places(uid)])
    except (OSError, StoreUnavailable) as error:
        state.log.error(
            "Unacknowledged messages remain in {mailbox}: {error}", mailbox=state.unique_id, error=str(error)
        )
    finally:
        state.leave()
