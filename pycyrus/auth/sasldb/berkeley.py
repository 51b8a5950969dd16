"""
Hash files of Berkeley DB, of version 3 and later: what Debian's libsasl2 writes.

Every page says of what kind it is, so all records are found by looking at all
pages: hashes need not be computed.
"""

from __future__ import annotations

from collections.abc import Iterator

from pycyrus.auth.sasldb.octets import Damaged, Octets

_MAGIC = 0x061561
_MAGIC_AT = 12
_PAGE_SIZE_AT, _ENCRYPTION_AT, _LAST_PAGE_AT = 20, 24, 32
_PAGE_HEADER = 26
_NEXT_AT, _ENTRIES_AT, _LENGTH_AT, _TYPE_AT = 16, 20, 22, 25
"""Within a page's header.  What is the length of an overflow page is elsewhere where its free room begins."""
_HASH_UNSORTED, _HASH, _OVERFLOW = 2, 13, 7
"""Kinds of pages."""
_KEY_OR_DATA, _OFF_PAGE = 1, 3
"""Kinds of items; others are duplicates, which a database of secrets has not."""


def byte_order(data: bytes) -> str | None:
    """The order of octets in its numbers; None if it is no such file."""
    magic = data[_MAGIC_AT : _MAGIC_AT + 4]
    for order, name in (("<", "little"), (">", "big")):
        if magic == _MAGIC.to_bytes(4, name):  # type: ignore[arg-type] # one of two words
            return order
    return None


def records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """
    All keys and values.

    @raise Damaged: It cannot be read.
    """
    octets = Octets(data, byte_order(data) or "<")
    if octets.number(_ENCRYPTION_AT, 1):
        raise Damaged("it is encrypted")
    size = octets.number(_PAGE_SIZE_AT, 4)
    if not 512 <= size <= 65536 or size & (size - 1):
        raise Damaged(f"pages of {size} octets")
    for page in range(1, octets.number(_LAST_PAGE_AT, 4) + 1):
        if octets.number(page * size + _TYPE_AT, 1) in (_HASH, _HASH_UNSORTED):
            yield from _of_page(octets, page * size, size)


def _of_page(octets: Octets, begin: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Items are written from a page's end towards its beginning: a key, its value, and so on."""
    items = []
    end = size
    for index in range(octets.number(begin + _ENTRIES_AT, 2)):
        at = octets.number(begin + _PAGE_HEADER + 2 * index, 2)
        if not _PAGE_HEADER <= at < end:
            raise Damaged(f"an item at {at} of the page at {begin}")
        items.append(_item(octets, octets.cut(begin + at, end - at), size))
        end = at
    for key, value in zip(items[::2], items[1::2], strict=False):
        if key is not None and value is not None:
            yield key, value


def _item(octets: Octets, item: bytes, size: int) -> bytes | None:
    if item[0] == _KEY_OR_DATA:
        return item[1:]
    if item[0] != _OFF_PAGE:
        return None
    words = Octets(item, "<" if byte_order(octets.data) == "<" else ">")
    page, left = words.number(4, 4), words.number(8, 4)
    if left > len(octets.data):
        raise Damaged(f"an item of {left} octets")
    pieces = []
    while left > 0:
        begin = page * size
        length = octets.number(begin + _LENGTH_AT, 2)
        if octets.number(begin + _TYPE_AT, 1) != _OVERFLOW or not 0 < length <= left:
            raise Damaged(f"the page at {begin} goes on with nothing")
        pieces.append(octets.cut(begin + _PAGE_HEADER, length))
        left -= length
        page = octets.number(begin + _NEXT_AT, 4)
    return b"".join(pieces)
