"""STORE: from its arguments to values (RFC 9051 section 6.4.6, RFC 7162 section 3.1.3)."""

from __future__ import annotations

from dataclasses import dataclass

from pycyrus.imap.wire.annotations import AnnotationName, parse_values
from pycyrus.imap.wire.flags import flags_of
from pycyrus.imap.wire.grammar import BadSyntax, Cursor
from pycyrus.imap.wire.remembered import read_rest
from pycyrus.model.flags import FlagAction, FlagChange
from pycyrus.model.uids import SequenceSet

MAX_FLAGS = 200

ACTIONS = {
    b"FLAGS": FlagAction.REPLACE,
    b"+FLAGS": FlagAction.ADD,
    b"-FLAGS": FlagAction.REMOVE,
}


@dataclass(frozen=True, slots=True)
class Store:
    """
    A STORE or UID STORE.

    @ivar sequence: Which messages; None for C{$}.
    @ivar is_silent: The client needs no reply with the flags.
    @ivar unchanged_since: Only messages with no higher modseq.
    """

    sequence: SequenceSet | None
    by_uid: bool
    change: FlagChange
    is_silent: bool = False
    unchanged_since: int | None = None


@dataclass(frozen=True, slots=True)
class StoreAnnotations:
    """
    A STORE or UID STORE of annotations (RFC 5257 section 4.4).

    @ivar sequence: Which messages; None for C{$}.
    @ivar values: None removes one.
    @ivar unchanged_since: Only messages with no higher modseq.
    """

    sequence: SequenceSet | None
    by_uid: bool
    values: tuple[tuple[AnnotationName, bytes | None], ...]
    unchanged_since: int | None = None


def parse_store(cursor: Cursor) -> Store | StoreAnnotations:
    """C{store}, behind C{STORE}."""
    return _parse(cursor, by_uid=False)


def parse_uid_store(cursor: Cursor) -> Store | StoreAnnotations:
    """C{store}, behind C{UID STORE}."""
    return _parse(cursor, by_uid=True)


def _parse(cursor: Cursor, *, by_uid: bool) -> Store | StoreAnnotations:
    cursor.space()
    sequence = cursor.sequence_set_or_saved()
    change, is_silent, unchanged_since = read_rest(cursor, _parse_change)
    if isinstance(change, tuple):
        return StoreAnnotations(sequence, by_uid, change, unchanged_since)
    return Store(sequence, by_uid, change, is_silent, unchanged_since)


def _parse_change(
    cursor: Cursor,
) -> tuple[FlagChange | tuple[tuple[AnnotationName, bytes | None], ...], bool, int | None]:
    """What is to be done with the messages."""
    cursor.space()
    unchanged_since = None
    if cursor.peek() == 0x28:
        [unchanged_since] = cursor.paren_list(_parse_modifier, least=1, most=1)
        cursor.space()
    if cursor.take(b"ANNOTATION"):
        cursor.space()
        values = parse_values(cursor)
        cursor.end()
        return values, False, unchanged_since
    sign = b"+" if cursor.take(b"+") else b"-" if cursor.take(b"-") else b""
    name = cursor.name()
    is_silent = name.endswith(b".SILENT")
    action = ACTIONS.get(sign + name.removesuffix(b".SILENT"))
    if action is None:
        raise BadSyntax(b"Invalid Store attribute")
    cursor.space()
    flags = flags_of(_parse_flags(cursor))
    cursor.end()
    return FlagChange(action, flags), is_silent, unchanged_since


def _parse_flags(cursor: Cursor) -> list[bytes]:
    """A flag list, or flags without parentheses."""
    if cursor.peek() == 0x28:
        names = cursor.flag_list()
    else:
        names = [cursor.flag()]
        while not cursor.at_end() and len(names) <= MAX_FLAGS:
            cursor.space()
            names.append(cursor.flag())
    if len(names) > MAX_FLAGS:
        raise BadSyntax(b"Too many flags")
    return names


def _parse_modifier(cursor: Cursor) -> int:
    if cursor.name() != b"UNCHANGEDSINCE":
        raise BadSyntax(b"Unrecognized Store modifier")
    cursor.space()
    return cursor.number64()
