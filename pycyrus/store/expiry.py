"""
The end of what was kept for a time: files of expunged messages, and deleted mailboxes; and what goes to the archive.

It is done mailbox by mailbox, beside whoever uses them, and each step says
first, durably, what it removes next.  Whoever is killed leaves at most files
that nothing refers to; the next run removes these.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from twisted.logger import Logger

from pycyrus.errors import MailboxNotFound, MailStoreError
from pycyrus.model.names import MailboxName
from pycyrus.model.uids import UidArray
from pycyrus.store import archiving, journal, writing
from pycyrus.store.files import store_error
from pycyrus.store.layout import MailboxPaths, microseconds
from pycyrus.store.lifetimes import archived_from, lifetime_of_deleted, lifetime_of_messages
from pycyrus.store.mailbox import MailboxState
from pycyrus.store.removing import remove_files
from pycyrus.store.rows import Entry
from pycyrus.store.settings import ArchiveSettings
from pycyrus.store.store import MailStore
from pycyrus.store.threads import in_thread

_log = Logger()
_NONE: UidArray = np.empty(0, np.uint32)


@dataclass(frozen=True, slots=True)
class Expiry:
    """
    What is to end.

    @ivar expunged_before: Messages expunged before this time, in seconds since
        the epoch; None for none.
    @ivar deleted_before: Likewise of mailboxes.
    @ivar drop_keywords: Forget keywords that no message has.
    @ivar archive: Move messages that came longer ago than it says, in seconds, or are large,
        to the archive partition; None for none.
    @ivar concerns: Which mailboxes.
    @ivar annotated_at: Heed the annotations C{expire}, C{archive} and C{delete}, as they are
        at this time in seconds since the epoch; None to ignore them.
    """

    expunged_before: float | None
    deleted_before: float | None
    drop_keywords: bool = False
    concerns: Callable[[Entry], bool] = lambda entry: True
    annotated_at: float | None = None
    archive: ArchiveSettings | None = None


Teller = Callable[[MailboxName, UidArray], Awaitable[None]]
"""Is told which messages of a mailbox were too old for it, once they are expunged."""


@dataclass(slots=True)
class Expired:
    """
    What was done.

    @ivar expired: Messages that were too old for their mailbox, and were expunged.
    @ivar expunged: Messages that went for good.
    @ivar seen: Messages looked at.
    @ivar mailboxes: Mailboxes looked at.
    @ivar archived: Messages that went to the archive.
    @ivar removed: Mailboxes that went for good.
    @ivar keywords: Keywords forgotten.
    @ivar failed: Mailboxes where something could not be done.
    """

    expired: int = 0
    expunged: int = 0
    seen: int = 0
    mailboxes: int = 0
    removed: int = 0
    keywords: int = 0
    archived: int = 0
    failed: int = 0


async def expire(
    store: MailStore, order: Expiry, told: Callable[[str], None] = lambda line: None, teller: Teller | None = None
) -> Expired:
    """
    Remove what was kept long enough.

    What fails for one mailbox is logged and counted; the others are gone on
    with.

    @param told: Is given a line for each mailbox in which something was done.
    @param teller: Is told of messages that were too old for their mailbox.
    """
    done = Expired()
    if order.expunged_before is not None or order.drop_keywords:
        for entry in every(store, order):
            await _attempt(store, entry, done, _expire_messages(store, entry, order, done, told, teller))
    if order.archive is not None:
        for entry in every(store, order):
            await _attempt(store, entry, done, _archive(store, entry, order, order.archive, done, told))
    if order.deleted_before is not None:
        for entry in deleted_before(store, order, order.deleted_before):
            await _attempt(store, entry, done, _remove(store, entry, done, told))
    return done


async def _attempt(store: MailStore, entry: Entry, done: Expired, work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except MailboxNotFound:
        # Deleted meanwhile.
        return
    except MailStoreError as error:
        _failed(store, entry, done, error)


async def _remove(store: MailStore, entry: Entry, done: Expired, told: Callable[[str], None]) -> None:
    if await store.purge_deleted(entry):
        done.removed += 1
        told(f"removed {store.tree.text(entry)}")


def _failed(store: MailStore, entry: Entry, done: Expired, error: MailStoreError) -> None:
    done.failed += 1
    _log.error("Expiry of {mailbox} failed: {error}", mailbox=store.tree.text(entry), error=str(error))


def every(store: MailStore, order: Expiry) -> Iterator[Entry]:
    """All mailboxes that an expiry is about."""
    return (entry for entry in store.directory.entries() if order.concerns(entry))


def deleted_before(store: MailStore, order: Expiry, before: float) -> Iterator[Entry]:
    """Mailboxes whose time is over, of those that an expiry is about."""
    for entry in every(store, order):
        deleted = entry.name.deleted
        if deleted is None:
            continue
        limit = before
        if order.annotated_at is not None and (kept := lifetime_of_deleted(store, entry)) is not None:
            limit = order.annotated_at - kept
        if int(deleted, 16) < limit:
            yield entry


async def _expire_messages(
    store: MailStore,
    entry: Entry,
    order: Expiry,
    done: Expired,
    told: Callable[[str], None],
    teller: Teller | None,
) -> None:
    state = await store.hold(entry)
    try:
        state.refresh()
        done.mailboxes += 1
        done.seen += len(state.contents) + len(state.contents.retained)
        old = await _expire_old(store, state, entry, order)
        gone = 0
        if order.expunged_before is not None:
            await sweep(state)
            if len(state.contents.retained):
                gone = await writing.purge(state, math.ceil(order.expunged_before))
        if gone:
            # What was removed for good is not to be read in what was made for searches.
            await state.texts.keep(state.view().uids)
            await state.upkeep.renew_cache()
        dropped = await drop_keywords(state) if order.drop_keywords else 0
    finally:
        store.release(state)
    if len(old) and teller is not None:
        await teller(entry.name, old)
    done.expired += len(old)
    done.expunged += gone
    done.keywords += dropped
    if len(old) or gone or dropped:
        what = f"expired {len(old)} and expunged" if len(old) else "expunged"
        told(f"{store.tree.text(entry)}: {what} {gone} messages, {dropped} user flags")


async def _archive(
    store: MailStore,
    entry: Entry,
    order: Expiry,
    settings: ArchiveSettings,
    done: Expired,
    told: Callable[[str], None],
) -> None:
    """Move what is old or large; what is deleted goes as it is."""
    if entry.name.deleted is not None:
        return
    after: float | None = settings.after
    if order.annotated_at is not None:
        after = archived_from(store, entry, settings.after)
    now = time.time() if order.annotated_at is None else order.annotated_at
    state = await store.hold(entry)
    try:
        moved = await archiving.archive(state, settings, None if after is None else now - after)
    finally:
        store.release(state)
    done.archived += moved
    if moved:
        told(f"{store.tree.text(entry)}: archived {moved} messages")


async def _expire_old(store: MailStore, state: MailboxState, entry: Entry, order: Expiry) -> UidArray:
    """Expunge what came too long ago for its mailbox; its files go as those of all expunged messages do."""
    if order.annotated_at is None or order.expunged_before is None or entry.name.deleted is not None:
        return _NONE
    kept = lifetime_of_messages(store, entry)
    if kept is None:
        return _NONE
    view = state.view()
    old = view.uids[view.internaldates < order.annotated_at - kept].astype(np.uint32)
    if not len(old):
        return _NONE
    return (await writing.expunge(state, old, only_deleted=False, keep_files=store.keeps_expunged)).uids


async def sweep(state: MailboxState) -> int:
    """
    Remove files that somebody who was killed should have removed: of messages that are known to have gone.

    @return: How many there were.
    """
    # Listed before the lock is taken, so nothing that comes meanwhile is in it.
    try:
        try:
            listed = await in_thread(state.services.reactor, _listed, state.paths)
        except FileNotFoundError:
            # Removed or renamed meanwhile; the journal knows.
            state.refresh()
            listed = await in_thread(state.services.reactor, _listed, state.paths)
    except OSError as error:
        raise store_error(error, "removed messages' files cannot be found") from error
    state.refresh()
    left = _left_over(state, listed)
    if len(left):
        # Whoever wrote the record of it may not be that far, if alive.
        await state.commit([state.paths.journal])
        await remove_files(state, left.tolist())
    return len(left)


def _left_over(state: MailboxState, listed: UidArray) -> UidArray:
    """Of the messages whose files are there, those that went for good."""
    contents = state.contents
    kept = np.concatenate((contents.columns.uids[: contents.columns.count], contents.retained["uid"]))
    return np.setdiff1d(np.intersect1d(listed, contents.vanished["uid"]), kept)


def _listed(paths: MailboxPaths) -> UidArray:
    return np.array(paths.uids(), dtype=np.uint32)


async def drop_keywords(state: MailboxState) -> int:
    """
    Forget keywords that no message has, nor any that is still kept.

    @return: How many there were.
    """
    await state.enter()
    try:
        contents = state.contents
        unused = [bit for bit in _unused_bits(state) if bit < len(contents.keywords) and contents.keywords[bit]]
        now = microseconds()
        if unused:
            state.write(b"".join(journal.keyword_record(bit, b"", now) for bit in unused))
    except OSError as error:
        raise store_error(error, "user flags cannot be forgotten") from error
    finally:
        state.leave()
    if unused:
        await state.commit([state.paths.journal])
    return len(unused)


def _unused_bits(state: MailboxState) -> list[int]:
    contents = state.contents
    used = 0
    for words in (contents.columns.keywords[: contents.columns.count], contents.retained["keywords"]):
        if len(words):
            low, high = np.bitwise_or.reduce(words, axis=0).tolist()
            used |= low | high << 64
    return [bit for bit in range(len(contents.keywords)) if not used >> bit & 1]
