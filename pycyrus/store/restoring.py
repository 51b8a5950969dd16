"""
Bringing expunged messages back, as long as their files are there.

Each gets a new UID, for a UID that was expunged never comes again (RFC 9051
section 2.3.1.1).  One record says both, that the message is there again and
that it is no longer among the expunged ones, so it is in one of the two places
at any time.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from twisted.logger import Logger

from pycyrus.errors import StoreUnavailable
from pycyrus.model.uids import MAX_NUMBER, NO_UIDS, UidArray
from pycyrus.store import files, journal, recovery
from pycyrus.store.cache import record_for_copy
from pycyrus.store.files import store_error
from pycyrus.store.keyword_bits import Keywords
from pycyrus.store.layout import MailboxPaths, microseconds
from pycyrus.store.mailbox import MailboxState
from pycyrus.store.removing import remove_files
from pycyrus.store.spool import place_copy
from pycyrus.store.threads import in_thread

Rows = NDArray[np.void]
Choose = Callable[[Rows, Keywords], Rows]
"""
From the expunged messages (C{RETAINED_ROW}) to those that come back, with the
flags that they get.  It may define keywords.
"""

_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_BATCH = 256
"""Messages that come back at a time: the lock is held until they are linked."""

_log = Logger()


@dataclass(frozen=True, slots=True, eq=False)
class Restored:
    """
    Messages that came back; the arrays run in parallel.

    @ivar was: The UIDs that they had.
    @ivar now: Those that they have.
    """

    was: UidArray
    now: UidArray


async def restore(state: MailboxState, choose: Choose) -> Restored:
    """
    Bring expunged messages back, durably, in batches.

    Those whose files are gone stay where they are.

    @raise TooManyKeywords: That batch did not come back.
    @raise StoreUnavailable: Some may have come back; the others are still
        expunged, and none is lost.
    """
    was: list[UidArray] = []
    now: list[UidArray] = []
    missing: set[int] = set()
    while True:
        batch = await _restore_batch(state, choose, missing)
        if batch is None:
            break
        was.append(batch.was)
        now.append(batch.now)
    if now:
        state.announce()
    return Restored(_joined(was), _joined(now))


def _joined(pieces: list[UidArray]) -> UidArray:
    return np.concatenate(pieces) if pieces else NO_UIDS


async def _restore_batch(state: MailboxState, choose: Choose, missing: set[int]) -> Restored | None:
    """@param missing: UIDs whose files were found to be gone."""
    state.refresh()
    count = min(len(_choose(state, choose, missing)[0]), _BATCH)
    if not count:
        return None
    # The names of the files must be durable before the record that makes them
    # the only ones, so the lock is kept while they are synced.
    lock = await state.enter_apart(count)
    placed: list[str] = []
    try:
        state.check_place()
        rows, keywords = _choose(state, choose, missing)
        rows = rows[:count]
        first = state.contents.uidnext
        if first + len(rows) > MAX_NUMBER:
            raise StoreUnavailable("the mailbox has no UIDs left")
        was = await in_thread(state.services.reactor, _link_all, state.paths, rows["uid"].tolist(), first, placed)
        missing.update(set(rows["uid"].tolist()) - set(was))
        rows = rows[np.isin(rows["uid"], np.array(was, dtype=np.uint32))]
        _record(state, rows, first, keywords)
    except OSError as error:
        files.unlink_all(placed)
        raise store_error(error, "messages cannot come back") from error
    except BaseException:
        files.unlink_all(placed)
        raise
    finally:
        files.close(lock)
    await state.commit([*placed, *state.written])
    restored = Restored(rows["uid"].astype(np.uint32), np.arange(first, first + len(rows), dtype=np.uint32))
    # Only now: until the record is durable the old name may still be needed.
    await remove_files(state, restored.was.tolist())
    return restored


def _choose(state: MailboxState, choose: Choose, missing: set[int]) -> tuple[Rows, Keywords]:
    """Chosen messages in order of UID, and the keywords that they need."""
    retained = state.contents.retained
    if missing:
        retained = retained[~np.isin(retained["uid"], np.array(sorted(missing), dtype=np.uint32))]
    keywords = Keywords(state)
    rows = choose(retained.copy(), keywords)
    return rows[np.argsort(rows["uid"], kind="stable")], keywords


def _link_all(paths: MailboxPaths, uids: list[int], first: int, placed: list[str]) -> list[int]:
    """
    Give messages' files their new names, durably.

    @return: UIDs of those that were there.
    """
    found: list[int] = []
    for uid in uids:
        source, target = paths.where(uid), paths.message(first + len(found))
        try:
            _link(paths, source, target, first + len(found))
        except FileNotFoundError:
            _log.error("Expunged message {path} has no file, and cannot come back", path=source)
            continue
        placed.append(target)
        found.append(uid)
    files.sync_directory(str(paths.data))
    return found


def _link(paths: MailboxPaths, source: str, target: str, uid: int) -> None:
    try:
        place_copy(source, target)
    except FileExistsError:
        # Somebody died between linking and recording: never acknowledged.
        recovery.quarantine(paths, uid)
        place_copy(source, target)
    if files.stat(source).st_ino != files.stat(target).st_ino:
        fd = files.open_file(target, _READ)
        try:
            files.fdatasync(fd)
        finally:
            files.close(fd)


def _record(state: MailboxState, rows: Rows, first: int, keywords: Keywords) -> None:
    """Cache and journal records of messages whose files are in place."""
    if not len(rows):
        return
    messages = np.zeros(len(rows), dtype=journal.RESTORED_ROW)
    for name in journal.ROW.names or ():
        messages[name] = rows[name]
    messages["was"] = rows["uid"]
    messages["uid"] = np.arange(first, first + len(rows), dtype=np.uint32)
    copied = [_cache_record(state, old, new) for old, new in zip(rows, messages["uid"].tolist(), strict=True)]
    # A damaged one is left out, and made again when it is asked for.
    lengths = np.array([len(record or b"") for record in copied], dtype=np.uint64)
    offset = state.items.append([record for record in copied if record is not None])
    messages["cache_length"] = lengths
    messages["cache_offset"] = np.where(lengths > 0, offset + np.concatenate(([0], lengths.cumsum()[:-1])), 0)
    last = journal.unexpunge_record(messages, state.next_modseq(), microseconds())
    state.write(b"".join((*keywords.records, state.reserve_ahead(), last)), tell=False)


def _cache_record(state: MailboxState, row: np.void, uid: int) -> bytes | None:
    data = state.items.raw_at(int(row["cache_offset"]), int(row["cache_length"]))
    if data[8:12] != int(row["uid"]).to_bytes(4, "little"):
        return None
    return record_for_copy(data, uid, int(row["savedate"]))
