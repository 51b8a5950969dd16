"""Encoded words in header fields (RFC 2047), decoded leniently."""

from __future__ import annotations

import binascii
import re
from typing import Final

from pycyrus.mime.charsets import decode_charset, decode_unlabelled
from pycyrus.mime.transfer import decode_base64

# Spaces within the text are not allowed, but common; so are words of any length.
_WORD: Final = re.compile(rb"=\?([^?\s]{1,75}+)\?([BbQq])\?([^?]*+)\?=")


def decode_words(value: bytes) -> str:
    """
    Decode a field's value.

    White space between encoded words goes (RFC 2047 section 6.2); neighbours
    of the same charset are decoded as one, as many writers cut within a
    character.

    @param value: Unfolded.
    """
    if b"=?" not in value:
        return decode_unlabelled(value)
    pieces: list[str] = []
    pending: list[bytes] = []
    charset = b""
    end = 0
    for word in _WORD.finditer(value):
        between = value[end : word.start()]
        end = word.end()
        word_charset = word.group(1).partition(b"*")[0].lower()
        if between.strip() or word_charset != charset or not pending:
            if pending:
                pieces.append(decode_charset(b"".join(pending), charset))
                pending = []
                if between and not between.strip():
                    between = b""
            if between:
                pieces.append(decode_unlabelled(between))
            charset = word_charset
        pending.append(_decode_word(word.group(2), word.group(3)))
    if pending:
        pieces.append(decode_charset(b"".join(pending), charset))
    if end < len(value):
        pieces.append(decode_unlabelled(value[end:]))
    return "".join(pieces)


def _decode_word(encoding: bytes, text: bytes) -> bytes:
    if encoding in b"Bb":
        return decode_base64(text)
    return binascii.a2b_qp(text, header=True)
