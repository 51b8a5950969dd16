"""Modified UTF-7, the form of mailbox names in IMAP4rev1 (RFC 3501 section 5.1.3)."""

from __future__ import annotations

import binascii
import re

_SHIFTED = re.compile(r"[^\x20-\x7e]+")
_PLAIN = re.compile(rb"[\x20-\x25\x27-\x7e]*")
_BASE64 = re.compile(rb"[A-Za-z0-9+,]*")


class BadUtf7(ValueError):
    """The octets are not modified UTF-7 in its only allowed form."""


def modified_utf7_encode(text: str) -> bytes:
    """
    Write a name.

    @param text: Without lone surrogates.
    @raise UnicodeEncodeError: It has one.
    """
    if text.isascii() and text.isprintable():
        return text.replace("&", "&-").encode("ascii") if "&" in text else text.encode("ascii")
    return _SHIFTED.sub(_shift, text.replace("&", "&-")).encode("ascii")


def _shift(match: re.Match[str]) -> str:
    octets = match[0].encode("utf-16-be")
    encoded = binascii.b2a_base64(octets, newline=False).rstrip(b"=").replace(b"/", b",")
    return f"&{encoded.decode('ascii')}-"


def modified_utf7_decode(octets: bytes) -> str:
    """
    Read a name.

    Every name has exactly one form: what should have been written plainly,
    superfluous shifts and trailing bits that are not zero are all refused.
    Otherwise one mailbox could hide behind several spellings.

    @raise BadUtf7: Not modified UTF-7.
    """
    if b"&" not in octets:
        if _end_of_plain(octets, 0) != len(octets):
            raise BadUtf7("not printable ASCII")
        return octets.decode("ascii")
    pieces: list[str] = []
    position, after_shift = 0, False
    while position < len(octets):
        end = _end_of_plain(octets, position)
        if end > position:
            pieces.append(octets[position:end].decode("ascii"))
            position, after_shift = end, False
            continue
        if octets[position] != 0x26:
            raise BadUtf7("not printable ASCII")
        end = _end_of_base64(octets, position + 1)
        if octets[end : end + 1] != b"-":
            raise BadUtf7("shift not ended")
        encoded = octets[position + 1 : end]
        if encoded:
            if after_shift:
                raise BadUtf7("adjacent shifts")
            pieces.append(_unshift(encoded))
        else:
            pieces.append("&")
        after_shift = bool(encoded)
        position = end + 1
    return "".join(pieces)


def _end_of_plain(octets: bytes, start: int) -> int:
    match = _PLAIN.match(octets, start)
    return match.end() if match else start


def _end_of_base64(octets: bytes, start: int) -> int:
    match = _BASE64.match(octets, start)
    return match.end() if match else start


def _unshift(encoded: bytes) -> str:
    padded = encoded.replace(b",", b"/") + b"=" * (-len(encoded) % 4)
    try:
        octets = binascii.a2b_base64(padded, strict_mode=True)
        text = octets.decode("utf-16-be")
    except (binascii.Error, UnicodeDecodeError) as problem:
        raise BadUtf7("bad shifted text") from problem
    if any(0x20 <= ord(character) <= 0x7E for character in text):
        raise BadUtf7("printable ASCII in shifted text")
    # Bits beyond the last character must be zero, or two spellings are one name.
    if _shift_of(octets) != encoded:
        raise BadUtf7("trailing bits")
    return text


def _shift_of(octets: bytes) -> bytes:
    return binascii.b2a_base64(octets, newline=False).rstrip(b"=").replace(b"/", b",")
