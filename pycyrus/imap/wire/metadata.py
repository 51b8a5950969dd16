"""GETMETADATA and SETMETADATA: from their arguments to values, and METADATA responses (RFC 5464)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pycyrus.imap.wire.grammar import LITERAL, BadSyntax, Cursor, astring, nstring

MAX_ENTRIES = 100
DEPTHS = {b"0": 0, b"1": 1, b"INFINITY": None}


@dataclass(frozen=True, slots=True)
class GetMetadata:
    """
    A GETMETADATA.

    @ivar mailbox: As the client wrote it; empty for the server.
    @ivar max_size: Octets; longer values are left out; None for no limit.
    @ivar depth: How many levels below each entry; None for all.
    """

    mailbox: bytes
    entries: tuple[str, ...]
    max_size: int | None = None
    depth: int | None = 0


@dataclass(frozen=True, slots=True)
class SetMetadata:
    """
    A SETMETADATA.

    @ivar values: Entries and their values; None removes one.
    """

    mailbox: bytes
    values: tuple[tuple[str, bytes | None], ...]


def parse_getmetadata(cursor: Cursor) -> GetMetadata:
    """C{getmetadata}, behind its name; options may stand before the mailbox or behind it."""
    cursor.space()
    options: dict[bytes, int | None] = {}
    if cursor.peek() == 0x28:
        options = _parse_options(cursor)
        cursor.space()
    mailbox = cursor.astring()
    cursor.space()
    entries: list[str] = []
    if cursor.peek() == 0x28:
        words = cursor.paren_list(_parse_word, least=1, most=MAX_ENTRIES)
        if not words[0].startswith(b"/"):
            # RFC 5464 section 6.1 has them here: "(MAXSIZE 1024)", then entries.
            if options:
                raise BadSyntax(b"Duplicate options")
            options = _options_of(words)
            cursor.space()
            words = (
                cursor.paren_list(Cursor.astring, least=1, most=MAX_ENTRIES)
                if cursor.peek() == 0x28
                else [cursor.astring()]
            )
        entries = [_entry(word) for word in words]
    else:
        entries = [_entry(cursor.astring())]
    cursor.end()
    return GetMetadata(mailbox, tuple(entries), options.get(b"MAXSIZE"), options.get(b"DEPTH", 0))


def parse_entries(cursor: Cursor) -> tuple[str, ...]:
    """C{entries} in parentheses, as LIST has them (RFC 9590 section 7)."""
    return tuple(_entry(word) for word in cursor.paren_list(_parse_word, least=1, most=MAX_ENTRIES))


def _parse_word(cursor: Cursor) -> bytes:
    return cursor.astring()


def _parse_options(cursor: Cursor) -> dict[bytes, int | None]:
    return _options_of(cursor.paren_list(_parse_word, least=1, most=8))


def _options_of(words: Sequence[bytes]) -> dict[bytes, int | None]:
    options: dict[bytes, int | None] = {}
    if len(words) % 2:
        raise BadSyntax(b"Invalid GETMETADATA options")
    for name, value in zip(words[::2], words[1::2], strict=True):
        upper = name.upper()
        if upper == b"DEPTH" and value.upper() in DEPTHS:
            options[upper] = DEPTHS[value.upper()]
        elif upper == b"MAXSIZE" and value.isdigit() and len(value) <= 10:
            options[upper] = int(value)
        else:
            raise BadSyntax(b"Invalid GETMETADATA options")
    return options


def parse_setmetadata(cursor: Cursor) -> SetMetadata:
    """C{setmetadata}, behind its name."""
    cursor.space()
    mailbox = cursor.astring()
    cursor.space()
    values = cursor.paren_list(_parse_pair, least=1, most=MAX_ENTRIES)
    cursor.end()
    return SetMetadata(mailbox, tuple(values))


def _parse_pair(cursor: Cursor) -> tuple[str, bytes | None]:
    entry = _entry(cursor.astring())
    cursor.space()
    if cursor.take(b"NIL"):
        return entry, None
    # A frontend of Cyrus 3.6 sends values as atoms.
    return entry, cursor.literal().data if cursor.peek() == LITERAL else cursor.astring()


def _entry(octets: bytes) -> str:
    if not octets.lower().startswith((b"/shared", b"/private")) or not octets.isascii():
        raise BadSyntax(b"entry must begin with /shared or /private", names_command=False)
    return octets.decode("ascii")


def encode_changed(mailbox: bytes, entries: Sequence[str], *, utf8: bool) -> bytes:
    """
    Write a METADATA response with names of entries only (RFC 5464 section 4.4.2).

    @param mailbox: External name; empty for the server.
    """
    name = astring(mailbox, utf8=utf8) if mailbox else b'""'
    return b"* METADATA %b %b\r\n" % (name, b" ".join(astring(entry.encode("ascii")) for entry in entries))


def encode_metadata(mailbox: bytes, values: Sequence[tuple[str, bytes | None]], *, utf8: bool) -> bytes:
    """
    Write a METADATA response with values (RFC 5464 section 4.4.1).

    @param mailbox: External name; empty for the server.
    """
    pairs = b" ".join(b"%b %b" % (astring(entry.encode("ascii")), nstring(value)) for entry, value in values)
    name = astring(mailbox, utf8=utf8) if mailbox else b'""'
    return b"* METADATA %b (%b)\r\n" % (name, pairs)
