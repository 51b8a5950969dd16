"""
Octets of messages for FETCH: sections, header subsets, decoded parts (RFC 9051 section 6.4.5).

Large pieces are handed to the transport as regions of the file, so that they
are never in memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pycyrus.imap.wire.fetch import Binary, Section
from pycyrus.interfaces import IMessageFile
from pycyrus.mime import sections
from pycyrus.mime.header import CACHED_HEADER_NAMES, HEADERS_NOT_CACHED, select_fields
from pycyrus.mime.sections import SectionText
from pycyrus.mime.transfer import UnknownEncoding, decode

LARGE = 32_768
"""From this size on, octets are sent from the file instead of being read."""


class UndecodablePart(Exception):
    """BINARY was asked of a part with an unknown transfer encoding (RFC 3516 section 4.3)."""


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a message file, announced already and yet to be sent."""

    offset: int
    length: int


Piece = bytes | Region


def is_cacheable(item: Section) -> bool:
    """Whether a section can be had from C{CachedItem.HEADERS}, for most messages."""
    return not item.part and not item.invert and item.fields is not None and item.fields <= CACHED_HEADER_NAMES


def is_whole_message(item: Section) -> bool:
    """Whether an item is all octets of the message."""
    return not item.part and item.text is SectionText.WHOLE and item.origin is None


def needs_structure(items: Sequence[Section | Binary]) -> bool:
    """Whether C{CachedItem.SECTIONS} is needed to answer."""
    return any(isinstance(item, Binary) or item.part or item.text is not SectionText.WHOLE for item in items)


def write_item(item: Section | Binary, file: IMessageFile, structure: bytes) -> list[Piece]:
    """
    Answer one item of one message.

    @param structure: C{CachedItem.SECTIONS} of the message, if it is needed.
    @raise UndecodablePart: Only for BINARY.
    @raise StoreUnavailable: The message cannot be read.
    """
    if isinstance(item, Binary):
        return [_binary(item, file, structure)]
    if not item.part and item.text is SectionText.WHOLE:
        place: tuple[int, int] | None = (0, file.size)
    else:
        place = sections.locate(structure, item.part, item.text)
    if place is None:
        return [nothing(item)]
    offset, length = place
    if item.fields is not None:
        header = file.read(offset, length)
        return [_literal(item, select_fields(header, item.fields, item.invert))]
    if item.origin is not None:
        start = min(item.origin, length)
        offset += start
        length = min(item.length, length - start)
    if length >= LARGE:
        return [b"%b {%d}\r\n" % (item.label, length), Region(offset, length)]
    data = file.read(offset, length)
    return [b"%b {%d}\r\n%b" % (item.label, len(data), data)]


def nothing(item: Section | Binary) -> bytes:
    """An item of which there are no octets."""
    return item.label + (b" 0" if isinstance(item, Binary) and item.size else b" NIL")


def header_fields(item: Section, header: bytes) -> bytes:
    """Choose the fields of a HEADER.FIELDS item, and the octets of its partial."""
    assert item.fields is not None
    return _cut(item, select_fields(header, item.fields, item.invert))


def field_selector(item: Section) -> Callable[[bytes], bytes | None]:
    """
    Make a HEADER.FIELDS item from C{CachedItem.HEADERS}, for very many messages.

    @return: Gives the octets, or None where the message must be read.
    """
    assert item.fields is not None
    names = b"|".join(re.escape(name) for name in sorted(item.fields))
    # Whole fields with their folds, in their order, as select_fields chooses them.
    find = re.compile(rb"^(?:%b)[ \t]*:.*\n(?:[ \t].*\n)*+" % names, re.MULTILINE | re.IGNORECASE).findall
    first, last = (0, None) if item.origin is None else (item.origin, item.origin + item.length)

    def select(cached: bytes) -> bytes | None:
        if cached == HEADERS_NOT_CACHED:
            return None
        return (b"".join(find(cached)) + b"\r\n")[first:last]

    return select


def _cut(item: Section | Binary, data: bytes) -> bytes:
    return data if item.origin is None else data[item.origin : item.origin + item.length]


def _literal(item: Section | Binary, data: bytes) -> bytes:
    data = _cut(item, data)
    return b"%b {%d}\r\n%b" % (item.label, len(data), data)


def _binary(item: Binary, file: IMessageFile, structure: bytes) -> bytes:
    place = sections.locate(structure, item.part, SectionText.WHOLE)
    encoding = sections.part_encoding(structure, item.part)
    if place is None or encoding is None:
        return nothing(item)
    try:
        data = decode(file.read(*place), encoding)
    except UnknownEncoding:
        raise UndecodablePart from None
    if item.size:
        return b"%b %d" % (item.label, len(data))
    data = _cut(item, data)
    # Only a literal8 may hold NUL (RFC 9051 section 4.3).
    mark = b"~" if b"\0" in data else b""
    return b"%b %b{%d}\r\n%b" % (item.label, mark, len(data), data)
