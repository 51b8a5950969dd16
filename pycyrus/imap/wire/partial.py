"""PARTIAL, of FETCH and SEARCH (RFC 9394)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pycyrus.imap.wire.grammar import BadSyntax, Cursor

_PARTIAL = re.compile(rb"-?[0-9]{1,10}+:-?[0-9]{1,10}+")


@dataclass(frozen=True, slots=True)
class Partial:
    """
    Some of a result, counted from its beginning, or from its end (RFC 9394 section 3.1).

    @ivar first: The lower bound, from 1.
    @ivar last: The upper bound, included.
    """

    first: int
    last: int
    is_from_end: bool = False

    def slice_of(self, count: int) -> slice:
        """Where these are in a result of so many."""
        if self.is_from_end:
            return slice(max(count - self.last, 0), max(count - self.first + 1, 0))
        return slice(self.first - 1, self.last)

    def encode(self) -> bytes:
        """As it is told."""
        sign = b"-" if self.is_from_end else b""
        return b"%b%d:%b%d" % (sign, self.first, sign, self.last)


def parse_partial(cursor: Cursor) -> Partial:
    """C{partial-range}"""
    match = cursor.match(_PARTIAL, b"Invalid partial range")
    ends = [int(part) for part in match.split(b":")]
    first, last = sorted(abs(end) for end in ends)
    if not first or (ends[0] < 0) != (ends[1] < 0):
        raise BadSyntax(b"Invalid partial range")
    return Partial(first, last, ends[0] < 0)
