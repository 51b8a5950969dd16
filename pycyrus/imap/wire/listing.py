"""LIST and LSUB: from arguments to values, and their responses (RFC 9051 section 6.3.9)."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pycyrus.imap.wire.grammar import BadSyntax, Cursor, astring
from pycyrus.imap.wire.mailboxes import StatusItem, parse_status_items
from pycyrus.imap.wire.metadata import parse_entries
from pycyrus.imap.wire.remembered import read_rest

MAX_PATTERNS = 100
_LONGEST_PATTERN = 2000


class Selection(enum.Flag):
    """Selection options (RFC 5258 section 3.1, RFC 6154 section 5.1)."""

    NONE = 0
    SUBSCRIBED = enum.auto()
    REMOTE = enum.auto()
    RECURSIVEMATCH = enum.auto()
    SPECIAL_USE = enum.auto()


class Return(enum.Flag):
    """Return options (RFC 5258 section 3.2, RFC 5819, RFC 6154 section 5.2, RFC 8440, RFC 9590)."""

    NONE = 0
    SUBSCRIBED = enum.auto()
    CHILDREN = enum.auto()
    SPECIAL_USE = enum.auto()
    STATUS = enum.auto()
    MYRIGHTS = enum.auto()
    METADATA = enum.auto()


_SELECTIONS = {
    b"SUBSCRIBED": Selection.SUBSCRIBED,
    b"REMOTE": Selection.REMOTE,
    b"RECURSIVEMATCH": Selection.RECURSIVEMATCH,
    b"SPECIAL-USE": Selection.SPECIAL_USE,
}
_RETURNS = {
    b"SUBSCRIBED": Return.SUBSCRIBED,
    b"CHILDREN": Return.CHILDREN,
    b"SPECIAL-USE": Return.SPECIAL_USE,
    b"STATUS": Return.STATUS,
    b"MYRIGHTS": Return.MYRIGHTS,
    b"METADATA": Return.METADATA,
}


@dataclass(frozen=True, slots=True)
class List:
    """
    A LIST or LSUB.

    @ivar reference: As the client wrote it, like the patterns.
    @ivar is_extended: It has something of RFC 5258.
    @ivar status: What the STATUS return option asks for.
    @ivar entries: What the METADATA return option asks for.
    """

    reference: bytes
    patterns: tuple[bytes, ...]
    selection: Selection = Selection.NONE
    returns: Return = Return.NONE
    is_extended: bool = False
    status: frozenset[StatusItem] = frozenset()
    entries: tuple[str, ...] = ()


def parse_list(cursor: Cursor) -> List:
    """C{list}, behind its name."""
    return read_rest(cursor, _parse_list)


def _parse_list(cursor: Cursor) -> List:
    cursor.space()
    is_extended = False
    selection, returns = Selection.NONE, Return.NONE
    status: frozenset[StatusItem] = frozenset()
    entries: dict[str, None] = {}
    if cursor.peek() == 0x28:
        is_extended = True
        for option in cursor.paren_list(_parse_selection, most=16):
            selection |= option
        cursor.space()
    if selection & Selection.RECURSIVEMATCH and not selection & (Selection.SUBSCRIBED | Selection.SPECIAL_USE):
        # RFC 5258 section 3.1: it changes how another option selects.
        raise BadSyntax(b"Invalid selection options: RECURSIVEMATCH needs another one")
    reference = cursor.astring()
    cursor.space()
    if cursor.peek() == 0x28:
        is_extended = True
        patterns = tuple(cursor.paren_list(Cursor.list_mailbox, least=1, most=MAX_PATTERNS))
    else:
        patterns = (cursor.list_mailbox(),)
    if not cursor.at_end():
        is_extended = True
        cursor.space()
        cursor.expect(b"RETURN")
        cursor.space()
        for returned, items, noted in cursor.paren_list(_parse_return, most=16):
            returns |= returned
            status |= items
            entries.update(dict.fromkeys(noted))
    cursor.end()
    _check_lengths(reference, patterns)
    return List(reference, patterns, selection, returns, is_extended, status, tuple(entries))


def parse_lsub(cursor: Cursor) -> List:
    """C{lsub}, behind its name (RFC 3501 section 6.3.9)."""
    return replace(parse_plain_list(cursor), selection=Selection.SUBSCRIBED)


def parse_plain_list(cursor: Cursor) -> List:
    """C{list} of RFC 3501, behind its name; RLIST and XLIST have no options."""
    cursor.space()
    reference = cursor.astring()
    cursor.space()
    patterns = (cursor.list_mailbox(),)
    cursor.end()
    _check_lengths(reference, patterns)
    return List(reference, patterns)


def _check_lengths(reference: bytes, patterns: Sequence[bytes]) -> None:
    # Matching takes time in proportion to the pattern; no name is longer.
    if len(reference) + max(map(len, patterns)) > _LONGEST_PATTERN:
        raise BadSyntax(b"Pattern too long")


def _parse_selection(cursor: Cursor) -> Selection:
    option = _SELECTIONS.get(cursor.atom().upper())
    if option is None:
        raise BadSyntax(b"Invalid List selection option")
    return option


def _parse_return(cursor: Cursor) -> tuple[Return, frozenset[StatusItem], tuple[str, ...]]:
    option = _RETURNS.get(cursor.atom().upper())
    if option is None:
        raise BadSyntax(b"Invalid List return option")
    status: frozenset[StatusItem] = frozenset()
    entries: tuple[str, ...] = ()
    if option is Return.STATUS:
        cursor.space()
        status = parse_status_items(cursor)
    elif option is Return.METADATA:
        cursor.space()
        entries = parse_entries(cursor)
    return option, status, entries


def canonical_pattern(reference: bytes, pattern: bytes, separator: bytes) -> bytes:
    """
    Put reference and pattern together, as they are; only a separator is not doubled.

    RFC 9051 section 6.3.9 leaves the interpretation to the server.
    """
    if reference.endswith(separator) and pattern.startswith(separator):
        reference = reference[:-1]
    return reference + pattern


def encode_list(
    response: bytes,
    attributes: Sequence[bytes],
    separator: bytes,
    mailbox: bytes,
    *,
    utf8: bool,
    is_child_subscribed: bool = False,
) -> bytes:
    """
    Write a LIST or LSUB response.

    @param response: C{LIST} or C{LSUB}.
    @param mailbox: External name.
    @param is_child_subscribed: Tell C{CHILDINFO} (RFC 5258 section 3.5).
    """
    extended = b' (CHILDINFO ("SUBSCRIBED"))' if is_child_subscribed else b""
    name = astring(mailbox, utf8=utf8) if mailbox else b'""'
    return b"%b%b%b\r\n" % (encode_list_beginning(response, attributes, separator), name, extended)


def encode_list_beginning(response: bytes, attributes: Sequence[bytes], separator: bytes) -> bytes:
    """Write what stands before the name in a LIST or LSUB response."""
    return b'* %b (%b) "%b" ' % (response, b" ".join(attributes), separator)
