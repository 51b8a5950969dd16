"""
Arguments that were read before.

Clients say the same things over and over: which items they fetch, which
mailbox they look at.  What a parser made of octets is a value, so it can be
given again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pycyrus.imap.wire.grammar import Cursor

MAX_LENGTH = 512
"""Octets; longer arguments are hardly repeated."""
MAX_KNOWN = 2048

T = TypeVar("T")
_known: dict[tuple[Callable[[Cursor], object], bytes, bool], object] = {}


def read_rest(cursor: Cursor, parse: Callable[[Cursor], T]) -> T:
    """
    Take all that is left, to the end of the command.

    @param parse: Reads it; a pure function whose results nobody changes.
    @raise pycyrus.imap.wire.grammar.BadSyntax: From C{parse}.
    """
    rest = cursor.rest()
    if rest is None or len(rest) > MAX_LENGTH:
        return parse(cursor)
    key = (parse, rest, cursor.is_utf8)
    known = _known.get(key)
    if known is None:
        known = parse(cursor)
        if len(_known) >= MAX_KNOWN:
            _known.clear()
        _known[key] = known
    else:
        cursor.skip_rest()
    return known  # type: ignore[return-value] # what this parser made
