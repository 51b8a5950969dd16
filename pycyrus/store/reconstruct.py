"""
Making a mailbox's records and files agree, beside a server that works.

Opening a mailbox has already mended journal, snapshot and cache.  Here each
file is looked at, and each record: messages without a file are expunged, files
without a record get one, under a new UID, for the old one may have been seen to go.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pycyrus.errors import MailboxCorrupted
from pycyrus.mime.summary import Summary
from pycyrus.model.uids import MAX_NUMBER, number_ranges
from pycyrus.store import files, journal
from pycyrus.store.cache import CacheRecord
from pycyrus.store.contents import Contents
from pycyrus.store.files import store_error
from pycyrus.store.header import read_header
from pycyrus.store.items import summary_of
from pycyrus.store.layout import MailboxPaths, message_uids, microseconds
from pycyrus.store.mailbox import MailboxState
from pycyrus.store.moves import rewrite_header
from pycyrus.store.quarantine import file_guid, quarantine
from pycyrus.store.rows import Entry
from pycyrus.store.spool import place_copy
from pycyrus.store.threads import in_thread

_OURS = re.compile(r"pycyrus\..*|[1-9][0-9]*\.")
_BATCH = 256


@dataclass(frozen=True, slots=True)
class Order:
    """
    What to do; each is an option of Cyrus's C{reconstruct}.

    @ivar dry_run: C{-n}: only say.
    @ivar sizes: Without C{-s}: compare the sizes of files.
    @ivar reparse: C{-G}: compare their octets, and make the cache again.
    @ivar renumber: C{-R}: a message that is another than it was gets another UID.
    @ivar remove: C{-U}: it goes to quarantine.
    @ivar ignore_odd: C{-o}: say nothing of files that are no messages.
    @ivar delete_odd: C{-O}: delete them.
    """

    dry_run: bool = False
    sizes: bool = True
    reparse: bool = False
    renumber: bool = False
    remove: bool = False
    ignore_odd: bool = False
    delete_odd: bool = False


@dataclass(slots=True)
class Looked:
    """
    What a look at the directory found.

    @ivar missing: UIDs of records without files.
    @ivar unknown: UIDs of files without records.
    @ivar wrong: UIDs of messages that are not what was stored.
    @ivar odd: Names of other files.
    """

    missing: list[int] = field(default_factory=list)
    unknown: list[int] = field(default_factory=list)
    wrong: list[int] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)


async def reconstruct(state: MailboxState, entry: Entry, name: str, order: Order) -> list[str]:
    """
    Reconstruct a mailbox.

    @param name: Its internal name.
    @return: Remarks on what was found and done.
    @raise StoreUnavailable: It cannot be read or written now.
    """
    reactor = state.services.reactor
    try:
        state.refresh()
        looked = await in_thread(reactor, _look, state.paths, _Facts.of(state.contents), order)
        remarks = list(_remarks(looked, order))
        if not _header_agrees(state.paths, entry, name):
            remarks.append("its header is not what the mailbox list says: it is written again")
        if order.dry_run:
            return remarks
        await _mend(state, looked, order)
        if order.reparse:
            await _cache_again(state)
        await _tidy(state, entry, name, looked, order)
    except OSError as error:
        raise store_error(error, "mailbox cannot be reconstructed") from error
    return remarks


# --- looking -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the journal says, for a thread to compare."""

    messages: dict[int, tuple[int, bytes]]
    retained: frozenset[int]

    @classmethod
    def of(cls, contents: Contents) -> _Facts:
        columns = contents.columns
        count = columns.count
        sizes = columns.sizes[:count].tolist()
        guids = [guid.tobytes() for guid in columns.guids[:count]]
        uids = columns.uids[:count].tolist()
        messages = dict(zip(uids, zip(sizes, guids, strict=True), strict=True))
        return cls(messages, frozenset(contents.retained["uid"].tolist()))


