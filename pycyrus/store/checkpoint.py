"""
Work on a mailbox's files that can wait: snapshots, and rewriting a long journal.

Everything here blocks, and runs in a thread on a copy of the contents that is
read from the disk, so the reactor's own copy is not touched.
"""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass, replace

from pycyrus.store import files, journal, snapshot
from pycyrus.store.cache_renewal import CacheRenewal
from pycyrus.store.contents import Contents
from pycyrus.store.history import Folded, first_time, fold
from pycyrus.store.journal import JournalHeader
from pycyrus.store.layout import MailboxPaths, microseconds
from pycyrus.store.loading import Loaded, load, open_journal
from pycyrus.store.locks import block_lock, unlock
from pycyrus.store.rebuild import encode_journal, sync_messages

SNAPSHOT_TAIL = 1 << 17
"""Octets of journal behind the snapshot that are worth a new one."""
COMPACT_FROM = 1 << 20
"""Octets below which a journal is never rewritten."""
COMPACT_RATIO = 4
"""A journal is rewritten when it is this many times as long as it need be."""
_CHUNK = 1 << 22
_CREATE = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW

VANISHED_KEPT = 100_000
"""Expunges remembered for VANISHED (EARLIER) when a journal is rewritten."""

HISTORY_MOST = 16 << 20
"""Octets of records that are kept for C{undo} at most, however short their time was."""


def wants_snapshot(offset: int, snapshot_offset: int, count: int) -> bool:
    """Whether the tail is long, for a mailbox of C{count} messages."""
    return offset - snapshot_offset > SNAPSHOT_TAIL + count * 16


def needed(contents: Contents) -> int:
    """About how many octets a journal needs to say what a mailbox has."""
    rows = contents.columns.count * journal.STATE_ROW.itemsize
    return rows + contents.history() * journal.RETAINED_ROW.itemsize + contents.annotations.weight


def wants_compaction(offset: int, least: int) -> bool:
    """
    Whether the journal is much longer than what it says.

    @param least: What it L{needed}.
    """
    return offset > COMPACT_FROM + COMPACT_RATIO * least


def keeps_too_much(paths: MailboxPaths, offset: int, least: int, retention: float) -> bool:
    """
    Whether a long journal has much that is older than the retention, or too much altogether.

    It is written anew once in the time of the retention at most, and so keeps up to
    two of them.

    @param least: What it L{needed}.
    @param retention: Seconds.
    @raise MailboxNotFound: There is no journal.
    @raise OSError: It cannot be read.
    """
    if not retention or offset > COMPACT_FROM + COMPACT_RATIO * least + HISTORY_MOST:
        return True
    return first_time(paths) <= microseconds() - 2 * round(retention * 1_000_000)


def take_snapshot(paths: MailboxPaths) -> int:
    """
    Write a snapshot of what the journal says now.

    @return: The journal's offset that it stands for.
    @raise OSError: The older snapshot is still there.
    """
    loaded = load(paths)
    try:
        # A snapshot must not be on the disk before what it stands for.
        files.fdatasync(loaded.fd)
        _save(paths, loaded, loaded.header.generation, loaded.offset)
        return loaded.offset
    finally:
        files.close(loaded.fd)


def put_snapshot(paths: MailboxPaths, data: bytearray, generation: int, unique_id: str, offset: int) -> int:
    """
    Write a snapshot that was made of the contents in memory.

    @param generation: Of the journal that it stands for, up to C{offset}.
    @return: C{offset}; 0 if it is another journal by now.
    @raise MailboxNotFound: There is no journal.
    @raise OSError: The older snapshot is still there.
    """
    fd = open_journal(paths)
    try:
        head = JournalHeader.decode(files.pread(fd, journal.HEADER_SIZE, 0))
        if head.generation != generation or head.unique_id != unique_id:
            return 0
        # As in take_snapshot.
        files.fdatasync(fd)
        files.replace_file(paths.columns, data, sync=False)
        return offset
    finally:
        files.close(fd)


def _save(paths: MailboxPaths, loaded: Loaded, generation: int, offset: int) -> None:
    snapshot.write(paths.columns, loaded.contents, generation, offset, loaded.header.unique_id)


def compact(paths: MailboxPaths, retention: float = 0.0, *, renew_cache: bool = False) -> int:
    """
    Write the journal anew, as short as it can be, and put it in place of the old.

    The bulk is written and synced without the lock.  The lock is then held
    while the records that came meanwhile are copied and synced: they were
    acknowledged, and must not be less durable than before.  Readers find the
    old journal unlinked, read it to its end, and go on at C{joined_at}.

    @param retention: Seconds for which records are kept as they are, behind the
        state that all before them made.
    @param renew_cache: The cache as well, even if the journal cannot become shorter.
    @return: The offset of the new journal that a snapshot stands for; 0 if there is none.
    @raise OSError: The old journal is still in place.
    """
    loaded = load(paths)
    renewal: CacheRenewal | None = None
    try:
        base = _base(loaded, retention)
        if base.offset == journal.HEADER_SIZE and not renew_cache:
            # All of it is to be kept as it is.
            return 0
        forget_old(base.contents)
        if renew_cache:
            renewal = CacheRenewal(paths, loaded.header.cache_generation)
        with files.temporary_name(paths.journal) as new_path:
            return _rewrite(paths, loaded, base, renewal, new_path)
    finally:
        if renewal is not None:
            renewal.close()
        files.close(loaded.fd)


