"""
FETCH: from its arguments to values (RFC 9051 section 6.4.5, RFC 7162 section 3.1.4).

What the answers look like stands in C{fetch_lines.py}.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, replace
from functools import partial
from typing import Union

from pycyrus.imap.wire import grammar
from pycyrus.imap.wire.annotations import Annotation, parse_fetched
from pycyrus.imap.wire.grammar import BadSyntax, Cursor
from pycyrus.imap.wire.partial import Partial, parse_partial
from pycyrus.imap.wire.remembered import read_rest
from pycyrus.mime.sections import SectionText
from pycyrus.model.uids import SequenceSet

MAX_ITEMS = 500
"""Items in one FETCH."""
MAX_FIELDS = 1000
"""Header field names in one item."""
MAX_FIELD_LENGTH = 998
MAX_PART_DEPTH = 100


class Column(enum.Enum):
    """Items that come from the columns and the cache; the value is the name on the wire."""

    UID = b"UID"
    FLAGS = b"FLAGS"
    MODSEQ = b"MODSEQ"
    INTERNALDATE = b"INTERNALDATE"
    SIZE = b"RFC822.SIZE"
    ENVELOPE = b"ENVELOPE"
    BODYSTRUCTURE = b"BODYSTRUCTURE"
    BODY = b"BODY"
    PREVIEW = b"PREVIEW"
    SAVEDATE = b"SAVEDATE"
    EMAILID = b"EMAILID"
    THREADID = b"THREADID"


@dataclass(frozen=True, slots=True)
class Section:
    """
    Octets of a message, or some of them (C{BODY[...]}, C{RFC822}, C{RFC822.HEADER}, C{RFC822.TEXT}).

    @ivar label: What the response calls it.
    @ivar part: Part numbers; empty for the message itself.
    @ivar text: What of the part.
    @ivar fields: Upper-case names for HEADER.FIELDS and HEADER.FIELDS.NOT;
        None for all.
    @ivar invert: All fields but these.
    @ivar origin: First octet wanted; None if all are.
    @ivar length: Octets wanted at most, with an origin.
    @ivar peek: Does not set the seen flag.
    """

    label: bytes
    part: tuple[int, ...] = ()
    text: SectionText = SectionText.WHOLE
    fields: frozenset[bytes] | None = None
    invert: bool = False
    origin: int | None = None
    length: int = 0
    peek: bool = False


@dataclass(frozen=True, slots=True)
class Binary:
    """
    Decoded octets of a part (RFC 3516, RFC 9051 section 6.4.5), or their number.

    @ivar size: C{BINARY.SIZE}: only their number.
    """

    label: bytes
    part: tuple[int, ...]
    origin: int | None = None
    length: int = 0
    peek: bool = False
    size: bool = False


FetchItem = Union[Column, Section, Binary, Annotation]  # noqa: UP007 - runtime alias


@dataclass(frozen=True, slots=True)
class Fetch:
    """
    A FETCH or UID FETCH.

    @ivar sequence: Which messages; None for C{$}.
    @ivar by_uid: Whether C{sequence} has UIDs.
    @ivar items: In the order asked for, each once.
    @ivar changed_since: Only messages with a higher modseq.
    @ivar vanished: Tell also what was expunged since (RFC 7162 section 3.2.6).
    @ivar partial: Only some of the messages (RFC 9394 section 3.3).
    """

    sequence: SequenceSet | None
    by_uid: bool
    items: tuple[FetchItem, ...]
    changed_since: int | None = None
    vanished: bool = False
    partial: Partial | None = None

    @property
    def sets_seen(self) -> bool:
        """Whether any item sets the seen flag."""
        return any(isinstance(item, Section | Binary) and not item.peek for item in self.items)


_FAST = (Column.FLAGS, Column.INTERNALDATE, Column.SIZE)
MACROS: dict[bytes, tuple[FetchItem, ...]] = {
    b"FAST": _FAST,
    b"ALL": (*_FAST, Column.ENVELOPE),
    b"FULL": (*_FAST, Column.ENVELOPE, Column.BODY),
}

ITEMS: dict[bytes, FetchItem] = {
    **{column.value: column for column in Column},
    b"RFC822": Section(b"RFC822"),
    # Of frontends of a Cyrus Murder.
    b"RFC822.PEEK": Section(b"RFC822", peek=True),
    b"RFC822.HEADER": Section(b"RFC822.HEADER", text=SectionText.HEADER, peek=True),
    b"RFC822.TEXT": Section(b"RFC822.TEXT", text=SectionText.TEXT),
}

_PART = re.compile(rb"[1-9][0-9]{0,9}+(?:\.[1-9][0-9]{0,9}+)*+")
_SECTION_TEXTS = {
    b"HEADER": SectionText.HEADER,
    b"TEXT": SectionText.TEXT,
    b"MIME": SectionText.MIME,
    b"HEADER.FIELDS": SectionText.HEADER,
    b"HEADER.FIELDS.NOT": SectionText.HEADER,
}


def parse_fetch(cursor: Cursor) -> Fetch:
    """C{fetch}, behind C{FETCH}."""
    return _parse(cursor, by_uid=False)


def parse_uid_fetch(cursor: Cursor) -> Fetch:
    """C{fetch}, behind C{UID FETCH}."""
    return _parse(cursor, by_uid=True)


def _parse(cursor: Cursor, *, by_uid: bool) -> Fetch:
    cursor.space()
    sequence = cursor.sequence_set_or_saved()
    items, modifiers = read_rest(cursor, _parse_uid_wanted if by_uid else _parse_wanted)
    return Fetch(sequence, by_uid, items, *modifiers)


def _parse_wanted(cursor: Cursor, *, by_uid: bool = False) -> tuple[tuple[FetchItem, ...], Modifiers]:
    """Items and modifiers."""
    cursor.space()
    wanted = _parse_items(cursor)
    modifiers: Modifiers = (None, False, None)
    if not cursor.at_end():
        cursor.space()
        modifiers = _parse_modifiers(cursor)
    changed_since, vanished, partial = modifiers
    cursor.end()
    if vanished and (changed_since is None or not by_uid):
        raise BadSyntax(b"VANISHED needs UID FETCH and CHANGEDSINCE")
    if partial is not None and not by_uid:
        raise BadSyntax(b"PARTIAL needs UID FETCH")
    # The same item twice is answered once, in its first place.
    items = list(dict.fromkeys(wanted))
    if by_uid and Column.UID not in items:
        items.insert(0, Column.UID)
    if changed_since is not None and Column.MODSEQ not in items:
        items.append(Column.MODSEQ)
    return tuple(items), modifiers


_parse_uid_wanted = partial(_parse_wanted, by_uid=True)


def _parse_items(cursor: Cursor) -> list[FetchItem]:
    if cursor.peek() == 0x28:
        return cursor.paren_list(_parse_item, least=1, most=MAX_ITEMS)
    name = cursor.name()
    if name in MACROS:
        return list(MACROS[name])
    return [_item_of_name(cursor, name)]


def parse_items(cursor: Cursor) -> tuple[FetchItem, ...]:
    """C{fetch-att}s behind an opening parenthesis, up to the closing one; they set no flag."""
    items = [_parse_item(cursor)]
    while not cursor.take(b")"):
        if len(items) >= MAX_ITEMS:
            raise BadSyntax(b"Too many arguments")
        cursor.space()
        items.append(_parse_item(cursor))
    return tuple(
        replace(item, peek=True) if isinstance(item, Section | Binary) else item
        for item in dict.fromkeys((Column.UID, *items))
    )


def _parse_item(cursor: Cursor) -> FetchItem:
    return _item_of_name(cursor, cursor.name())


def _item_of_name(cursor: Cursor, name: bytes) -> FetchItem:
    if cursor.peek() == 0x5B:  # [
        if name in (b"BODY", b"BODY.PEEK"):
            return parse_section(cursor, peek=name == b"BODY.PEEK")
        if name in (b"BINARY", b"BINARY.PEEK", b"BINARY.SIZE"):
            return _parse_binary(cursor, name)
        raise BadSyntax(b"Invalid Fetch attribute")
    if name == b"ANNOTATION":
        return parse_fetched(cursor)
    item = ITEMS.get(name)
    if item is None:
        raise BadSyntax(b"Invalid Fetch attribute")
    if item is Column.PREVIEW:
        # It is ready at any time, so a client that would do without gets it as well (RFC 8970 section 3.2).
        cursor.take(b" (LAZY)")
    return item


def _parse_part(cursor: Cursor) -> tuple[tuple[int, ...], bool]:
    """Part numbers, and whether a dot and a text follow."""
    following = cursor.peek()
    if not 0x31 <= following <= 0x39:
        return (), False
    numbers = cursor.match(_PART, b"Invalid body section").split(b".")
    if len(numbers) > MAX_PART_DEPTH:
        raise BadSyntax(b"Invalid body section")
    return tuple(map(int, numbers)), cursor.take(b".")


def parse_section(cursor: Cursor, *, peek: bool = True) -> Section:
    """C{section}, from its bracket on, and C{partial}."""
    cursor.expect(b"[")
    part, more = _parse_part(cursor)
    label = b".".join(b"%d" % number for number in part)
    text, fields, invert = SectionText.WHOLE, None, False
    if more or (not part and cursor.peek() != 0x5D):
        name = cursor.name()
        if name not in _SECTION_TEXTS or (name == b"MIME" and not part):
            raise BadSyntax(b"Invalid body section")
        text = _SECTION_TEXTS[name]
        label = label + b"." + name if part else name
        if name.startswith(b"HEADER.FIELDS"):
            cursor.space()
            names = cursor.paren_list(_parse_field_name, least=1, most=MAX_FIELDS)
            label += b" (%b)" % b" ".join(map(grammar.astring, names))
            fields = frozenset(each.upper() for each in names)
            invert = name == b"HEADER.FIELDS.NOT"
    cursor.expect(b"]")
    origin, length = _parse_partial(cursor)
    return Section(_labelled(b"BODY[%b]" % label, origin), part, text, fields, invert, origin, length, peek)


def _parse_field_name(cursor: Cursor) -> bytes:
    name = cursor.astring()
    # It comes back in the label of the response, which must stay one line.
    if not name or len(name) > MAX_FIELD_LENGTH or not name.isascii() or b"\r" in name or b"\n" in name:
        raise BadSyntax(b"Invalid header field name")
    return name


def _parse_binary(cursor: Cursor, name: bytes) -> Binary:
    cursor.expect(b"[")
    part, more = _parse_part(cursor)
    if more:
        raise BadSyntax(b"Invalid body section")
    cursor.expect(b"]")
    label = b".".join(b"%d" % number for number in part)
    if name == b"BINARY.SIZE":
        return Binary(b"BINARY.SIZE[%b]" % label, part, peek=True, size=True)
    origin, length = _parse_partial(cursor)
    return Binary(_labelled(b"BINARY[%b]" % label, origin), part, origin, length, name == b"BINARY.PEEK")


def _parse_partial(cursor: Cursor) -> tuple[int | None, int]:
    if not cursor.take(b"<"):
        return None, 0
    origin = cursor.number64()
    cursor.expect(b".")
    length = cursor.number64()
    if not length:
        raise BadSyntax(b"Invalid partial")
    cursor.expect(b">")
    return origin, length


def _labelled(label: bytes, origin: int | None) -> bytes:
    return label if origin is None else b"%b<%d>" % (label, origin)


Modifiers = tuple[int | None, bool, Partial | None]
"""Of CHANGEDSINCE, VANISHED and PARTIAL."""


def _parse_modifiers(cursor: Cursor) -> Modifiers:
    found: dict[bytes, int | Partial | None] = {}
    for name, value in cursor.paren_list(_parse_modifier, least=1, most=10):
        if name in found and name != b"VANISHED":
            raise BadSyntax(b"Duplicate Fetch modifier")
        found[name] = value
    changed_since, partial = found.get(b"CHANGEDSINCE"), found.get(b"PARTIAL")
    assert not isinstance(changed_since, Partial)
    assert not isinstance(partial, int)
    return changed_since, b"VANISHED" in found, partial


def _parse_modifier(cursor: Cursor) -> tuple[bytes, int | Partial | None]:
    name = cursor.name()
    if name == b"VANISHED":
        return name, None
    if name not in (b"CHANGEDSINCE", b"PARTIAL"):
        raise BadSyntax(b"Unrecognized Fetch modifier")
    cursor.space()
    return name, cursor.number64() if name == b"CHANGEDSINCE" else parse_partial(cursor)