def _look(paths: MailboxPaths, facts: _Facts, order: Order) -> Looked:
    there = set(message_uids(paths.data))
    looked = Looked(
        missing=sorted(facts.messages.keys() - there), unknown=sorted(there - facts.messages.keys() - facts.retained)
    )
    for uid in sorted(facts.messages.keys() & there):
        size, guid = facts.messages[uid]
        path = paths.message(uid)
        if (order.sizes and min(files.stat(path).st_size, MAX_NUMBER) != size) or (
            order.reparse and file_guid(path) != guid
        ):
            looked.wrong.append(uid)
    looked.odd = sorted(
        name
        for directory in dict.fromkeys((paths.data, paths.meta))
        for name in files.listdir(directory)
        if not _OURS.fullmatch(name) and not (directory / name).is_dir()
    )
    return looked


def _remarks(looked: Looked, order: Order) -> Iterable[str]:
    for uid in looked.missing:
        yield f"{uid}: its file is missing: expunged"
    for uid in looked.unknown:
        yield f"{uid}.: a file without a record"
    for uid in looked.wrong:
        if order.renumber:
            yield f"{uid}: its octets are not those that were stored: gets another UID"
        elif order.remove:
            yield f"{uid}: its octets are not those that were stored: goes to quarantine"
        else:
            yield f"{uid}: its octets are not those that were stored: give -R for another UID, -U to remove it"
    if not order.ignore_odd:
        for name in looked.odd:
            yield f"{name}: an odd file" + (": deleted" if order.delete_odd else "")


def _header_agrees(paths: MailboxPaths, entry: Entry, name: str) -> bool:
    try:
        head = read_header(paths.meta)
    except MailboxCorrupted:
        return False
    return (head.unique_id, head.uidvalidity, head.name) == (entry.unique_id, entry.uidvalidity, name)


# --- mending -----------------------------------------------------------------


async def _mend(state: MailboxState, looked: Looked, order: Order) -> None:
    wrong = looked.wrong if order.renumber or order.remove else []
    await _expunge(state, [*looked.missing, *wrong], quarantined=wrong if order.remove else [])
    adopted = sorted({*looked.unknown, *(wrong if order.renumber else ())})
    for start in range(0, len(adopted), _BATCH):
        await _adopt(state, adopted[start : start + _BATCH])


async def _expunge(state: MailboxState, uids: list[int], *, quarantined: list[int]) -> None:
    """Expunge messages for good, all that are still what they were found to be."""
    if not uids:
        return
    await state.enter()
    try:
        here = set(state.contents.columns.uids[: state.contents.columns.count].tolist())
        gone = np.array(sorted(here.intersection(uids)), dtype=np.uint32)
        if len(gone):
            ranges, now = number_ranges(gone), microseconds()
            expunge = journal.ranges_record(journal.EXPUNGE, ranges, state.next_modseq(), now)
            state.write(expunge + journal.ranges_record(journal.PURGE, ranges, 0, now))
        for uid in quarantined:
            if Path(state.paths.message(uid)).exists():
                quarantine(state.paths, uid)
    finally:
        state.leave()
    await state.commit(state.written)


@dataclass(frozen=True, slots=True)
class _Adopted:
    """A file that is to be a message."""

    uid: int
    guid: bytes
    size: int
    modified: int
    summary: Summary


def _read(paths: MailboxPaths, uids: list[int]) -> list[_Adopted]:
    found = []
    for uid in uids:
        path = paths.message(uid)
        guid = file_guid(path)
        if guid is not None:
            status = files.stat(path)
            size = min(status.st_size, MAX_NUMBER)
            found.append(_Adopted(uid, guid, size, int(status.st_mtime), summary_of(path)))
    return found


