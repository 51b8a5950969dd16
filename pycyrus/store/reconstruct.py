"""
Making a mailbox's records and files agree, beside a server that works.

Opening a mailbox has already mended journal, snapshot and cache.  Here each
file is looked at, and each record: messages without a file are expunged, files
without a record get one, under a new UID, for the old one may have been seen to go.

Nothing goes before what takes its place is durable, and an expunged record stays
as long as any that a user expunged: C{unexpunge} brings the message back if its file
comes back.  A mailbox most of whose files are missing is left alone: more likely
a file system is not mounted.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pycyrus.errors import MailboxCorrupted, StoreUnavailable
from pycyrus.mime.summary import Summary, sent_or_arrived
from pycyrus.model.uids import MAX_NUMBER, number_ranges
from pycyrus.store import files, journal
from pycyrus.store.cache import CacheRecord
from pycyrus.store.contents import Contents
from pycyrus.store.files import store_error
from pycyrus.store.header import read_header
from pycyrus.store.items import summary_of
from pycyrus.store.layout import MailboxPaths, microseconds
from pycyrus.store.mailbox import MailboxState
from pycyrus.store.quarantine import file_guid, is_in_quarantine, link_to_quarantine
from pycyrus.store.removing import remove_files
from pycyrus.store.rows import Entry
from pycyrus.store.spool import place_copy
from pycyrus.store.telling import rewrite_header
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
    @ivar accept_loss: Expunge messages without files even if most are without.
    """

    dry_run: bool = False
    sizes: bool = True
    reparse: bool = False
    renumber: bool = False
    remove: bool = False
    ignore_odd: bool = False
    delete_odd: bool = False
    accept_loss: bool = False


class TooMuchMissing(StoreUnavailable):
    """Most message files are not there; nothing was changed."""


@dataclass(slots=True)
class Looked:
    """
    What a look at the directory found.

    @ivar missing: UIDs of records without files.
    @ivar unknown: UIDs of files without records.
    @ivar wrong: UIDs of messages that are not what was stored.
    @ivar kept_missing: As C{missing}, of expunged messages that are kept.
    @ivar kept_wrong: As C{wrong}, likewise.
    @ivar odd: Names of other files.
    """

    missing: list[int] = field(default_factory=list)
    unknown: list[int] = field(default_factory=list)
    wrong: list[int] = field(default_factory=list)
    kept_missing: list[int] = field(default_factory=list)
    kept_wrong: list[int] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)


async def reconstruct(state: MailboxState, entry: Entry, name: str, order: Order) -> list[str]:
    """
    Reconstruct a mailbox.

    @param name: Its internal name.
    @return: Remarks on what was found and done.
    @raise TooMuchMissing: Most of its files are missing, and C{order} does not accept that.
    @raise StoreUnavailable: It cannot be read or written now.
    """
    reactor = state.services.reactor
    try:
        state.refresh()
        looked = await in_thread(reactor, _look, state.paths, _Facts.of(state.contents), order)
        if not order.accept_loss:
            _check_loss(state, looked)
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
    retained: dict[int, tuple[int, bytes]]

    @classmethod
    def of(cls, contents: Contents) -> _Facts:
        columns, retained = contents.columns, contents.retained
        count = columns.count
        return cls(
            _sizes_and_guids(columns.uids[:count], columns.sizes[:count], columns.guids[:count]),
            _sizes_and_guids(retained["uid"], retained["size"], retained["guid"]),
        )


def _sizes_and_guids(
    uids: NDArray[np.uint32], sizes: NDArray[np.uint32], guids: NDArray[np.void]
) -> dict[int, tuple[int, bytes]]:
    pairs = zip(sizes.tolist(), (guid.tobytes() for guid in guids), strict=True)
    return dict(zip(uids.tolist(), pairs, strict=True))


def _look(paths: MailboxPaths, facts: _Facts, order: Order) -> Looked:
    if not paths.is_whole():
        raise OSError(errno.EIO, "the archive partition is not there", str(paths.data))
    there = set(paths.uids())
    known = facts.messages.keys() | facts.retained.keys()
    looked = Looked(
        missing=sorted(facts.messages.keys() - there),
        unknown=sorted(there - known),
        wrong=list(_different(paths, facts.messages, there, order)),
        kept_missing=sorted(facts.retained.keys() - there),
        kept_wrong=list(_different(paths, facts.retained, there, order)),
    )
    looked.odd = sorted(
        name
        for directory in dict.fromkeys((paths.data, paths.meta))
        for name in files.listdir(directory)
        if not _OURS.fullmatch(name) and not (directory / name).is_dir()
    )
    return looked


