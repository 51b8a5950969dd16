"""IMAP strings as FETCH prints them (RFC 9051 section 4.3)."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

NIL: Final = b"NIL"
LONGEST_QUOTED: Final = 1000
"""Longer strings become literals: clients expect lines of bounded length."""

# All that may stand within quotes as it is; 8-bit needs a literal (RFC 3501 section 4.3).
_PLAIN: Final = bytes(octet for octet in range(1, 128) if octet not in b'\r\n"\\')
_QUOTABLE: Final = _PLAIN + b'"\\'


def string(value: bytes) -> bytes:
    """Write a string, quoted if that can be.  NUL, which none may hold, is left out."""
    if len(value) <= LONGEST_QUOTED:
        odd = value.translate(None, _PLAIN)
        if not odd:
            return b'"%b"' % value
        if not odd.translate(None, _QUOTABLE):
            return b'"%b"' % value.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    if b"\0" in value:
        value = value.replace(b"\0", b"")
    return b"{%d}\r\n%b" % (len(value), value)


def word(value: bytes) -> bytes:
    """Write a string of which there are few, such as a media type or the name of a parameter."""
    return _known(value) if len(value) <= _LONGEST_KNOWN else string(value)


_LONGEST_KNOWN: Final = 40
_known = lru_cache(maxsize=512)(string)


def nstring(value: bytes | None) -> bytes:
    """Write a string or NIL."""
    return NIL if value is None else string(value)
