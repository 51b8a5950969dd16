"""
Where the sections of a message lie: C{CachedItem.SECTIONS}.

The item is one octet of version (1) and a record of 20 octets for each part,
little-endian::

    u32  offset of the header
    u32  octets of the header, its blank line included
    u32  octets of the body, which follows the header
    u32  number of the first child's record
    u16  number of children
    u8   kind: 0 single, 1 multipart, 2 embedded message; for single ones
         plus 16 for text, plus 32 for text with markup
    u8   Content-Transfer-Encoding

Record 0 is the message; the children of a part stand together, after all
parts of its own level.  The child of an embedded message (message/rfc822) is
that message.
"""

from __future__ import annotations

import enum
import struct
from collections import deque
from dataclasses import dataclass
from typing import Final

from pycyrus.mime.structure import Kind, Part

_VERSION: Final = b"\x01"
_RECORD: Final = struct.Struct("<IIIIHBB")
_START: Final = len(_VERSION)
_LARGEST: Final = 0xFFFFFFFF

_ENCODINGS: Final = (b"7BIT", b"8BIT", b"BINARY", b"BASE64", b"QUOTED-PRINTABLE", b"X-UUENCODE")
_ENCODING_NUMBERS: Final = {name: number for number, name in enumerate(_ENCODINGS)} | {b"X-UUE": 5, b"UUENCODE": 5}
_UNKNOWN_ENCODING: Final = 255

UNKNOWN: Final = b"UNKNOWN"
"""The encoding of a part that nothing here can decode (RFC 3516 section 4.3, UNKNOWN-CTE)."""


class SectionText(enum.Enum):
    """C{section-text} of RFC 9051 section 9, without HEADER.FIELDS."""

    WHOLE = "whole"
    HEADER = "header"
    TEXT = "text"
    MIME = "mime"


class TextKind(enum.IntEnum):
    """Whether a part is text, as the upper half of the octet tells."""

    NONE = 0
    PLAIN = 16
    MARKUP = 32


_MARKUP: Final = frozenset((b"HTML", b"XHTML+XML", b"XML"))
_KIND: Final = 15


@dataclass(frozen=True, slots=True)
class Section:
    """
    One record.

    @ivar start: Offset of the header.
    @ivar header: Its octets.
    @ivar body: Octets of the body.
    """

    start: int
    header: int
    body: int
    first_child: int
    children: int
    kinds: int
    encoding: int

    @property
    def kind(self) -> int:
        """A L{Kind}."""
        return self.kinds & _KIND

    @property
    def text(self) -> int:
        """A L{TextKind}."""
        return self.kinds & ~_KIND


def encode_sections(root: Part) -> bytes:
    """Write the item for a message; parts beyond 4 GiB do not occur (sizes have 32 bits)."""
    if not root.children:
        return _VERSION + _encode(root, 0)
    records = [_VERSION]
    queue = deque((root,))
    next_child = 1
    while queue:
        part = queue.popleft()
        records.append(_encode(part, next_child if part.children else 0))
        next_child += len(part.children)
        queue.extend(part.children)
    return b"".join(records)


def _encode(part: Part, first_child: int) -> bytes:
    return _RECORD.pack(
        min(part.header_start, _LARGEST),
        min(part.body_start - part.header_start, _LARGEST),
        min(part.end - part.body_start, _LARGEST),
        first_child,
        len(part.children),
        part.kind | _text_kind(part),
        _ENCODING_NUMBERS.get(part.encoding, _UNKNOWN_ENCODING),
    )


def _text_kind(part: Part) -> int:
    if part.media_type != b"TEXT":
        return TextKind.NONE
    return TextKind.MARKUP if part.subtype in _MARKUP else TextKind.PLAIN


def sections(item: bytes) -> list[Section]:
    """All records, in their order; none if this is no such item."""
    if item[:1] != _VERSION or (len(item) - _START) % _RECORD.size:
        return []
    return [Section(*fields) for fields in _RECORD.iter_unpack(item[_START:])]


def locate(sections_item: bytes, part: tuple[int, ...], what: SectionText) -> tuple[int, int] | None:
    """
    Find a section (RFC 9051 section 6.4.5.1).

    @param part: Part numbers; empty for the message itself.
    @return: Offset and octets within the message; None if there is no such
        section.
    """
    if not part:
        if what is SectionText.WHOLE:
            whole = _section(sections_item, 0)
            return None if whole is None else (whole.start, whole.header + whole.body)
        return None if what is SectionText.MIME else _header_or_text(_section(sections_item, 0), what)
    found = _find(sections_item, part)
    if found is None:
        return None
    section, is_message = found
    if what is SectionText.WHOLE:
        return section.start + section.header, section.body
    if what is SectionText.MIME:
        return section.start, section.header
    # HEADER and TEXT of a part are those of the message embedded in it.
    if section.kind != Kind.MESSAGE or is_message:
        return None
    return _header_or_text(_section(sections_item, section.first_child), what)


def part_encoding(sections_item: bytes, part: tuple[int, ...]) -> bytes | None:
    """
    The Content-Transfer-Encoding of a part, for BINARY (RFC 3516).

    @param part: Part numbers; empty for the message itself, which is not
        encoded as a whole.
    @return: Upper-case; L{UNKNOWN} for one that cannot be decoded; None if
        there is no such part.
    """
    if not part:
        return _ENCODINGS[0]
    found = _find(sections_item, part)
    if found is None:
        return None
    encoding = found[0].encoding
    return _ENCODINGS[encoding] if encoding < len(_ENCODINGS) else UNKNOWN


def _section(item: bytes, number: int) -> Section | None:
    position = _START + number * _RECORD.size
    if item[:1] != _VERSION or position + _RECORD.size > len(item):
        return None
    return Section(*_RECORD.unpack_from(item, position))


def _header_or_text(section: Section | None, what: SectionText) -> tuple[int, int] | None:
    if section is None:
        return None
    if what is SectionText.HEADER:
        return section.start, section.header
    return section.start + section.header, section.body


def _find(item: bytes, part: tuple[int, ...]) -> tuple[Section, bool] | None:
    """
    Walk down part numbers.

    @return: The record, and whether it stands for a whole message that is not
        a part of another.
    """
    section = _section(item, 0)
    # Within a message, the numbers count its multipart's parts; a message
    # that is not multipart has one part, its body, with the number 1.
    at_message = True
    for number in part:
        if section is None:
            return None
        if not at_message and section.kind == Kind.MESSAGE:
            section = _section(item, section.first_child)
            at_message = True
            if section is None:
                return None
        if section.kind == Kind.MULTIPART:
            if not 1 <= number <= section.children:
                return None
            section = _section(item, section.first_child + number - 1)
        elif not at_message or number != 1:
            return None
        at_message = False
    return None if section is None else (section, at_message)