def _different(
    paths: MailboxPaths, messages: dict[int, tuple[int, bytes]], there: set[int], order: Order
) -> Iterator[int]:
    """UIDs of messages whose files are not what was stored."""
    for uid in sorted(messages.keys() & there):
        size, guid = messages[uid]
        path = paths.where(uid)
        try:
            differs = (order.sizes and min(files.stat(path).st_size, MAX_NUMBER) != size) or (
                order.reparse and file_guid(path) not in (guid, None)
            )
        except FileNotFoundError:
            # Purged since the directory was read.
            continue
        if differs:
            yield uid


def _check_loss(state: MailboxState, looked: Looked) -> None:
    count = state.contents.columns.count
    if len(looked.missing) * 2 > count:
        raise TooMuchMissing(
            f"{len(looked.missing)} of {count} message files are missing from {state.paths.data}: nothing is changed."
            "  Is its file system mounted?  If they are lost indeed, give --accept-loss"
        )


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
    for uid in looked.kept_missing:
        yield f"{uid}: expunged, and its file is missing: it cannot come back"
    for uid in looked.kept_wrong:
        would = "goes to quarantine" if order.remove else "give -U to remove it"
        yield f"{uid}: expunged, and its octets are not those that were stored: {would}"
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
    replaced = looked.wrong if order.renumber else []
    adopted = sorted({*looked.unknown, *replaced})
    for start in range(0, len(adopted), _BATCH):
        await _adopt(state, adopted[start : start + _BATCH])
    # What had another UID is durable under its new one now.
    await _replace(state, replaced)
    await _expunge_missing(state, looked.missing)
    if order.remove:
        await _put_aside(state, [*looked.wrong, *looked.kept_wrong])


async def _expunge_missing(state: MailboxState, uids: list[int]) -> None:
    """Expunge messages whose files are still missing."""
    if not uids:
        return
    await state.enter()
    try:
        # Else the paths may be those of a mailbox that was renamed meanwhile.
        state.check_place()
        # Read again: a file system may have been mounted or unmounted since.
        lost = set(uids).difference(state.paths.uids()) if state.paths.is_whole() else set()
        gone = np.array(sorted(lost.intersection(_Facts.of(state.contents).messages)), dtype=np.uint32)
        if len(gone):
            state.write(
                journal.ranges_record(journal.EXPUNGE, number_ranges(gone), state.next_modseq(), microseconds())
            )
    finally:
        state.leave()
    await state.commit(state.written)


async def _put_aside(state: MailboxState, uids: list[int]) -> None:
    """Expunge messages for good whose files go to quarantine: they are there before the record is."""
    if not uids:
        return
    await state.enter()
    try:
        state.check_place()
        facts = _Facts.of(state.contents)
        here = [uid for uid in uids if uid in facts.messages or uid in facts.retained]
        here = [uid for uid in here if Path(state.paths.where(uid)).exists()]
        for uid in here:
            link_to_quarantine(state.paths, uid)
        _purge(state, here, facts)
        names = [str(state.paths.quarantine)] if here else []
    finally:
        state.leave()
    await state.commit([*names, *state.written])
    await remove_files(state, here)


async def _replace(state: MailboxState, uids: list[int]) -> None:
    """Expunge for good what has another UID now."""
    if not uids:
        return
    await state.enter()
    try:
        facts = _Facts.of(state.contents)
        # Who was expunged meanwhile keeps the file, and the one message that is new is left.
        here = [uid for uid in uids if uid in facts.messages]
        _purge(state, here, facts)
    finally:
        state.leave()
    await state.commit(state.written)
    await remove_files(state, here)


def _purge(state: MailboxState, uids: list[int], facts: _Facts) -> None:
    now = microseconds()
    records = b""
    there = np.array([uid for uid in uids if uid in facts.messages], dtype=np.uint32)
    if len(there):
        records = journal.ranges_record(journal.EXPUNGE, number_ranges(there), state.next_modseq(), now)
    if uids:
        every = np.array(sorted(uids), dtype=np.uint32)
        state.write(records + journal.ranges_record(journal.PURGE, number_ranges(every), 0, now))


