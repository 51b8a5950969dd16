"""ANNOTATE: what several commands have of it, from arguments to values and back (RFC 5257)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pycyrus.imap.wire.grammar import LITERAL, BadSyntax, Cursor, astring, nstring
from pycyrus.model.annotations import BOTH, MAX_ENTRY, PRIVATE, SHARED, AnnotationScope, entry_pattern, is_message_entry

MAX_ENTRIES = 100
MAX_ATTRIBUTES = 20
MAX_SIZE = 65_536
"""Octets of a value, as SELECT tells."""

SUFFIXES = {AnnotationScope.PRIVATE: b".priv", AnnotationScope.SHARED: b".shared"}
_SCOPES = {b"": BOTH, b".priv": PRIVATE, b".shared": SHARED}
AnnotationName = tuple[AnnotationScope, str]


@dataclass(frozen=True, slots=True)
class Annotation:
    """
    C{ANNOTATION} as FETCH asks for it (RFC 5257 section 4.3).

    @ivar entries: Names, perhaps with wildcards; unlike those of RFC 5464, they are case-sensitive.
    @ivar values: Whose values to tell.
    @ivar sizes: Whose values' sizes to tell.
    """

    entries: tuple[str, ...]
    values: frozenset[AnnotationScope]
    sizes: frozenset[AnnotationScope]


def parse_fetched(cursor: Cursor) -> Annotation:
    """What follows C{ANNOTATION} in FETCH."""
    cursor.space()
    cursor.expect(b"(")
    entries = (
        cursor.paren_list(parse_pattern, least=1, most=MAX_ENTRIES)
        if cursor.peek() == 0x28
        else [parse_pattern(cursor)]
    )
    cursor.space()
    attributes = (
        cursor.paren_list(_parse_attribute, least=1, most=MAX_ATTRIBUTES)
        if cursor.peek() == 0x28
        else [_parse_attribute(cursor)]
    )
    cursor.expect(b")")
    found: dict[bytes, set[AnnotationScope]] = {b"value": set(), b"size": set()}
    for name, scopes in attributes:
        found[name] |= scopes
    return Annotation(tuple(dict.fromkeys(entries)), frozenset(found[b"value"]), frozenset(found[b"size"]))


def _parse_attribute(cursor: Cursor) -> tuple[bytes, frozenset[AnnotationScope]]:
    text = cursor.astring()
    name, dot, suffix = text.partition(b".")
    scopes = _SCOPES.get(dot + suffix)
    if scopes is None or name not in (b"value", b"size"):
        raise BadSyntax(b"Invalid annotation attribute")
    return name, scopes


def parse_pattern(cursor: Cursor) -> str:
    """C{entry-match}"""
    return _entry(cursor, is_pattern=True)


def parse_entry(cursor: Cursor) -> str:
    """C{entry}"""
    return _entry(cursor, is_pattern=False)


def _entry(cursor: Cursor, *, is_pattern: bool) -> str:
    octets = cursor.list_mailbox() if cursor.peek() not in (0x22, LITERAL) else cursor.string()
    name = octets.decode("ascii", "replace")
    if not octets.isascii() or len(octets) > MAX_ENTRY or not is_message_entry(name, is_pattern=is_pattern):
        raise BadSyntax(b"Invalid annotation entry")
    return name


def parse_searched(cursor: Cursor) -> frozenset[AnnotationScope]:
    """C{att-search}"""
    name, scopes = _parse_attribute(cursor)
    if name != b"value":
        raise BadSyntax(b"Invalid annotation attribute")
    return scopes


def parse_sorted(cursor: Cursor) -> AnnotationScope:
    """C{att-sort}"""
    scopes = parse_searched(cursor)
    if len(scopes) != 1:
        raise BadSyntax(b"Invalid annotation attribute")
    return next(iter(scopes))


def parse_values(cursor: Cursor) -> tuple[tuple[AnnotationName, bytes | None], ...]:
    """C{att-annotate} behind its name, as STORE and APPEND have it."""
    found: dict[AnnotationName, bytes | None] = {}
    for entry, values in cursor.paren_list(_parse_entry_values, least=1, most=MAX_ENTRIES):
        for scope, value in values:
            found[scope, entry] = value
    return tuple(found.items())


def _parse_entry_values(cursor: Cursor) -> tuple[str, Sequence[tuple[AnnotationScope, bytes | None]]]:
    entry = parse_entry(cursor)
    cursor.space()
    return entry, cursor.paren_list(_parse_value, least=1, most=MAX_ATTRIBUTES)


def _parse_value(cursor: Cursor) -> tuple[AnnotationScope, bytes | None]:
    scope = parse_sorted(cursor)
    cursor.space()
    return scope, parse_nil_or_text(cursor)


def parse_nil_or_text(cursor: Cursor) -> bytes | None:
    """C{nstring}, or an atom, as clients write short values."""
    if cursor.peek() == LITERAL:
        return cursor.literal().data
    if cursor.peek() == 0x22:
        return cursor.string()
    text = cursor.astring()
    return None if text.upper() == b"NIL" else text


def encode_annotation(asked: Annotation, values: Mapping[AnnotationName, bytes]) -> bytes:
    """
    Write what stands behind C{ANNOTATION} in a FETCH response.

    A name without wildcards is told of whether there is a value or not.
    """
    return b"(%b)" % b" ".join(
        b"%b (%b)" % (astring(entry.encode("ascii")), b" ".join(_attributes(asked, entry, values)))
        for entry in _told(asked, values)
    )


def encode_changed(number: int, uid: int, entries: Sequence[str], *, is_uid_only: bool) -> bytes:
    """Write an unsolicited FETCH: it has no values (RFC 5257 section 4.3), but the UID (RFC 5465 section 5.1)."""
    names = b" ".join(astring(entry.encode("ascii")) for entry in entries)
    verb = b"UIDFETCH" if is_uid_only else b"FETCH"
    return b"* %d %b (UID %d ANNOTATION (%b))\r\n" % (number, verb, uid, names)


def _told(asked: Annotation, values: Mapping[AnnotationName, bytes]) -> list[str]:
    scopes = asked.values | asked.sizes
    there = sorted({entry for scope, entry in values if scope in scopes})
    told: dict[str, None] = {}
    for pattern in asked.entries:
        if "*" in pattern or "%" in pattern:
            told.update(dict.fromkeys(filter(entry_pattern(pattern), there)))
        else:
            told[pattern] = None
    return list(told)


def _attributes(asked: Annotation, entry: str, values: Mapping[AnnotationName, bytes]) -> list[bytes]:
    found = []
    for scope, suffix in SUFFIXES.items():
        value = values.get((scope, entry))
        if scope in asked.values:
            found.append(b"value%b %b" % (suffix, _literal8(value)))
        if scope in asked.sizes:
            found.append(b'size%b "%d"' % (suffix, len(value or b"")))
    return found


def _literal8(value: bytes | None) -> bytes:
    if value is not None and b"\0" in value:
        return b"~{%d}\r\n%b" % (len(value), value)
    return nstring(value)
