"""
Header fields as octets: where a header ends, its fields, subsets of them.

RFC 5322 section 2.2.  A line ends with CRLF; a bare LF is taken for one, so
that every octet string has a meaning.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from mmap import mmap
from typing import Final, TypeAlias

Octets: TypeAlias = bytes | mmap
"""What can be searched and sliced; a slice is bytes."""

CACHED_HEADER_NAMES: Final[frozenset[bytes]] = frozenset(
    name.upper()
    for name in (
        b"Date From Sender Reply-To To Cc Bcc Subject Message-ID In-Reply-To References "
        b"Content-Type Content-Transfer-Encoding MIME-Version Newsgroups Followup-To "
        b"List-Id List-Post List-Unsubscribe List-Help List-Archive Mailing-List Mail-Followup-To Mail-Reply-To "
        b"X-Priority X-MSMail-Priority Priority Importance Sensitivity Precedence Auto-Submitted "
        b"Return-Path Delivered-To Envelope-To X-Original-To Resent-Date Resent-From Resent-To Resent-Message-ID "
        b"Disposition-Notification-To Return-Receipt-To Errors-To Autocrypt Thread-Topic Thread-Index "
        b"X-Mailer User-Agent X-Spam-Flag X-Spam-Level X-Label X-Keywords Keywords Comments Organization"
    ).split()
)
"""Upper-cased names of the fields in C{CachedItem.HEADERS}: what mail clients ask for when they list a mailbox."""

HEADERS_NOT_CACHED: Final = b"\0"
"""Stands in C{CachedItem.HEADERS} where the fields were too large: read the header from the message."""

_FIELD_END = re.compile(rb"\n(?![ \t])")
_COLON = re.compile(rb"[ \t]*+:")


def header_end(data: Octets, start: int, end: int) -> int:
    """
    Find where the header that begins at C{start} ends, its blank line included.

    @return: The offset of the body; C{end} where there is no blank line.
    """
    first = data[start : min(start + 2, end)]
    if first == b"\r\n":
        return start + 2
    if first[:1] == b"\n":
        return start + 1
    crlf = data.find(b"\n\r\n", start, end)
    lone = data.find(b"\n\n", start, crlf + 1 if crlf >= 0 else end)
    if lone >= 0:
        return lone + 2
    return crlf + 3 if crlf >= 0 else end


def split_fields(header: bytes, most: int) -> list[bytes]:
    """
    Cut a header into its fields, with their folds, without their last LF.

    @param most: How many at most; the others are left out.
    """
    fields = _FIELD_END.split(header, most)
    return fields if len(fields) <= most else fields[:most]


class Use(enum.IntFlag):
    """What a field is read for."""

    VALUE = 1
    """Its value is wanted; the first one counts."""
    COMBINED = 2
    """Its values are wanted, joined by commas (RFC 5322 section 4.5.3)."""
    CACHED = 4
    """Its lines are kept."""
    LAST = 8
    """Its value is wanted; the last one counts, as other servers have it for what RFC 5322 allows once."""


_COMBINED: Final = int(Use.COMBINED)
_CACHED: Final = int(Use.CACHED)
_LAST: Final = int(Use.LAST)
_VALUES: Final = int(Use.VALUE | Use.COMBINED | Use.LAST)


def read_fields(
    fields: Iterable[bytes], uses: Mapping[bytes, int], longest: int = 1 << 30
) -> tuple[dict[bytes, bytes], list[bytes]]:
    """
    Read what is wanted of a header.

    @param fields: As from L{split_fields}.
    @param uses: Bits of L{Use} by lower-case name.
    @param longest: Octets of a value that are used.
    @return: Values by lower-case name, unfolded and trimmed; the fields to be
        cached.
    """
    found: dict[bytes, bytes] = {}
    more: dict[bytes, list[bytes]] = {}
    cached: list[bytes] = []
    for field in fields:
        name, colon, value = field.partition(b":")
        name = name.lower()
        use = uses.get(name)
        if use is None:
            if name[-1:] not in (b" ", b"\t"):
                continue
            # Obsolete syntax (RFC 5322 section 4.5).
            name = name.rstrip(b" \t")
            use = uses.get(name, 0)
        if not colon:
            continue
        if use & _CACHED:
            cached.append(field)
        if not use & _VALUES:
            continue
        if name not in found or use & _LAST:
            found[name] = unfold(value[:longest])
        elif use & _COMBINED:
            more.setdefault(name, [found[name]]).append(unfold(value[:longest]))
    for name, values in more.items():
        found[name] = b", ".join([value for value in values if value])[:longest]
    return found, cached


def last_value(header: bytes, name: bytes, most: int) -> bytes | None:
    """
    The value of the last field of a name, found by looking for its line instead of cutting the header into fields.

    @param name: Lower-case.
    @param most: As for L{split_fields}.
    @return: As it stands; None where looking so cannot tell whether there is one.
    """
    if len(header) > most and header.count(b"\n") >= most:
        return None
    lowered = header.lower()
    at = lowered.rfind(b"\n" + name)
    if at < 0:
        return None if lowered.startswith(name) else b""
    start = at + 1 + len(name)
    if header[start : start + 1] != b":":
        # Another name that only begins so, or obsolete syntax (RFC 5322 section 4.5).
        return None
    end = _FIELD_END.search(header, start)
    return header[start + 1 :] if end is None else header[start + 1 : end.start()]


def unfold(value: bytes) -> bytes:
    """
    Join the lines of a field's value and trim it (RFC 5322 section 2.2.3).

    NUL goes: no IMAP string may hold it.
    """
    if b"\n" in value:
        value = value.replace(b"\r\n", b"").replace(b"\n", b"")
    if b"\0" in value:
        value = value.replace(b"\0", b"")
    return value.strip()


def select_fields(header: bytes, names: Collection[bytes], invert: bool = False) -> bytes:
    """
    Choose fields, as HEADER.FIELDS and HEADER.FIELDS.NOT do (RFC 9051 section 6.4.5.1).

    @param header: A whole header, or C{CachedItem.HEADERS}.
    @param names: Upper-case.
    @param invert: Choose all others.
    @return: Their lines as they stand, in their order, and a blank line.
    """
    chosen = []
    for field in _FIELD_END.split(header):
        if field in (b"\r", b""):
            continue
        name, colon, _value = field.partition(b":")
        name = name.upper()
        if (bool(colon) and (name in names or name.rstrip(b" \t") in names)) is not invert:
            chosen.append(field)
    if chosen and not chosen[-1].endswith(b"\r"):
        # The message ends within its header.
        chosen[-1] += b"\r"
    chosen.append(b"\r\n")
    return b"\n".join(chosen)


def cached_lines(cached: Sequence[bytes] | None, most: int) -> bytes:
    """
    Build C{CachedItem.HEADERS}.

    @param cached: Fields as from L{read_fields}; None where not all of the
        header was read.
    @param most: Octets; with more, the result is L{HEADERS_NOT_CACHED}.
    """
    if cached is None:
        return HEADERS_NOT_CACHED
    if not cached:
        return b""
    lines = b"\n".join(cached)
    if len(lines) > most:
        return HEADERS_NOT_CACHED
    return lines + (b"\n" if lines.endswith(b"\r") else b"\r\n")


def field_values(header: bytes, name: bytes) -> list[bytes]:
    """
    Values of all fields of a name, unfolded.

    @param name: In any case.
    """
    # Looking for the one name is several times as fast as cutting all fields.
    lowered = b"\n" + header.lower()
    mark = b"\n" + name.lower()
    values: list[bytes] = []
    found = lowered.find(mark)
    while found >= 0:
        after = found + len(mark)
        colon = _COLON.match(lowered, after)
        if colon is not None:
            end = _FIELD_END.search(lowered, after)
            # The copy has one octet more at its start.
            values.append(unfold(header[colon.end() - 1 : end.start() - 1 if end else len(header)]))
        found = lowered.find(mark, after)
    return values
