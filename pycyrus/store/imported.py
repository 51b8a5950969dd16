"""
A mailbox made of another kind of server's records: its numbers, flags and dates stay what they were.

Everything here waits for the disk, and runs on a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pycyrus.errors import TooManyKeywords, TransferFailed
from pycyrus.mime.summary import sent_or_arrived
from pycyrus.model.flags import MAX_KEYWORDS
from pycyrus.store import files, journal
from pycyrus.store.items import summary_of
from pycyrus.store.journal import JournalHeader
from pycyrus.store.layout import MODSEQS_PER_UID, MailboxPaths, microseconds
from pycyrus.store.message_annotations import Change, encode

_LARGEST_UID = 0xFFFFFFFE
_LARGEST_MODSEQ = 2**63 - 1


@dataclass(frozen=True, slots=True)
class ImportedMessage:
    """
    A message as its record had it.

    @ivar flags: Bits of system flags.
    @ivar expunged: When it was, in seconds since the epoch; None if it is there.
    @ivar annotations: User id (empty for everybody's), entry and value of each (RFC 5257).
    """

    uid: int
    modseq: int
    flags: int
    keywords: tuple[bytes, ...]
    internaldate: int
    savedate: int
    size: int
    guid: bytes
    expunged: int | None = None
    annotations: tuple[tuple[str, str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class ImportedMailbox:
    """
    A mailbox likewise.

    @ivar recent: The highest UID that is not recent any more.
    @ivar messages: In any order.
    """

    unique_id: str
    uidvalidity: int
    last_uid: int
    highest_modseq: int
    recent: int
    messages: Sequence[ImportedMessage]


def build(paths: MailboxPaths, mailbox: ImportedMailbox, find: Callable[[bytes], str | None]) -> list[ImportedMessage]:
    """
    Make the files of a mailbox; what is there of it already is used.

    @param find: Where the file of a message is; None if it did not come.
    @return: The messages that have files.
    @raise TransferFailed: The file of a message is missing, or a number is none.
    @raise TooManyKeywords: There are.
    @raise OSError: They cannot be made.
    """
    for directory in dict.fromkeys((paths.data, paths.meta)):
        files.makedirs(directory, files.PRIVATE_DIRECTORY, exist_ok=True)
    messages = sorted(mailbox.messages, key=lambda message: message.uid)
    kept = [message for message in messages if _link(paths, message, find)]
    _check_numbers(mailbox, messages)
    files.replace_file(paths.journal, _journal(paths, mailbox, messages, kept), sync=False)
    return kept


def _link(paths: MailboxPaths, message: ImportedMessage, find: Callable[[bytes], str | None]) -> bool:
    source = find(message.guid)
    if source is None:
        if message.expunged is None:
            raise TransferFailed(f"message {message.uid} did not come")
        return False
    try:
        files.link(source, paths.message(message.uid))
    except FileExistsError:
        if not Path(source).samefile(paths.message(message.uid)):
            raise TransferFailed(f"message {message.uid} is another one than before") from None
    return True


def _check_numbers(mailbox: ImportedMailbox, messages: Sequence[ImportedMessage]) -> None:
    uids = [message.uid for message in messages]
    if any(not 0 < uid <= _LARGEST_UID for uid in uids) or len(set(uids)) < len(uids):
        raise TransferFailed("UIDs that are none, or come twice")
    if any(not 0 <= message.modseq <= _LARGEST_MODSEQ for message in messages):
        raise TransferFailed("a modseq that is none")
    if not 0 < mailbox.uidvalidity <= 0xFFFFFFFF or not 0 <= mailbox.last_uid <= _LARGEST_UID:
        raise TransferFailed("numbers of a mailbox that are none")


def _journal(
    paths: MailboxPaths,
    mailbox: ImportedMailbox,
    messages: Sequence[ImportedMessage],
    kept: Sequence[ImportedMessage],
) -> bytes:
    now = microseconds()
    uidnext = max([mailbox.last_uid, *(message.uid for message in messages)]) + 1
    modseq = max([mailbox.highest_modseq, 1, *(message.modseq for message in messages)])
    names = _keyword_names(kept)
    bits = {name.lower(): bit for bit, name in enumerate(names)}
    live = [message for message in kept if message.expunged is None]
    gone = [message for message in kept if message.expunged is not None]
    files_of_kept = {message.uid for message in kept}
    vanished = np.zeros(len(messages) - len(kept), dtype=journal.VANISHED_ROW)
    for row, message in zip(vanished, (each for each in messages if each.uid not in files_of_kept), strict=True):
        row["uid"], row["modseq"] = message.uid, message.modseq
    retained = np.zeros(len(gone), dtype=journal.RETAINED_ROW)
    _fill(retained, gone, bits, paths)
    for row, message in zip(retained, gone, strict=True):
        row["expunge_modseq"], row["expunge_time"] = message.modseq, (message.expunged or 0) * 1_000_000
    state = np.zeros(len(live), dtype=journal.STATE_ROW)
    _fill(state, live, bits, paths)
    limits = (uidnext + 1, modseq + MODSEQS_PER_UID)
    return b"".join(
        [
            JournalHeader(1, 0, 1, mailbox.uidvalidity, mailbox.unique_id).encode(),
            # Who knows less than all of this asks what is not there: expunges before are not known.
            journal.numbers_record(uidnext, modseq, modseq, mailbox.recent, now),
            *(journal.keyword_record(bit, name, now) for bit, name in enumerate(names)),
            *(
                journal.rows_record(kind, rows, now)
                for kind, rows in ((journal.STATE, state), (journal.VANISHED, vanished), (journal.RETAINED, retained))
                if len(rows)
            ),
            *(
                encode(Change((user, entry), value), [(message.uid, message.uid)], message.modseq, now, exact=True)
                for message in live
                for user, entry, value in message.annotations
            ),
            journal.reserve_record(*limits, files.boot_id(), now, confirmed=False),
            journal.reserve_record(*limits, files.boot_id(), now, confirmed=True),
        ]
    )


def _keyword_names(messages: Sequence[ImportedMessage]) -> list[bytes]:
    names: dict[bytes, bytes] = {}
    for message in messages:
        for name in message.keywords:
            names.setdefault(name.lower(), name)
    if len(names) > MAX_KEYWORDS:
        raise TooManyKeywords("more keywords than a mailbox can have")
    return list(names.values())


def _fill(
    rows: NDArray[np.void], messages: Sequence[ImportedMessage], bits: dict[bytes, int], paths: MailboxPaths
) -> None:
    for row, message in zip(rows, messages, strict=True):
        row["uid"], row["size"], row["modseq"] = message.uid, message.size, message.modseq
        row["internaldate"], row["savedate"] = message.internaldate, message.savedate
        summary = summary_of(paths.message(message.uid))
        row["sent_time"], row["sent_day"] = sent_or_arrived(summary.sent, message.internaldate)
        row["flags"] = message.flags
        words = [0, 0]
        for name in message.keywords:
            bit = bits[name.lower()]
            words[bit // 64] |= 1 << bit % 64
        row["keywords"] = words
        row["guid"] = np.void(message.guid)
