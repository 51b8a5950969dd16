"""SEARCH and ESEARCH responses (RFC 9051 sections 7.3.4 and 7.3.6, RFC 4731 section 3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycyrus.imap.wire import grammar
from pycyrus.imap.wire.search import Return
from pycyrus.model.uids import encode_numbers

BLOCK = 4096
"""Numbers written in one operation."""


@dataclass(frozen=True, slots=True)
class Source:
    """
    The mailbox in which something was found (RFC 7377 section 2.1).

    @ivar mailbox: External name.
    """

    mailbox: bytes
    uidvalidity: int
    is_utf8: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """
    What a search found.

    @ivar numbers: Ascending: UIDs, or message numbers.
    @ivar modseq: What to tell of mod-sequences; None if nothing.
    @ivar is_sorted: The numbers are in an order of their own.
    @ivar partial: A range as it is told, and the numbers in it (RFC 9394 section 3.1).
    @ivar source: The mailbox, where several are searched.
    """

    numbers: NDArray[np.integer]
    modseq: int | None = None
    is_sorted: bool = False
    partial: tuple[bytes, NDArray[np.integer]] | None = None
    source: Source | None = None


def encode_search(result: Result) -> Iterator[bytes]:
    """Write C{* SEARCH}, in pieces."""
    yield b"* SEARCH"
    for start in range(0, len(result.numbers), BLOCK):
        numbers = result.numbers[start : start + BLOCK].tolist()
        yield b" " + str(numbers)[1:-1].replace(",", "").encode()
    # RFC 7162 section 3.1.5: no result, no MODSEQ.
    if result.modseq is not None and len(result.numbers):
        yield b" (MODSEQ %d)" % result.modseq
    yield b"\r\n"


def encode_esearch(tag: bytes, result: Result, returns: frozenset[Return], *, by_uid: bool) -> bytes:
    """
    Write C{* ESEARCH}.

    @param tag: Of the command that is answered.
    """
    numbers = result.numbers
    parts = [b"* ESEARCH (TAG %b%b)" % (grammar.quoted(tag), _encode_source(result.source))]
    if by_uid:
        parts.append(b"UID")
    if len(numbers):
        if Return.MIN in returns:
            parts.append(b"MIN %d" % numbers[0])
        if Return.MAX in returns:
            parts.append(b"MAX %d" % numbers[-1])
        if Return.ALL in returns:
            parts.append(b"ALL " + _encode_set(numbers, result))
    if result.partial is not None:
        told, some = result.partial
        parts.append(b"PARTIAL (%b %b)" % (told, _encode_set(some, result) if len(some) else b"NIL"))
    if Return.COUNT in returns:
        parts.append(b"COUNT %d" % len(numbers))
    if result.modseq is not None and len(numbers):
        parts.append(b"MODSEQ %d" % result.modseq)
    return b" ".join(parts) + b"\r\n"


Placed = NDArray[np.integer] | None
"""Positions in an order, from 1; None where there is no order."""


def encode_change(tag: bytes, what: bytes, places: Placed, numbers: NDArray[np.integer], *, by_uid: bool) -> bytes:
    """
    Write C{* ESEARCH} of a result that changed (RFC 5267 sections 4.3.2 and 4.3.3).

    @param tag: Of the search.
    @param what: C{ADDTO} or C{REMOVEFROM}.
    @param numbers: UIDs, or message numbers; ascending where there are no places.
    """
    if places is None:
        changes = b"0 " + encode_numbers(numbers.astype(np.uint32))
    else:
        changes = (b" %d %d" * len(numbers))[1:] % tuple(np.stack((places, numbers), axis=1).ravel().tolist())
    return b"* ESEARCH (TAG %b)%b %b (%b)\r\n" % (grammar.quoted(tag), b" UID" if by_uid else b"", what, changes)


def _encode_source(source: Source | None) -> bytes:
    if source is None:
        return b""
    name = grammar.astring(source.mailbox, utf8=source.is_utf8)
    return b" MAILBOX %b UIDVALIDITY %d" % (name, source.uidvalidity)


def _encode_set(numbers: NDArray[np.integer], result: Result) -> bytes:
    if not result.is_sorted:
        return encode_numbers(numbers)
    pieces = (numbers[start : start + BLOCK].tolist() for start in range(0, len(numbers), BLOCK))
    return b",".join(str(piece)[1:-1].replace(" ", "").encode() for piece in pieces)
