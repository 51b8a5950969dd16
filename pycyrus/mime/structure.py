"""
The tree of a message's parts, with the offsets of each.

RFC 2045 and RFC 2046, read so that every octet string is a message.  What
cannot be taken apart, be it broken or beyond the limits, is opaque text: a
text/plain part whose body can still be fetched.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from mmap import MADV_DONTNEED, PAGESIZE, mmap
from typing import Final

from pycyrus.mime.content import (
    MESSAGE_RFC822,
    TEXT_PLAIN,
    Parameters,
    parameter,
    parse_content_type,
    parse_token,
)
from pycyrus.mime.header import CACHED_HEADER_NAMES, Octets, Use, header_end, read_fields, split_fields
from pycyrus.mime.limits import DEFAULT_LIMITS, Budget, Limits

# Plain integers: operations on an enumeration's members cost ten times as much.
_PART_USES: Final[dict[bytes, int]] = {
    b"content-" + name: int(Use.VALUE)
    for name in (b"type", b"transfer-encoding", b"id", b"description", b"disposition", b"md5", b"language", b"location")
}
_MESSAGE_USES: Final[dict[bytes, int]] = (
    _PART_USES
    | dict.fromkeys(
        (b"date", b"subject", b"from", b"sender", b"reply-to", b"in-reply-to", b"message-id"), int(Use.LAST)
    )
    | dict.fromkeys((b"to", b"cc", b"bcc"), int(Use.COMBINED))
)
_ROOT_USES: Final[dict[bytes, int]] = {
    name: _MESSAGE_USES.get(name, 0) | (int(Use.CACHED) if name.upper() in CACHED_HEADER_NAMES else 0)
    for name in {*_MESSAGE_USES, *map(bytes.lower, CACHED_HEADER_NAMES)}
}
_STEP: Final = 1 << 20
"""Octets of a mapped file that are looked through at a time: other threads can go on in between."""
_PAGE: Final = PAGESIZE


class Kind(enum.IntEnum):
    """What a part consists of."""

    SINGLE = 0
    MULTIPART = 1
    MESSAGE = 2
    """message/rfc822 or message/global: its only child is a whole message."""


@dataclass(slots=True)
class Part:
    """
    A part: the message itself, a body part, or an embedded message.

    @ivar header_start: Offset of its header.
    @ivar body_start: Offset of its body.
    @ivar end: Offset after its body; the line end before a boundary is in
        it only if it also ends the header or a closing delimiter.
    @ivar fields: Values by lower-case name, unfolded; of whole messages also
        those that ENVELOPE needs.
    @ivar media_type: Upper-case.
    @ivar subtype: Upper-case.
    @ivar encoding: Upper-case Content-Transfer-Encoding.
    @ivar lines: Line ends in the body of text and of embedded messages.
    """

    header_start: int
    body_start: int
    end: int
    fields: dict[bytes, bytes]
    media_type: bytes = b"TEXT"
    subtype: bytes = b"PLAIN"
    parameters: Parameters = TEXT_PLAIN[2]
    encoding: bytes = b"7BIT"
    kind: Kind = Kind.SINGLE
    lines: int = 0
    children: list[Part] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """
    A message taken apart.

    @ivar cached: Those fields of its header that are kept, as from
        L{pycyrus.mime.header.read_fields}; None where it was too large.
    @ivar budget: What is left of the limits.
    """

    root: Part
    cached: list[bytes] | None
    budget: Budget


def parse(data: Octets, limits: Limits = DEFAULT_LIMITS) -> Message:
    """Take a message apart."""
    parser = _Parser(data, limits)
    root, cached = parser.message(0, len(data), len(data), 0, _ROOT_USES)
    return Message(root, cached, parser.budget)


def _find(data: Octets, needle: bytes, start: int, end: int) -> int:
    """As C{find}, in pieces where another thread must not wait for all of it."""
    if not isinstance(data, mmap):
        return data.find(needle, start, end)
    while start < end:
        stop = min(start + _STEP + len(needle) - 1, end)
        found = data[start:stop].find(needle)
        let_go(data, start)
        if found >= 0:
            return start + found
        start += _STEP
    return -1


def let_go(data: Octets, before: int) -> None:
    """Have what was looked at count no more as memory of the process, where the octets are those of a file."""
    if isinstance(data, mmap) and before >= _PAGE:
        data.madvise(MADV_DONTNEED, 0, before & -_PAGE)


class _Parser:
    """The work on one message."""

    def __init__(self, data: Octets, limits: Limits) -> None:
        self.data = data
        self.limits = limits
        self.budget = Budget(limits, len(data))

    def _read_header(
        self, start: int, end: int, uses: dict[bytes, int]
    ) -> tuple[dict[bytes, bytes], list[bytes] | None]:
        """Values, and the fields to be cached; None for these where the header is too large to be read whole."""
        limits = self.limits
        fields = split_fields(self.data[start : min(end, start + limits.header)], limits.fields)
        found, cached = read_fields(fields, uses, limits.field)
        return found, None if end - start > limits.header or len(fields) >= limits.fields else cached

    def _header_end(self, start: int, end: int, limit: int) -> int:
        """The offset of the body; C{end} where there is no blank line."""
        found = header_end(self.data, start, limit)
        is_blank = end == start or self.data[end - 1 : end] == b"\n"
        return found if found < limit or is_blank else end

    def message(
        self, start: int, end: int, limit: int, depth: int, uses: dict[bytes, int]
    ) -> tuple[Part, list[bytes] | None]:
        """
        A whole message: the one given, or an embedded one.

        @param limit: Where the line ends that C{end} lies in, if a boundary follows; else C{end}.
        """
        body_start = self._header_end(start, end, limit)
        fields, cached = self._read_header(start, body_start, uses)
        return self._part(start, body_start, end, limit, fields, depth, TEXT_PLAIN), cached

    def _body_part(
        self, start: int, end: int, limit: int, depth: int, default: tuple[bytes, bytes, Parameters]
    ) -> Part:
        body_start = self._header_end(start, end, limit)
        fields, _cached = self._read_header(start, body_start, _PART_USES)
        return self._part(start, body_start, end, limit, fields, depth, default)

    def _part(
        self,
        start: int,
        body_start: int,
        end: int,
        limit: int,
        fields: dict[bytes, bytes],
        depth: int,
        default: tuple[bytes, bytes, Parameters],
    ) -> Part:
        self.budget.parts -= 1
        part = Part(start, body_start, max(body_start, end), fields)
        content_type = fields.get(b"content-type")
        if content_type is None:
            part.media_type, part.subtype, part.parameters = default
        else:
            part.media_type, part.subtype, part.parameters = parse_content_type(content_type, self.limits, self.budget)
        encoding = fields.get(b"content-transfer-encoding")
        if encoding:
            part.encoding = parse_token(encoding) or b"7BIT"
        if part.media_type == b"TEXT":
            part.lines = self._count_lines(part)
        elif part.media_type == b"MULTIPART":
            self._multipart(part, limit, depth + 1)
        elif part.media_type == b"MESSAGE" and part.subtype in (b"RFC822", b"GLOBAL"):
            self._embedded(part, limit, depth + 1)
        return part

    def _embedded(self, part: Part, limit: int, depth: int) -> None:
        """message/rfc822 (RFC 2046 section 5.2.1), message/global (RFC 6532 section 3.7)."""
        if depth > self.limits.depth or self.budget.parts <= 0 or not self.budget.scan(part.end - part.body_start):
            self._make_opaque(part)
            return
        part.kind = Kind.MESSAGE
        child = self.message(part.body_start, part.end, limit, depth, _MESSAGE_USES)[0]
        part.children.append(child)
        part.end = child.end
        part.lines = self._count_lines(part)

    def _multipart(self, part: Part, limit: int, depth: int) -> None:
        """At least one part, empty where the body has none (RFC 9051 section 9, body-type-mpart)."""
        boundary = (parameter(part.parameters, b"BOUNDARY") or b"").rstrip()
        if not (
            boundary
            and len(boundary) <= self.limits.boundary
            and depth <= self.limits.depth
            and self.budget.parts > 0
            and self.budget.scan(part.end - part.body_start)
        ):
            self._make_opaque(part)
            return
        part.kind = Kind.MULTIPART
        default = MESSAGE_RFC822 if part.subtype == b"DIGEST" else TEXT_PLAIN
        spans, closed_at = self._split(part, limit, boundary)
        for start, end, child_limit in spans or [(part.body_start, part.body_start, part.body_start)]:
            part.children.append(self._body_part(start, end, child_limit, depth, default))
        part.end = max(part.end, part.children[-1].end, closed_at)

    def _split(self, part: Part, limit: int, boundary: bytes) -> tuple[list[tuple[int, int, int]], int]:
        """
        Where the parts of a multipart lie (RFC 2046 section 5.1.1).

        Preamble and epilogue are left out.  Without a closing delimiter the
        last part goes on to the end, as does the last one that the limits
        allow.

        @return: Start, end and limit of each, and where the line of the closing delimiter ends, or 0.
        """
        body_start = part.body_start
        data = self.data
        needle = b"\n--" + boundary
        spans: list[tuple[int, int, int]] = []
        part_start = -1
        # A blank line, thus a line end, precedes the body.
        found = _find(data, needle, max(body_start - 1, 0), limit)
        while found >= 0:
            after = found + len(needle)
            rest = data[after : min(after + 2, limit)]
            closing = rest == b"--"
            if rest == b"\r\n":
                line_end = after + 2
            else:
                line_end = data.find(b"\n", after, limit) + 1 or limit
                tail = data[after : min(line_end, after + 1024)].rstrip()
                closing = tail == b"--"
                if tail and not closing:
                    # A longer word only begins like the boundary.
                    self.budget.lookalikes -= 1
                    if self.budget.lookalikes < 0:
                        break
                    found = _find(data, needle, after, limit)
                    continue
            if part_start >= 0:
                part_end = found - 1 if data[found - 1 : found] == b"\r" else found
                spans.append((part_start, max(part_end, part_start), found + 1))
            part_start = line_end
            if closing:
                return spans, line_end
            if len(spans) + 1 >= self.budget.parts:
                break
            found = _find(data, needle, line_end - 1, limit)
        if part_start >= 0:
            spans.append((part_start, max(part.end, part_start), limit))
        return spans, 0

    def _make_opaque(self, part: Part) -> None:
        part.kind = Kind.SINGLE
        part.media_type, part.subtype, part.parameters = TEXT_PLAIN
        part.lines = self._count_lines(part)

    def _count_lines(self, part: Part) -> int:
        data = self.data
        if not isinstance(data, mmap):
            return data.count(b"\n", part.body_start, part.end)
        lines = 0
        for start in range(part.body_start, part.end, _STEP):
            lines += data[start : min(start + _STEP, part.end)].count(b"\n")
            let_go(data, start)
        return lines
