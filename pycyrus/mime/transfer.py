"""Content-Transfer-Encoding undone (RFC 2045 section 6), leniently."""

from __future__ import annotations

import binascii
from typing import Final

_BASE64: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
_NOT_BASE64: Final = bytes(octet for octet in range(256) if octet not in _BASE64)
_IDENTITY: Final = frozenset((b"", b"7BIT", b"8BIT", b"BINARY"))
_UUENCODE: Final = frozenset((b"X-UUENCODE", b"X-UUE", b"UUENCODE"))


class UnknownEncoding(ValueError):
    """No such Content-Transfer-Encoding is known (RFC 3516 section 4.3, UNKNOWN-CTE)."""


def decode(data: bytes, encoding: bytes) -> bytes:
    """
    Decode the body of a part.

    Octets that the encoding does not allow are skipped, and a torn end is cut
    off: never an error.

    @param encoding: Upper-case; empty for none.
    @raise UnknownEncoding: Only for that.
    """
    if encoding in _IDENTITY:
        return data
    if encoding == b"BASE64":
        return decode_base64(data)
    if encoding == b"QUOTED-PRINTABLE":
        return binascii.a2b_qp(data)
    if encoding in _UUENCODE:
        return _decode_uuencode(data)
    raise UnknownEncoding(encoding)


def decode_base64(data: bytes) -> bytes:
    """Decode base64; where padding stands in the middle, what follows it begins anew."""
    letters = data.translate(None, _NOT_BASE64)
    if not letters.rstrip(b"=").count(b"="):
        return _decode_letters(letters.rstrip(b"="))
    return b"".join([_decode_letters(piece) for piece in letters.split(b"=") if piece])


def _decode_letters(letters: bytes) -> bytes:
    extra = len(letters) % 4
    if extra:
        letters = letters[:-1] if extra == 1 else letters + b"=" * (4 - extra)
    return binascii.a2b_base64(letters)


def _decode_uuencode(data: bytes) -> bytes:
    lines = iter(data.split(b"\n"))
    for line in lines:
        if line.startswith(b"begin "):
            break
    decoded = []
    for line in lines:
        line = line.rstrip(b"\r")
        if line in (b"end", b"`", b""):
            break
        try:
            decoded.append(binascii.a2b_uu(line))
        except binascii.Error:
            # Some writers state a length that does not fit the line.
            length = ((line[0] - 32 & 63) * 4 + 5) // 3
            try:
                decoded.append(binascii.a2b_uu(line[:length]))
            except binascii.Error:
                break
    return b"".join(decoded)