@dataclass(frozen=True, slots=True)
class _Adopted:
    """A file that is to be a message."""

    uid: int
    guid: bytes
    size: int
    modified: int
    inode: int
    summary: Summary


def _read(paths: MailboxPaths, uids: list[int]) -> list[_Adopted]:
    found = []
    for uid in uids:
        path = paths.where(uid)
        with suppress(FileNotFoundError):
            guid = file_guid(path)
            if guid is not None:
                status = files.stat(path)
                size = min(status.st_size, MAX_NUMBER)
                found.append(_Adopted(uid, guid, size, int(status.st_mtime), status.st_ino, summary_of(path)))
    return found


async def _adopt(state: MailboxState, uids: list[int]) -> None:
    """Give files that are no messages, or not those they should be, a record, each under the next UID."""
    adopted = await in_thread(state.services.reactor, _read, state.paths, uids)
    await state.enter(2 * len(adopted))
    old: list[int] = []
    placed: list[str] = []
    try:
        state.check_place()
        paths = state.paths
        known = _Facts.of(state.contents)
        # Others were being delivered, or purged, when the directory was read.
        adopted = [each for each in adopted if _is_alone(paths, known, each)]
        old = [each.uid for each in adopted if each.uid not in known.messages]
        named: dict[tuple[int, bytes], list[int]] = {}
        for uid, fact in known.messages.items():
            named.setdefault(fact, []).append(uid)
        new = [each for each in adopted if not _has_twin(paths, named, each)]
        pairs = list(zip(_free_uids(state.contents.uidnext, {each.uid for each in adopted}), new, strict=False))
        for uid, each in pairs:
            place_copy(paths.where(each.uid), paths.message(uid))
            placed.append(paths.message(uid))
        if pairs:
            _record(state, pairs)
    except BaseException:
        for path in placed:
            files.unlink(path)
        raise
    finally:
        state.leave()
    await state.commit([*placed, *state.written])
    await remove_files(state, old)


def _is_alone(paths: MailboxPaths, known: _Facts, each: _Adopted) -> bool:
    """Whether, under the lock, a file has no record that is right, and is there."""
    if each.uid in known.retained:
        return False
    listed = known.messages.get(each.uid)
    if listed is not None and listed == (each.size, each.guid):
        return False
    return Path(paths.where(each.uid)).exists()


def _has_twin(paths: MailboxPaths, named: dict[tuple[int, bytes], list[int]], each: _Adopted) -> bool:
    """Whether a file has a second name as a message, or in quarantine: who gave it died before this name went."""
    if is_in_quarantine(paths, each.uid):
        return True
    others = named.get((each.size, each.guid), ())
    if not Path(paths.message(each.uid)).exists():
        # From the archive it was copied.
        return any(uid != each.uid for uid in others)
    return any(uid != each.uid and _inode(paths.where(uid)) == each.inode for uid in others)


def _inode(path: str) -> int:
    try:
        return files.stat(path).st_ino
    except FileNotFoundError:
        return 0


def _free_uids(first: int, occupied: set[int]) -> Iterator[int]:
    """UIDs from the next on, without those whose place another file has."""
    return (uid for uid in range(first, MAX_NUMBER) if uid not in occupied)


def _record(state: MailboxState, pairs: list[tuple[int, _Adopted]]) -> None:
    now = microseconds()
    columns = state.contents.columns
    records = []
    facts = []
    for uid, each in pairs:
        summary, internal, marks = each.summary, each.modified, (0, (0, 0))
        row = columns.rows(columns.positions(np.array([each.uid], dtype=np.uint32)))
        if len(row):
            # Another UID does not make another message of it for those who gave it flags.
            internal, marks = int(row["internaldate"][0]), (int(row["flags"][0]), tuple(row["keywords"][0].tolist()))
        sent_time, sent_day = sent_or_arrived(summary.sent, internal)
        saved = now // 1_000_000
        records.append(
            CacheRecord(uid, each.size, each.guid, sent_day, internal, saved, sent_time, summary.items).encode()
        )
        facts.append((uid, each.size, internal, saved, sent_time, sent_day, *marks))
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
    return {uid: summary_of(paths.where(uid)) for uid in uids if Path(paths.where(uid)).exists()}


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
