"""
Making a mailbox's journal again from what is left of it.

Three witnesses are heard: whole records of the damaged journal, records of
the cache, and the message files themselves.  The damaged files are kept in
C{pycyrus.quarantine}.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from twisted.logger import Logger

from pycyrus.errors import MailboxCorrupted
from pycyrus.mime.summary import sent_or_arrived
from pycyrus.store import cache, files, header, journal, snapshot
from pycyrus.store.contents import Contents
from pycyrus.store.header import Header, read_header, write_header
from pycyrus.store.items import summary_of
from pycyrus.store.journal import HEADER_SIZE, JournalHeader
from pycyrus.store.layout import FIRST_RESERVATION, MODSEQS_PER_UID, MailboxPaths, microseconds
from pycyrus.store.loading import is_of
from pycyrus.store.quarantine import file_guid, quarantine
from pycyrus.store.spool import MessageFile

_log = Logger()

_MARGIN = 4096
"""UIDs and modseqs passed over where the last ones may be unknown."""
_NAMED = 100
"""Files that are told of one by one."""


def has_remains(paths: MailboxPaths) -> bool:
    """Whether there is a mailbox without its journal, and not one that just comes or goes."""
    if not (paths.meta / header.FILE_NAME).exists():
        return False
    return any(Path(path).exists() for path in (paths.cache, paths.columns)) or bool(paths.uids())


def rebuild(paths: MailboxPaths) -> None:
    """
    Make the journal again; the caller holds the lock, or nobody could have it open.

    @raise MailboxCorrupted: Not even the mailbox's identity can be found.
    @raise OSError: It cannot be written.
    """
    damaged = _read(paths.journal)
    head, contents = _salvage(paths, damaged)
    restarted = contents.boot not in (bytes(16), files.boot_id())
    if restarted:
        _drop_never_synced(paths, contents)
    _adopt(paths, contents, restarted=restarted)
    _drop_missing(paths, contents)
    _keep_damaged(paths)
    replacement = encode_journal(contents, head)
    # The new journal says that all of them are durable.
    sync_messages(paths)
    files.replace_file(paths.journal, replacement, sync=True)
    try:
        read_header(paths.meta)
    except MailboxCorrupted:
        write_header(paths.meta, _header_of(head, contents))
    _log.error(
        "Mailbox in {directory} was rebuilt; it has {count} messages", directory=str(paths.meta), count=len(contents)
    )


def encode_journal(contents: Contents, head: JournalHeader, since: int | None = None) -> bytes:
    """
    A journal that says at once what C{contents} holds.

    @param since: The time, in microseconds, for which that was so; None for now.
    """
    now = microseconds() if since is None else since
    pieces = [head.encode()]
    uids = contents.columns.uids[: contents.columns.count]
    pieces.append(
        journal.numbers_record(
            contents.uidnext, contents.highest_modseq, contents.vanished_floor, contents.recent_uid, now
        )
    )
    pieces += [journal.keyword_record(bit, name, now) for bit, name in enumerate(contents.keywords) if name]
    for start in range(0, len(uids), _ROWS_PER_RECORD):
        rows = contents.columns.rows(slice(start, min(start + _ROWS_PER_RECORD, len(uids))))
        pieces.append(journal.rows_record(journal.STATE, rows, now))
    for kind, rows in ((journal.VANISHED, contents.vanished), (journal.RETAINED, contents.retained)):
        for start in range(0, len(rows), _ROWS_PER_RECORD):
            pieces.append(journal.rows_record(kind, rows[start : start + _ROWS_PER_RECORD], now))
    pieces += contents.annotations.records(now)
    # Everything before is synced before this journal takes the old one's place.
    pieces.append(
        journal.reserve_record(*contents.usable, contents.boot, now, confirmed=False)
        + journal.reserve_record(*contents.usable, contents.boot, now, confirmed=True)
    )
    if contents.reserved != contents.usable:
        pieces.append(journal.reserve_record(*contents.reserved, contents.boot, now, confirmed=False))
    return b"".join(pieces)


_ROWS_PER_RECORD = 100_000


def _read(path: str) -> bytes:
    try:
        fd = files.open_file(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return b""
    try:
        return files.read_all(fd, files.fstat(fd).st_size, 0)
    finally:
        files.close(fd)


def _salvage(paths: MailboxPaths, data: bytes) -> tuple[JournalHeader, Contents]:
    """What the damaged journal and the header still tell."""
    head: JournalHeader | None = None
    with contextlib.suppress(MailboxCorrupted):
        head = JournalHeader.decode(data[:HEADER_SIZE])
    try:
        named = read_header(paths.meta)
    except MailboxCorrupted:
        named = None
    if head is None and named is None:
        raise MailboxCorrupted("neither journal nor header tell whose mailbox this is")
    contents = Contents()
    offset = HEADER_SIZE
    if head is not None:
        found = snapshot.load(paths.columns, head.generation, head.unique_id)
        # What is shorter than it was has nothing behind it.
        if found is not None and (
            found[1] > len(data) or is_of(memoryview(data)[HEADER_SIZE:], found[1] - HEADER_SIZE)
        ):
            contents, offset = found
    while offset < len(data):
        records, used = journal.scan(memoryview(data)[offset:])
        _apply_plausible(contents, records)
        offset += used
        found_at = journal.find_record(memoryview(data)[offset:], 8)
        if found_at is None:
            break
        offset += found_at
    if named is not None:
        contents.uidnext = max(contents.uidnext, named.uidnext)
        contents.highest_modseq = max(contents.highest_modseq, named.highest_modseq)
    contents.uidnext = max(contents.uidnext, contents.reserved[0])
    contents.highest_modseq = max(contents.highest_modseq, contents.reserved[1])
    if head is None:
        assert named is not None
        # Generations only have to differ from that of any snapshot.
        generation = secrets.randbits(32) + 2
        return JournalHeader(generation, 0, _cache_generation(paths), named.uidvalidity, named.unique_id), contents
    return (
        JournalHeader(head.generation + 2, 0, head.cache_generation, head.uidvalidity, head.unique_id),
        contents,
    )


def _apply_plausible(contents: Contents, records: list[journal.Record]) -> None:
    """Apply records behind a gap: an append must still come after what is there."""
    for record in records:
        if record.type in (journal.APPEND, journal.UNEXPUNGE):
            rows = journal.unpack_rows(record, journal.ROW)
            columns = contents.columns
            if columns.count and len(rows) and rows["uid"][0] <= columns.uids[columns.count - 1]:
                continue
        contents.apply([record])


def _cache_generation(paths: MailboxPaths) -> int:
    data = _read(paths.cache)
    generation = cache.decode_header(data)
    return generation if generation is not None else 1


def _drop_never_synced(paths: MailboxPaths, contents: Contents) -> None:
    """After a power cut, records may tell of messages whose octets did not reach the disk."""
    columns = contents.columns
    first = int(columns.uids[: columns.count].searchsorted(np.uint32(contents.durable_uid)))
    for position in range(first, columns.count):
        uid = int(columns.uids[position])
        if file_guid(paths.where(uid)) not in (None, columns.guids[position].tobytes()):
            # Without its file it is no message either: see below.
            quarantine(paths, uid)


def _adopt(paths: MailboxPaths, contents: Contents, *, restarted: bool) -> None:
    """
    Take in message files that no record tells of.

    @param restarted: What came since the last confirmed reservation may be torn: then
        only what a record of the cache proves to be whole is taken in.
    """
    columns = contents.columns
    here = set(columns.uids[: columns.count].tolist())
    known = here | set(contents.retained["uid"].tolist()) | set(contents.vanished["uid"].tolist())
    missing = [uid for uid in paths.uids() if uid not in known]
    if not missing:
        _after_damage(contents, 0)
        return
    witnessed = _cache_rows(paths)
    if restarted and witnessed:
        for uid in [uid for uid in missing if uid >= contents.durable_uid]:
            if uid not in witnessed or witnessed[uid][2].guid != file_guid(paths.where(uid)):
                quarantine(paths, uid)
                missing.remove(uid)
    rows = np.zeros(len(missing), dtype=journal.STATE_ROW)
    contents.highest_modseq += _MARGIN
    for index, uid in enumerate(missing):
        _fill_row(rows[index : index + 1], paths, uid, witnessed)
        if index < _NAMED:
            _log.error("Message file {path} was adopted", path=paths.where(uid))
    if len(missing) > _NAMED:
        _log.error("{count} message files in {directory} were adopted", count=len(missing), directory=str(paths.data))
    rows["modseq"] = contents.highest_modseq
    together = journal.concatenate_rows((columns.rows(slice(0, columns.count)), rows), journal.STATE_ROW)
    together = together[np.argsort(together["uid"], kind="stable")]
    fresh = Contents()
    fresh.apply(journal.scan(journal.rows_record(journal.STATE, together, microseconds()))[0])
    contents.restore(fresh.columns, contents.keywords, contents.vanished, contents.retained)
    contents.recount()
    _after_damage(contents, missing[-1] if missing else 0)


def _after_damage(contents: Contents, last_uid: int) -> None:
    """Pass over numbers that may have been used, and forget what expunges are known."""
    contents.uidnext = min(max(contents.uidnext, last_uid + 1), 0xFFFFFFFF)
    contents.vanished_floor = contents.highest_modseq
    contents.boot = files.boot_id()
    limits = (contents.uidnext + FIRST_RESERVATION, contents.highest_modseq + FIRST_RESERVATION * MODSEQS_PER_UID)
    contents.reserved = contents.usable = limits


def _fill_row(
    row: NDArray[np.void], paths: MailboxPaths, uid: int, witnessed: dict[int, tuple[int, int, cache.CacheRecord]]
) -> None:
    file = MessageFile(paths.where(uid))
    try:
        modified = int(files.fstat(file.fileno()).st_mtime)
        digest = hashlib.sha1(usedforsecurity=False)
        for offset in range(0, file.size, 1 << 20):
            digest.update(file.read(offset, 1 << 20))
        size = file.size
    finally:
        file.close()
    row["uid"], row["size"] = uid, min(size, 0xFFFFFFFF)
    row["guid"] = np.void(digest.digest())
    found = witnessed.get(uid)
    if found is not None and found[2].guid == digest.digest():
        row["cache_offset"], row["cache_length"], record = found
        row["internaldate"], row["savedate"] = record.internaldate, record.savedate
        row["sent_time"], row["sent_day"] = record.sent_time, record.sent_day
        return
    summary = summary_of(paths.where(uid))
    row["internaldate"] = row["savedate"] = modified
    row["sent_time"], row["sent_day"] = sent_or_arrived(summary.sent, modified)


def _cache_rows(paths: MailboxPaths) -> dict[int, tuple[int, int, cache.CacheRecord]]:
    """Offset, length and content, but for the items, of the last whole cache record of each UID."""
    data = _read(paths.cache)
    found: dict[int, tuple[int, int, cache.CacheRecord]] = {}
    offset = cache.HEADER_SIZE
    while offset + cache.RECORD_HEADER <= len(data):
        length = int.from_bytes(data[offset : offset + 4], "little")
        whole = cache.RECORD_HEADER <= length <= len(data) - offset and not length & 7
        crc = int.from_bytes(data[offset + 4 : offset + 8], "little")
        if not whole or zlib.crc32(memoryview(data)[offset + 8 : offset + length]) != crc:
            offset += 8
            continue
        record = cache.decode_record(data[offset : offset + length])
        if record is not None:
            # Without what takes most of the memory, and is not asked for.
            found[record.uid] = (offset, length, record._replace(items=()))
        offset += length
    return found


def _drop_missing(paths: MailboxPaths, contents: Contents) -> None:
    """Records of messages whose files are not there any more are no messages."""
    if not paths.is_whole():
        # They may be in the archive.
        return
    there = np.array(paths.uids(), dtype=np.uint32)
    columns = contents.columns
    gone = np.flatnonzero(~np.isin(columns.uids[: columns.count], there))
    if len(gone):
        _log.error("{count} messages in {directory} have no file", count=len(gone), directory=str(paths.data))
        contents.restore(columns.without(gone), contents.keywords, contents.vanished, contents.retained)
        contents.recount()


def sync_messages(paths: MailboxPaths) -> None:
    """Make the file system of the message files durable."""
    fd = files.open_file(str(paths.data), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        files.syncfs(fd)
    finally:
        files.close(fd)


def _keep_damaged(paths: MailboxPaths) -> None:
    if not Path(paths.journal).exists():
        return
    files.makedirs(paths.quarantine, files.PRIVATE_DIRECTORY, exist_ok=True)
    kept = f"{paths.quarantine}/journal.{microseconds()}"
    try:
        files.link(paths.journal, kept)
    except OSError:
        files.replace_file(kept, _read(paths.journal), sync=False)


def _header_of(head: JournalHeader, contents: Contents) -> Header:
    return Header(
        head.unique_id, "", head.uidvalidity, uidnext=contents.uidnext, highest_modseq=contents.highest_modseq
    )
