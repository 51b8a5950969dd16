"""
Telling mailboxes what the list says of them: their headers, and their journals that it changed.

The record wakes sessions of all processes, which then look where the mailbox is, and what they may do there.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from twisted.logger import Logger

from pycyrus.errors import MailboxCorrupted, StoreUnavailable
from pycyrus.model.acl_text import acl_pairs
from pycyrus.store import files, header, journal
from pycyrus.store.layout import MailboxPaths, microseconds
from pycyrus.store.locks import block_lock
from pycyrus.store.rows import Entry, Work

_log = Logger()

_FOR_NOW = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""Errors that say nothing about the mailbox: it is told when they are over."""


@dataclass(frozen=True, slots=True)
class News:
    """
    What a mailbox is to be told.

    @ivar work: C{TELL_RENAME} or C{TELL_ACL}.
    @ivar text: The mailbox's internal name.
    """

    place: MailboxPaths
    entry: Entry
    work: Work
    text: str


def tell(news: Iterable[News]) -> None:
    """
    Tell mailboxes; the caller syncs.

    @raise OSError: There is no room now, or nothing can be written.
    """
    for each in news:
        try:
            _tell_one(each.place, each.entry, each.work, each.text)
        except (OSError, StoreUnavailable) as error:
            if isinstance(error, OSError) and error.errno in _FOR_NOW:
                raise
            # The list is right, and one damaged mailbox must not keep all others from being changed.
            _log.error("Mailbox {mailbox} was not told of its change: {error}", mailbox=each.text, error=error)


def _tell_one(place: MailboxPaths, entry: Entry, work: Work, text: str) -> None:
    fd = files.open_file(place.journal, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        # Whoever writes to the journal has this lock; closing lets go of it.
        block_lock(fd)
        octets = text.encode("utf-8")
        kind = journal.RENAME if work is Work.TELL_RENAME else journal.ACL
        if kind == journal.ACL:
            octets += _acl_before(place.meta)
        record = journal.encode_record(kind, octets, count=len(octets), modseq=0, time=microseconds())
        files.write_all(fd, record, files.fstat(fd).st_size)
        # After the record, which tells what the header said before.
        rewrite_header(place.meta, entry, text)
    finally:
        files.close(fd)


def _acl_before(meta: Path) -> bytes:
    """What a header says of rights, behind a zero, for C{undo}; nothing if there is none."""
    try:
        old = header.read_header(meta)
    except MailboxCorrupted:
        return b""
    return b"\0" + "".join(f"{who}\t{rights}\t" for who, rights in old.acl).encode("utf-8")


def rewrite_header(meta: Path, entry: Entry, text: str) -> None:
    """
    Have a mailbox's header say what the list does; the caller has the lock, and syncs.

    @param text: Internal name.
    """
    try:
        old = header.read_header(meta)
    except MailboxCorrupted:
        old = header.Header(entry.unique_id, text, entry.uidvalidity, entry.mailbox_type, created=entry.created)
    new = replace(
        old, name=text, acl=acl_pairs(entry.acl), uidvalidity=entry.uidvalidity, special_use=entry.special_use
    )
    files.replace_file(str(meta / header.FILE_NAME), new.encode(), sync=False)