def _rewrite(
    paths: MailboxPaths, loaded: Loaded, base: Folded, renewal: CacheRenewal | None, new_path: str
) -> int:  # fmt: skip
    old = loaded.header
    cache_generation = old.cache_generation if renewal is None else renewal.generation
    head = JournalHeader(old.generation + 1, 0, cache_generation, old.uidvalidity, old.unique_id)
    body = encode_journal(base.contents, head, base.latest)
    fd = files.open_file(new_path, _CREATE, files.PRIVATE)
    try:
        files.write_all(fd, body, 0)
        size = len(body) + _copy(loaded.fd, base.offset, loaded.offset, fd, len(body))
        if renewal is not None:
            size += files.write_all(fd, renewal.add(loaded.contents), size)
        # Message files as well: the new journal says that all of them are durable.
        files.syncfs(fd)
        if files.stat(paths.data).st_dev != files.fstat(fd).st_dev:
            sync_messages(paths)
        if _switch(paths, loaded, _New(new_path, fd, head, size), renewal):
            # Where history is kept, it would be replayed by all who open the mailbox.
            return take_snapshot(paths) if size > len(body) else 0
    finally:
        files.close(fd)
        with contextlib.suppress(FileNotFoundError):
            files.unlink(new_path)
    return 0


def _base(loaded: Loaded, retention: float) -> Folded:
    """What is told as a state, without its history."""
    now = microseconds()
    if not retention:
        return Folded(loaded.contents, loaded.offset, now, now)
    until = now - round(retention * 1_000_000)
    least = max(loaded.offset - HISTORY_MOST // 2, 0)
    folded = fold(loaded.fd, loaded.offset, until, least)
    # The state stayed the same until the first record that is kept.
    folded.latest = max(folded.latest, until)
    return folded


def _copy(source: int, start: int, stop: int, target: int, at: int) -> int:
    """
    Copy a part of a file.

    @return: How many octets.
    """
    done = 0
    while start + done < stop:
        data = files.read_all(source, min(_CHUNK, stop - start - done), start + done)
        if not data:
            raise OSError(errno.EIO, "journal became shorter")
        files.write_all(target, data, at + done)
        done += len(data)
    return done


@dataclass(frozen=True, slots=True)
class _New:
    """A journal that is to take another's place, and how long it is by now."""

    path: str
    fd: int
    head: JournalHeader
    size: int


def _switch(paths: MailboxPaths, loaded: Loaded, new: _New, renewal: CacheRenewal | None) -> bool:
    fd = new.fd
    block_lock(loaded.fd)
    try:
        here, mine = files.stat(paths.journal), files.fstat(loaded.fd)
        if here.st_ino != mine.st_ino:
            return False
        tail = files.read_all(loaded.fd, mine.st_size - loaded.offset, loaded.offset)
        records, used = journal.scan(tail)
        if used != len(tail):
            # A torn tail is for recovery, not for us.
            return False
        if renewal is not None:
            loaded.contents.apply(records)
            tail += renewal.add(loaded.contents)
        joined = replace(new.head, joined_at=new.size + len(tail))
        files.write_all(fd, tail, new.size)
        files.write_all(fd, joined.encode(), 0)
        files.fdatasync(fd)
        # Who wrote to the old one syncs what has its name by then, and that name may not last.
        files.fdatasync(loaded.fd)
        if renewal is not None:
            renewal.settle()
        # Nor may anybody write to what has no lasting name: not who finds the new one by its name, either.
        block_lock(fd)
        files.rename(new.path, paths.journal)
        files.sync_directory(str(paths.meta))
    finally:
        # Who has the old one's lock follows to the new one, and finds it free.
        unlock(fd)
        unlock(loaded.fd)
    return True


def forget_old(contents: Contents) -> None:
    """Forget the oldest expunges beyond what is kept."""
    vanished = contents.vanished
    if len(vanished) <= VANISHED_KEPT:
        return
    cut = len(vanished) - VANISHED_KEPT
    contents.vanished_floor = max(contents.vanished_floor, int(vanished["modseq"][cut - 1]))
    kept = vanished[vanished["modseq"] > contents.vanished_floor]
    contents.restore(contents.columns, contents.keywords, kept, contents.retained)
