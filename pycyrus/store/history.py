"""
What a mailbox was like before: its journal, read up to some time.

A journal that is written anew keeps the records of the retention as they were,
behind a state that stands for all that came before (see
L{pycyrus.store.checkpoint}), so the state at any time since then is a replay
up to the first record that is later.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from pycyrus.errors import MailboxCorrupted
from pycyrus.model.acl import Acl
from pycyrus.model.acl_text import BadAcl, parse_acl
from pycyrus.store import files, journal
from pycyrus.store.contents import Contents
from pycyrus.store.journal import HEADER_SIZE, RECORD_HEADER, JournalHeader, Record
from pycyrus.store.layout import MailboxPaths
from pycyrus.store.loading import open_journal

_CHUNK = 1 << 22
"""Octets of journal that are read at a time: long ones are not held in memory."""


@dataclass(slots=True)
class Folded:
    """
    The beginning of a journal.

    @ivar contents: What it says.
    @ivar offset: Where it ends.
    @ivar since: Time of its first record, in microseconds: before that nothing
        is known.
    @ivar latest: Time of its last record.
    """

    contents: Contents = field(default_factory=Contents)
    offset: int = HEADER_SIZE
    since: int = 0
    latest: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """
    A mailbox as it was.

    @ivar contents: What was in it; None where the journal does not reach back
        so far.
    @ivar since: How far it reaches, in microseconds.
    @ivar restored: Messages that came back since then under another UID: the
        UID that each had, and the one that it got.
    @ivar acl: The access control list, if it was changed since.
    """

    contents: Contents | None
    since: int
    restored: dict[int, int]
    acl: Acl | None


def chunks(fd: int, start: int, stop: int) -> Iterator[tuple[int, list[Record]]]:
    """
    Whole records of a part of a journal, some at a time, each time with the offset of the first.

    @raise OSError: It cannot be read.
    """
    rest = b""
    while start + len(rest) < stop:
        known = start + len(rest)
        data = files.read_all(fd, min(_CHUNK, stop - known), known)
        if not data:
            return
        rest += data
        found, used = journal.scan(rest)
        if found:
            yield start, found
        elif len(rest) > journal.MAX_RECORD:
            return
        rest = rest[used:]
        start += used


def fold(fd: int, stop: int, until: int, at_least: int = 0) -> Folded:
    """
    Replay a journal up to the first record that is later than a time.

    @param stop: Offset to which to go at most; a record must end there.
    @param until: Microseconds.
    @param at_least: An offset up to which records are replayed, however late.
    """
    folded = Folded()
    for at, found in chunks(fd, HEADER_SIZE, stop):
        folded.since = folded.since or found[0].time
        taken, folded.offset = _until(found, at, until, at_least)
        if taken:
            folded.contents.apply(found[:taken])
            folded.latest = found[taken - 1].time
        if taken < len(found):
            break
    return folded


def _until(found: list[Record], offset: int, until: int, at_least: int) -> tuple[int, int]:
    """How many of some records count, and where these end."""
    for index, record in enumerate(found):
        if record.time > until and offset >= at_least:
            return index, offset
        offset += RECORD_HEADER + len(record.payload)
    return len(found), offset


def first_time(paths: MailboxPaths) -> int:
    """
    How far a journal reaches back.

    @return: Microseconds; 0 if it does not say.
    @raise MailboxNotFound: There is none.
    @raise OSError: It cannot be read.
    """
    fd = open_journal(paths)
    try:
        # The first record is one of numbers, and short.
        found, _ = journal.scan(files.pread(fd, 256, HEADER_SIZE))
        return found[0].time if found else 0
    finally:
        files.close(fd)


def look_back(paths: MailboxPaths, when: int) -> Past:
    """
    Read what a mailbox was like; it blocks.

    @param when: Microseconds.
    @raise MailboxNotFound: There is no journal.
    @raise MailboxCorrupted: Its head is damaged.
    @raise OSError: It cannot be read.
    """
    fd = open_journal(paths)
    try:
        JournalHeader.decode(files.pread(fd, HEADER_SIZE, 0))
        stop = files.fstat(fd).st_size
        folded = fold(fd, stop, when)
        restored: dict[int, int] = {}
        acl: Acl | None = None
        for _, found in chunks(fd, folded.offset, stop):
            for record in found:
                if record.type == journal.UNEXPUNGE:
                    rows = journal.unpack_rows(record, journal.RESTORED_ROW)
                    restored.update(zip(rows["was"].tolist(), rows["uid"].tolist(), strict=True))
                elif record.type == journal.ACL and acl is None:
                    acl = _acl_before(record)
        reaches = bool(folded.since) and folded.since <= when
        return Past(folded.contents if reaches else None, folded.since, restored, acl)
    finally:
        files.close(fd)


def _acl_before(record: Record) -> Acl | None:
    """The access control list that a change of it replaced; None if the record does not tell."""
    _, told, old = bytes(record.payload[: record.count]).partition(b"\0")
    try:
        return parse_acl(old.decode("utf-8")) if told else None
    except (BadAcl, UnicodeDecodeError):
        raise MailboxCorrupted("an access control list in the journal is damaged") from None
