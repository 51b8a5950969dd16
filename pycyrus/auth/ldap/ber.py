"""The little of BER that LDAP needs (RFC 4511 section 5.1): definite lengths, tags of one octet."""

from __future__ import annotations

from collections.abc import Iterator

INTEGER, OCTETS, ENUMERATED, BOOLEAN, SEQUENCE, SET = 0x02, 0x04, 0x0A, 0x01, 0x30, 0x31


class BadBer(ValueError):
    """Octets are not what they should be."""


def element(tag: int, body: bytes) -> bytes:
    """Write an element."""
    length = len(body)
    if length < 0x80:
        return bytes((tag, length)) + body
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + body


def octets(text: str | bytes) -> bytes:
    """Write an octet string."""
    return element(OCTETS, text if isinstance(text, bytes) else text.encode("utf-8"))


def integer(value: int, tag: int = INTEGER) -> bytes:
    """Write a number that is not negative."""
    return element(tag, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def header(data: bytes, at: int) -> tuple[int, int, int] | None:
    """
    Read how an element begins.

    @return: Its tag, and where its body begins and ends, which may be behind the end of
        C{data}; None if C{data} ends within.
    @raise BadBer: It has no definite length, or none of four octets.
    """
    if len(data) < at + 2:
        return None
    tag, length = data[at], data[at + 1]
    begin = at + 2
    if length >= 0x80:
        size = length & 0x7F
        if not 1 <= size <= 4:
            raise BadBer(f"a length of {size} octets")
        if len(data) < begin + size:
            return None
        length = int.from_bytes(data[begin : begin + size], "big")
        begin += size
    return tag, begin, begin + length


def elements(data: bytes, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
    """
    Read elements one after another.

    @return: Their tags, and where their bodies begin and end.
    @raise BadBer: They do not fill what they should.
    """
    at = begin
    while at < end:
        found = header(data, at)
        if found is None or found[2] > end:
            raise BadBer("an element is longer than what it is in")
        yield found
        at = found[2]