async def _adopt(state: MailboxState, uids: list[int]) -> None:
    """Give files without a record one, each under the next UID."""
    adopted = await in_thread(state.services.reactor, _read, state.paths, uids)
    await state.enter(2 * len(adopted))
    old: list[int] = []
    placed: list[str] = []
    try:
        state.check_place()
        paths = state.paths
        known = _Facts.of(state.contents)
        taken = known.messages.keys() | known.retained
        # Others were being delivered, or purged, when the directory was read.
        adopted = [each for each in adopted if each.uid not in taken and Path(paths.message(each.uid)).exists()]
        targets = _free_uids(state.contents.uidnext, {each.uid for each in adopted})
        pairs = list(zip(targets, adopted, strict=False))
        for uid, each in pairs:
            place_copy(paths.message(each.uid), paths.message(uid))
            placed.append(paths.message(uid))
            old.append(each.uid)
        if pairs:
            _record(state, pairs)
    except BaseException:
        for path in placed:
            files.unlink(path)
        raise
    finally:
        state.leave()
    await state.commit([*placed, *state.written])
    for uid in old:
        files.unlink(state.paths.message(uid))


def _free_uids(first: int, occupied: set[int]) -> Iterator[int]:
    """UIDs from the next on, without those whose place another file has."""
    return (uid for uid in range(first, MAX_NUMBER) if uid not in occupied)


def _record(state: MailboxState, pairs: list[tuple[int, _Adopted]]) -> None:
    now = microseconds()
    records = []
    facts = []
    for uid, each in pairs:
        summary, internal = each.summary, each.modified
        sent_time = internal if summary.sent_time is None else summary.sent_time
        sent_day = internal // 86400 if summary.sent_day is None else summary.sent_day
        saved = now // 1_000_000
        records.append(
            CacheRecord(uid, each.size, each.guid, sent_day, internal, saved, sent_time, summary.items).encode()
        )
        facts.append((uid, each.size, internal, saved, sent_time, sent_day, 0, (0, 0)))
    offset = state.items.append(records)
    rows = []
    for fact, (_, each), record in zip(facts, pairs, records, strict=True):
        rows.append(journal.pack_row(*fact, offset, len(record), each.guid))
        offset += len(record)
    last = journal.append_record(b"".join(rows), len(rows), state.next_modseq(), now)
    state.write(state.reserve_ahead() + last)


async def _cache_again(state: MailboxState) -> None:
    """Make all records of the cache again, from the messages."""
    uids = state.contents.columns.uids[: state.contents.columns.count].tolist()
    for start in range(0, len(uids), _BATCH):
        found = await in_thread(state.services.reactor, _summaries, state.paths, uids[start : start + _BATCH])
        await state.enter()
        try:
            columns = state.contents.columns
            records: dict[int, bytes] = {}
            for position, uid in enumerate(columns.uids[: columns.count].tolist()):
                if uid in found:
                    records[uid] = CacheRecord(
                        uid,
                        int(columns.sizes[position]),
                        columns.guids[position].tobytes(),
                        int(columns.sent_days[position]),
                        int(columns.internaldates[position]),
                        int(columns.savedates[position]),
                        int(columns.sent_times[position]),
                        found[uid].items,
                    ).encode()
            if not records:
                continue
            table = np.zeros(len(records), dtype=journal.CACHE_ROW)
            table["uid"] = list(records)
            table["length"] = [len(record) for record in records.values()]
            offset = state.items.append(list(records.values()))
            table["offset"] = offset + np.concatenate(([0], np.cumsum(table["length"], dtype=np.uint64)[:-1]))
            state.write(journal.rows_record(journal.CACHE, table, microseconds()))
        finally:
            state.leave()
    await state.commit(state.written)


def _summaries(paths: MailboxPaths, uids: list[int]) -> dict[int, Summary]:
    return {uid: summary_of(paths.message(uid)) for uid in uids if Path(paths.message(uid)).exists()}


async def _tidy(state: MailboxState, entry: Entry, name: str, looked: Looked, order: Order) -> None:
    """Header, and odd files."""
    await state.enter()
    try:
        state.check_place()
        rewrite_header(state.paths.meta, entry, name)
        if order.delete_odd:
            for odd in looked.odd:
                for directory in dict.fromkeys((state.paths.data, state.paths.meta)):
                    if os.path.lexists(directory / odd):
                        files.unlink(directory / odd)
    finally:
        state.leave()
    await state.commit([*state.written, f"{state.paths.meta}/pycyrus.header"])
