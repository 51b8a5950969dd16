"""ID: its parameter list (RFC 2971 section 4)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pycyrus.imap.wire.grammar import BadSyntax, nstring, quoted

if TYPE_CHECKING:
    from pycyrus.imap.wire.grammar import Cursor

MAX_FIELDS = 30
MAX_FIELD_NAME = 30
MAX_VALUE = 1024

Fields = tuple[tuple[bytes, bytes | None], ...]


def parse_id(cursor: Cursor) -> Fields:
    """C{id}, behind C{ID}: fields and values, none for C{NIL}."""
    cursor.space()
    if cursor.take(b"NIL"):
        cursor.end()
        return ()
    fields = cursor.paren_list(_parse_field, most=MAX_FIELDS)
    cursor.end()
    return tuple(fields)


def _parse_field(cursor: Cursor) -> tuple[bytes, bytes | None]:
    name = cursor.string()
    if len(name) > MAX_FIELD_NAME:
        raise BadSyntax(b"Field name too long")
    cursor.space()
    value = cursor.nstring()
    if value is not None and len(value) > MAX_VALUE:
        raise BadSyntax(b"Field value too long")
    return name, value


def encode_id(fields: Iterable[tuple[bytes, bytes | None]]) -> bytes:
    """Write C{* ID (...)}."""
    return b"* ID (%b)\r\n" % b" ".join(b"%b %b" % (quoted(name), nstring(value)) for name, value in fields)
