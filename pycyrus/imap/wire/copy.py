"""COPY, MOVE and UID EXPUNGE, and the response codes of RFC 4315 (RFC 9051 sections 6.4.7 to 6.4.9)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pycyrus.imap.wire.grammar import Cursor
from pycyrus.model.uids import SequenceSet, UidArray


@dataclass(frozen=True, slots=True)
class Copy:
    """
    COPY, MOVE, UID COPY or UID MOVE.

    @ivar sequence: Which messages; None for C{$}.
    @ivar mailbox: Where to, as the client wrote it.
    """

    sequence: SequenceSet | None
    by_uid: bool
    mailbox: bytes


def parse_copy(cursor: Cursor) -> Copy:
    """C{copy}, behind C{COPY} or C{MOVE}."""
    return _parse(cursor, by_uid=False)


def parse_uid_copy(cursor: Cursor) -> Copy:
    """C{copy}, behind C{UID COPY} or C{UID MOVE}."""
    return _parse(cursor, by_uid=True)


def _parse(cursor: Cursor, *, by_uid: bool) -> Copy:
    cursor.space()
    sequence = cursor.sequence_set_or_saved()
    cursor.space()
    mailbox = cursor.astring()
    cursor.end()
    return Copy(sequence, by_uid, mailbox)


@dataclass(frozen=True, slots=True)
class UidExpunge:
    """RFC 4315 section 2.1; C{sequence} is None for C{$}."""

    sequence: SequenceSet | None


def parse_uid_expunge(cursor: Cursor) -> UidExpunge:
    """C{uid-expunge}, behind C{UID EXPUNGE}."""
    cursor.space()
    sequence = cursor.sequence_set_or_saved()
    cursor.end()
    return UidExpunge(sequence)


def encode_uid_set(uids: UidArray) -> bytes:
    """
    Write a C{uid-set} in the order of the UIDs (RFC 4315 section 4).

    Only ascending runs become ranges, so that two sets written so run in parallel.
    """
    wide = uids.astype(np.int64)
    breaks = np.flatnonzero(np.diff(wide) != 1)
    starts = wide[np.concatenate(([0], breaks + 1))].tolist()
    stops = wide[np.concatenate((breaks, [len(wide) - 1]))].tolist()
    return b",".join(
        b"%d" % low if low == high else b"%d:%d" % (low, high) for low, high in zip(starts, stops, strict=True)
    )


def encode_copyuid(uidvalidity: int, sources: UidArray, targets: UidArray) -> bytes:
    """Write C{[COPYUID ...]} for at least one message (RFC 4315 section 3)."""
    return b"[COPYUID %d %b %b]" % (uidvalidity, encode_uid_set(sources), encode_uid_set(targets))
