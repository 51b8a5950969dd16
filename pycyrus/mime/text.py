"""
Text out of messages, for search.

What is compared is folded alike in octets of a header, in decoded bodies and in what
the user asks for: see L{pycyrus.mime.comparison}.
"""

from __future__ import annotations

import binascii
import html
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote_to_bytes

from pycyrus.mime.charsets import decode_charset, incremental_decoder
from pycyrus.mime.comparison import DEFAULT_COMPARISON, Comparison, WhiteSpace, fold
from pycyrus.mime.content import parameter, parse_content_type, parse_disposition
from pycyrus.mime.encoded_words import decode_words
from pycyrus.mime.header import Octets, Use, header_end, read_fields, split_fields, unfold
from pycyrus.mime.limits import DEFAULT_LIMITS, Budget
from pycyrus.mime.sections import Section, TextKind, encode_sections, sections
from pycyrus.mime.structure import parse
from pycyrus.mime.transfer import decode_base64

_PIECE: Final = 128 * 1024
_CONTENT_TYPE: Final = {b"content-type": int(Use.VALUE)}
_NAMING: Final = _CONTENT_TYPE | {b"content-disposition": int(Use.VALUE)}
_NOT_BASE64: Final = re.compile(rb"[^A-Za-z0-9+/]+")
_TAG: Final = re.compile(r"<[^<>]*+>")
_BASE64, _QUOTED_PRINTABLE = 3, 4


_LOWER = bytes(0x20 if 0x1C <= octet <= 0x1F else octet for octet in range(256)).lower()
"""Small letters; and what is white space in texts is in octets, too."""


def search_form(value: bytes) -> bytes:
    """
    A header field as C{CachedItem.FROM} to C{SUBJECT} keep it.

    @param value: Unfolded.
    @return: Decoded and folded, in UTF-8.
    """
    if b"=?" not in value and value.isascii():
        return b" ".join(value.translate(_LOWER).split())
    return fold(decode_words(value)).encode("utf-8", "replace")


def searchable_header(header: bytes, comparison: Comparison = DEFAULT_COMPARISON) -> str:
    """All of a header, unfolded field by field, decoded and folded."""
    fields = split_fields(header[: DEFAULT_LIMITS.header], DEFAULT_LIMITS.fields)
    return comparison.fold("\n".join(decode_words(unfold(field)) for field in fields))


def searchable(
    data: Octets, sections_item: bytes, needle: str, comparison: Comparison = DEFAULT_COMPARISON
) -> Iterator[str]:
    """
    The text of a message's body: the headers of its parts, and the text parts, decoded and folded.

    It comes in pieces of bounded size, so that a search costs no memory by
    the size of the message.  HTML comes as it is, and once more without its
    tags.

    @param sections_item: C{CachedItem.SECTIONS} of the message; where it is
        of no use, the message is taken apart again.
    @param needle: What is looked for, folded: it is in one of the pieces if
        it is in the text.
    """
    # Pieces overlap, with room for characters that folding composes or leaves out.
    overlap = 3 * len(needle) + 64
    fold_letters = comparison.letters
    is_clean = comparison.white_space is WhiteSpace.MERGE and " " not in needle
    clean = _as_is if is_clean else comparison.space
    for number, section in enumerate(sections(sections_item) or sections(encode_sections(parse(data).root))):
        if number and section.header:
            header = data[section.start : section.start + min(section.header, DEFAULT_LIMITS.header)]
            yield searchable_header(header, comparison)
            if b"*" in header:
                yield comparison.fold(" ".join(_file_names(header)))
        if section.text == TextKind.NONE or (section.text == TextKind.MARKUP and comparison.skips_markup):
            continue
        for piece in _overlapping(_decoded(data, section), overlap):
            yield clean(fold_letters(piece))
            if section.text == TextKind.MARKUP:
                yield clean(fold_letters(html.unescape(_TAG.sub("", piece))))


def _file_names(header: bytes) -> Iterator[str]:
    """File names that RFC 2231 encodes; others are read as they stand in the header."""
    limits = DEFAULT_LIMITS
    fields = read_fields(split_fields(header, limits.fields), _NAMING, limits.field)[0]
    for value, name in ((b"content-type", b"NAME"), (b"content-disposition", b"FILENAME")):
        # A disposition and a content type have parameters of one form.
        found = parse_disposition(fields.get(value, b""), limits, Budget(limits, 0))
        if not found:
            continue
        named = dict(found[1])
        if name in named:
            yield decode_charset(named[name], b"")
        encoded = named.get(name + b"*")
        if encoded is not None:
            charset, _, text = encoded.partition(b"'")
            yield decode_charset(unquote_to_bytes(text.partition(b"'")[2]), charset)


def whole_text(
    data: Octets, sections_item: bytes, longest_needle: int, comparison: Comparison = DEFAULT_COMPARISON
) -> tuple[str, list[str]]:
    """
    All that a search for a text looks through: the header, and what L{searchable} gives of the body.

    @param longest_needle: Characters of what will be looked for at most.
    """
    pieces = searchable(data, sections_item, " " * longest_needle, comparison)
    return searchable_header(header_octets(data), comparison), list(pieces)


def _as_is(text: str) -> str:
    return text


def _charset(data: Octets, section: Section) -> bytes:
    """The charset that a part claims; empty for none."""
    limits = DEFAULT_LIMITS
    header = data[section.start : section.start + min(section.header, limits.header)]
    value = read_fields(split_fields(header, limits.fields), _CONTENT_TYPE, limits.field)[0].get(b"content-type")
    if value is None:
        return b""
    _type, _subtype, parameters = parse_content_type(value, limits, Budget(limits, 0))
    return parameter(parameters, b"CHARSET") or b""


def _overlapping(pieces: Iterator[str], overlap: int) -> Iterator[str]:
    tail = ""
    for piece in pieces:
        joined = tail + piece
        yield joined
        tail = joined[-overlap:]


def _decoded(data: Octets, section: Section) -> Iterator[str]:
    """Decode a part piece by piece; an unknown encoding is taken as it stands."""
    start = section.start + section.header
    end = start + section.body
    decoder = None
    rest = b""
    while start < end:
        stop = min(start + _PIECE, end)
        chunk = rest + data[start:stop]
        start = stop
        rest = b""
        if section.encoding == _BASE64:
            if stop < end:
                chunk = _NOT_BASE64.sub(b"", chunk)
                whole = len(chunk) // 4 * 4
                chunk, rest = chunk[:whole], chunk[whole:]
            chunk = decode_base64(chunk)
        elif section.encoding == _QUOTED_PRINTABLE:
            if stop < end:
                # Cut before what may be an unfinished line.
                cut = chunk.rfind(b"\n", len(chunk) // 2) + 1 or len(chunk)
                chunk, rest = chunk[:cut], chunk[cut:]
            chunk = binascii.a2b_qp(chunk)
        if decoder is None:
            decoder = incremental_decoder(_charset(data, section), chunk[:4096])
        yield decoder.decode(chunk, start >= end)


def header_octets(data: Octets) -> bytes:
    """The header of a message, its blank line included, as far as it is read."""
    return data[: min(header_end(data, 0, len(data)), DEFAULT_LIMITS.header)]
