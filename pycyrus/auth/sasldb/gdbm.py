"""
Files of GNU dbm as 64-bit machines write them.

A directory names the buckets, of which each has places of keys and values.
"""

from __future__ import annotations

from collections.abc import Iterator

from pycyrus.auth.sasldb.octets import Damaged, Octets

_MAGICS = frozenset({0x13579ACE, 0x13579ACF, 0x13579AD1})
_MAGICS_32 = frozenset({0x13579ACD, 0x13579AD0})
"""Of machines with file offsets of 32 bits."""
_DIRECTORY_AT, _DIRECTORY_SIZE_AT, _ELEMENTS_AT = 8, 16, 28
_TABLE_AT = 112
"""In a bucket, behind its free room."""
_ELEMENT = 24
_EMPTY = 0xFFFFFFFF
_MOST_ELEMENTS = 1 << 20


def byte_order(data: bytes) -> str | None:
    """The order of octets in its numbers; None if it is no such file."""
    for order, name in (("<", "little"), (">", "big")):
        if int.from_bytes(data[:4], name) in _MAGICS | _MAGICS_32:  # type: ignore[arg-type] # one of two words
            return order
    return None


def records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """
    All keys and values.

    @raise Damaged: It cannot be read.
    """
    octets = Octets(data, byte_order(data) or "<")
    if octets.number(0, 4) in _MAGICS_32:
        raise Damaged("it is of a 32-bit machine; write it anew on this one")
    begin, size = octets.number(_DIRECTORY_AT, 8), octets.number(_DIRECTORY_SIZE_AT, 4)
    elements = octets.number(_ELEMENTS_AT, 4)
    if elements > _MOST_ELEMENTS:
        raise Damaged(f"buckets of {elements} elements")
    directory = Octets(octets.cut(begin, size), byte_order(data) or "<")
    # Several entries in a row may name the same bucket.
    for bucket in sorted({directory.number(at, 8) for at in range(0, size - 7, 8)}):
        for index in range(elements):
            element = bucket + _TABLE_AT + index * _ELEMENT
            if octets.number(element, 4) == _EMPTY:
                continue
            at, key, value = (octets.number(element + place, width) for place, width in ((8, 8), (16, 4), (20, 4)))
            yield octets.cut(at, key), octets.cut(at + key, value)
