"""Messages with binary parts, made such as every reader can take them (RFC 3516 section 4.4, RFC 3030 section 3)."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator

from pycyrus.mime.header import Octets
from pycyrus.mime.structure import Kind, Part, let_go, parse

_ENCODING = re.compile(rb"(?im)^content-transfer-encoding[ \t]*:[^\r\n]*(?:\r?\n[ \t][^\r\n]*)*")
_BINARY = b"BINARY"
_PIECE = 57 * 4096
"""Octets encoded at a time: whole lines."""


def without_binary(data: bytes) -> list[bytes] | None:
    """
    Encode the binary parts of a message in base64.

    @return: Its octets, in pieces; None where it has a NUL elsewhere.
    """
    pieces = list(encoded_pieces(data, parse(data).root))
    return None if any(b"\0" in piece for piece in pieces) else pieces


def encoded_pieces(data: Octets, root: Part) -> Iterator[bytes]:
    """
    A message with its binary parts in base64, in pieces of at most some hundred thousand octets.

    @param root: The message taken apart.
    """
    at = 0
    for start, end, replacement in _changes(data, root):
        yield from _copied(data, at, start)
        yield from replacement
        at = end
    yield from _copied(data, at, len(data))


def _copied(data: Octets, start: int, end: int) -> Iterator[bytes]:
    for at in range(start, end, _PIECE):
        yield data[at : min(at + _PIECE, end)]
        let_go(data, at)


def _changes(data: Octets, part: Part) -> Iterator[tuple[int, int, Iterator[bytes]]]:
    """Ranges in ascending order, and what is to stand there."""
    if part.encoding == _BINARY:
        match = _ENCODING.search(data, part.header_start, part.body_start)
        if match is not None:
            # What holds other parts cannot be encoded itself (RFC 2045 section 6.4).
            name = b"base64" if part.kind is Kind.SINGLE else b"8bit"
            yield match.start(), match.end(), iter((b"Content-Transfer-Encoding: " + name,))
            if part.kind is Kind.SINGLE:
                yield part.body_start, part.end, _encoded(data, part)
    for child in part.children:
        yield from _changes(data, child)


def _encoded(data: Octets, part: Part) -> Iterator[bytes]:
    for start in range(part.body_start, part.end, _PIECE):
        octets = data[start : min(start + _PIECE, part.end)]
        # RFC 2045 section 6.8: lines of 76 characters.
        yield base64.encodebytes(octets).replace(b"\n", b"\r\n")
        let_go(data, start)
