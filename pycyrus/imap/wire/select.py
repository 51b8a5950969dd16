"""SELECT and EXAMINE: from their arguments to values (RFC 9051 section 6.3.2, RFC 7162 section 3.2.5)."""

from __future__ import annotations

from dataclasses import dataclass

from pycyrus.imap.wire.grammar import BadSyntax, Cursor
from pycyrus.imap.wire.remembered import read_rest
from pycyrus.model.uids import LARGEST, SequenceSet

MAX_PARAMETERS = 10


@dataclass(frozen=True, slots=True)
class Resync:
    """
    The QRESYNC parameter: what the client knew.

    @ivar known_uids: UIDs it may hold; None for all.
    @ivar sequence_match: Message numbers and their UIDs, in parallel and
        ascending (RFC 7162 section 3.2.5.2); None if it told none.
    """

    uidvalidity: int
    modseq: int
    known_uids: SequenceSet | None = None
    sequence_match: tuple[SequenceSet, SequenceSet] | None = None


@dataclass(frozen=True, slots=True)
class Select:
    """
    A SELECT or EXAMINE.

    @ivar mailbox: As the client wrote it.
    @ivar is_condstore: It asks for mod-sequences.
    @ivar is_annotate: It asks to be told which annotations others change.
    """

    mailbox: bytes
    is_condstore: bool = False
    resync: Resync | None = None
    is_annotate: bool = False


def parse_select(cursor: Cursor) -> Select:
    """C{select} or C{examine}, behind its name."""
    return read_rest(cursor, _parse_select)


def _parse_select(cursor: Cursor) -> Select:
    cursor.space()
    mailbox = cursor.astring()
    is_condstore = is_annotate = False
    resync = None
    if not cursor.at_end():
        cursor.space()
        for name, parameter in cursor.paren_list(_parse_parameter, least=1, most=MAX_PARAMETERS):
            if name == b"CONDSTORE":
                is_condstore = True
            elif name == b"ANNOTATE":
                is_annotate = True
            elif parameter is not None:
                if resync is not None:
                    raise BadSyntax(b"Duplicate Select parameter")
                resync = parameter
    cursor.end()
    return Select(mailbox, is_condstore, resync, is_annotate)


def _parse_parameter(cursor: Cursor) -> tuple[bytes, Resync | None]:
    name = cursor.name()
    if name in (b"CONDSTORE", b"ANNOTATE"):
        return name, None
    if name != b"QRESYNC":
        raise BadSyntax(b"Unrecognized Select parameter")
    cursor.space()
    cursor.expect(b"(")
    uidvalidity = cursor.nz_number()
    cursor.space()
    modseq = cursor.number64()
    if not modseq:
        raise BadSyntax(b"Invalid mod-sequence")
    known_uids = sequence_match = None
    if not cursor.take(b")"):
        cursor.space()
        if cursor.peek() != 0x28:
            known_uids = _known_set(cursor)
        if known_uids is None or cursor.take(b" "):
            sequence_match = _parse_sequence_match(cursor)
        cursor.expect(b")")
    return name, Resync(uidvalidity, modseq, known_uids, sequence_match)


def _parse_sequence_match(cursor: Cursor) -> tuple[SequenceSet, SequenceSet]:
    cursor.expect(b"(")
    numbers = _known_set(cursor)
    cursor.space()
    uids = _known_set(cursor)
    cursor.expect(b")")
    return numbers, uids


def _known_set(cursor: Cursor) -> SequenceSet:
    known = cursor.sequence_set()
    # "*" is not allowed here (RFC 7162 section 7): nobody knows what it meant.
    if any(LARGEST in bounds for bounds in known.ranges):
        raise BadSyntax(b"Invalid sequence")
    return known
