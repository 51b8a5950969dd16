"""
Dot-stuffing, and the end of a dot-ended body, both ways and in pieces.

RFC 5321 section 4.5.2, RFC 1939 section 3, RFC 977 section 2.4.1.  Only CRLF
ends a line here: a dot between any other line ends, such as C{LF . LF} or
C{CR LF . LF}, is content.  A reader that is more generous lets a sender smuggle
a second envelope past a relay that is not.
"""

from __future__ import annotations

import re

_END = b"\r\n.\r\n"
_STUFFED = b"\r\n."
_CRLF = b"\r\n"
_find_stuffed = re.compile(re.escape(_STUFFED)).search
"""Twice as fast in mail as C{bytes.find}, which looks for the dot first."""


class DotReader:
    """
    Takes a dot-ended body apart as it arrives.

    Nothing but the few octets that may belong to the end is kept back.
    """

    __slots__ = ("_ended", "_held", "_skip")

    def __init__(self) -> None:
        # The line end before the body is the command's; with it, a body's
        # first line is like any other.
        self._held = _CRLF
        self._skip = len(_CRLF)
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether the end was seen."""
        return self._ended

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """
        Read on.

        @param data: Octets as they came.

        @return: Content without stuffing, and what follows the end (empty
            until L{ended}).
        """
        if self._ended:
            return b"", data
        held = self._held + data if self._held else data
        found = _find_stuffed(held)
        end = -1 if found is None else found.start()
        if end >= 0 and held.startswith(_END, end):
            # Nothing is stuffed, as in most bodies.
            self._ended = True
            self._held = b""
            skip, self._skip = self._skip, 0
            return held[skip : end + 2], held[end + len(_END) :]
        if end >= 0:
            end = held.find(_END, end)
        if end >= 0:
            self._ended = True
            self._held = b""
            return self._unstuffed(held[: end + 2]), held[end + len(_END) :]
        keep = _prefix_at_end(held)
        self._held = held[len(held) - keep :]
        return self._unstuffed(held[: len(held) - keep]), b""

    def _unstuffed(self, content: bytes) -> bytes:
        content = content.replace(_STUFFED, _CRLF)
        if self._skip and content:
            content, self._skip = content[self._skip :], 0
        return content


def _prefix_at_end(data: bytes) -> int:
    """How many octets at the end of C{data} may begin the end mark."""
    for length in range(min(len(_END) - 1, len(data)), 0, -1):
        if data.endswith(_END[:length]):
            return length
    return 0


class DotWriter:
    """Stuffs a body as it goes out; what it writes has no other end in it."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = _CRLF

    def write(self, data: bytes) -> bytes:
        """
        Stuff a piece.

        @param data: Octets whose lines end in CRLF; pieces may be cut
            anywhere.

        @return: What goes to the wire.
        """
        if not data:
            return b""
        joined = self._tail + data
        stuffed = joined.replace(_STUFFED, b"\r\n..")
        written = stuffed[len(self._tail) :]
        self._tail = _CRLF if joined.endswith(_CRLF) else joined[-1:] if joined.endswith(b"\r") else b""
        return written

    def end(self) -> bytes:
        """End the body, and its last line where that is unfinished."""
        return b".\r\n" if self._tail == _CRLF else b"\r\n.\r\n"


def stuff(body: bytes) -> bytes:
    """A whole body with its end."""
    if body.startswith(b".") or _find_stuffed(body):
        writer = DotWriter()
        return writer.write(body) + writer.end()
    # Hardly any message has such a line.
    return body + (b".\r\n" if body.endswith(_CRLF) or not body else b"\r\n.\r\n")


def crlf_ended(piece: bytes) -> bytes:
    r"""
    Make CRLF the only line end: C{LF} gains its CR, a CR of no CRLF goes.

    It needs no memory between pieces, because a CR cut from its LF goes and
    the LF gains another.
    """
    if piece.count(b"\n") == piece.count(_CRLF) == piece.count(b"\r"):
        return piece
    return piece.replace(b"\r", b"").replace(b"\n", _CRLF)
