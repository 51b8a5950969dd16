"""Files of LMDB, of 64-bit machines: a tree of pages, of which two tell where its newest root is."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from pycyrus.auth.sasldb.octets import Damaged, Octets

_MAGIC = 0xBEEFC0DE
_VERSION = 1
_HEADER = 16
"""Octets of a page's header."""
_FLAGS_AT, _LOWER_AT = 10, 12
_BRANCH, _LEAF = 0x01, 0x02
"""Kinds of pages."""
_BIG = 0x01
"""Of a leaf's node: its value has pages of its own."""
_NODE = 8
_MAIN_AT = _HEADER + 24 + 48
"""In a page that tells of roots, the database without a name; before it stands that of free pages."""
_NOWHERE = (1 << 64) - 1


def byte_order(data: bytes) -> str | None:
    """The order of octets in its numbers; None if it is no such file.  It is always that of the machine."""
    found = int.from_bytes(data[_HEADER : _HEADER + 4], sys.byteorder)
    return ("<" if sys.byteorder == "little" else ">") if found == _MAGIC else None


def records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """
    All keys and values.

    @raise Damaged: It cannot be read.
    """
    octets = Octets(data, byte_order(data) or "<")
    if octets.number(_HEADER + 4, 4) & 0xFFFF != _VERSION:
        raise Damaged("it is of another version of LMDB")
    size = octets.number(_HEADER + 24, 4)
    if not 512 <= size <= 65536:
        raise Damaged(f"pages of {size} octets")
    newest = max((0, size), key=lambda page: octets.number(page + _MAIN_AT + 48 + 8, 8))
    root = octets.number(newest + _MAIN_AT + 40, 8)
    if root != _NOWHERE:
        yield from _of_page(octets, root, size, set())


def _of_page(octets: Octets, page: int, size: int, seen: set[int]) -> Iterator[tuple[bytes, bytes]]:
    begin = page * size
    flags = octets.number(begin + _FLAGS_AT, 2)
    if page in seen or not flags & (_BRANCH | _LEAF):
        raise Damaged(f"the page at {begin} is neither branch nor leaf, or stands in two places")
    seen.add(page)
    for index in range((octets.number(begin + _LOWER_AT, 2) - _HEADER) // 2):
        node = begin + octets.number(begin + _HEADER + 2 * index, 2)
        low, high, kind, length = (octets.number(node + 2 * place, 2) for place in range(4))
        if flags & _BRANCH:
            yield from _of_page(octets, low | high << 16 | kind << 32, size, seen)
            continue
        at = node + _NODE + length
        if kind & _BIG:
            at = octets.number(at, 8) * size + _HEADER
        yield octets.cut(node + _NODE, length), octets.cut(at, low | high << 16)
