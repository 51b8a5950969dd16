"""
Character sets of mail, from a closed list.

Python's codec registry imports modules by the name asked for and remembers
every unknown name, so names out of messages never reach it.  Left out of the
list are codecs that are no character sets or whose cost is not linear.
"""

from __future__ import annotations

import codecs
from encodings.aliases import aliases
from typing import Final

# fmt: off
_NOT_CHARSETS: Final = frozenset((
    "base64_codec", "bz2_codec", "hex_codec", "quopri_codec", "rot_13", "uu_codec", "zlib_codec", "idna", "punycode",
    "mbcs", "oem", "undefined", "unicode_escape", "raw_unicode_escape", "charmap", "palmos", "tactis",
))
# fmt: on
_MORE_NAMES: Final = {
    "us-ascii": "ascii",
    "unknown-8bit": "latin-1",
    "x-unknown": "latin-1",
    "ansi_x3.110-1983": "latin-1",
    "utf8mb4": "utf-8",
    "utf-8-mac": "utf-8",
    "cp-850": "cp850",
    "x-sjis": "cp932",
    "shift_jis": "cp932",
    "x-gbk": "gb18030",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "ks_c_5601-1987": "cp949",
    "euc-kr": "cp949",
    "iso-8859-8-i": "iso8859_8",
    "iso-8859-8-e": "iso8859_8",
    "x-mac-roman": "mac_roman",
    "iso-10646-ucs-2": "utf-16-be",
}
_BYTE_ORDER_MARKS: Final = {
    "utf_16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
    "utf_32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
}
_LONGEST_NAME: Final = 64


def _plain(name: str) -> str:
    return "".join(char for char in name.lower() if char.isalnum())


def _codecs_by_name() -> dict[str, str]:
    """Python codecs by charset name, letters and digits only."""
    table = {}
    for alias, codec in aliases.items():
        if codec not in _NOT_CHARSETS:
            table[_plain(alias)] = table[_plain(codec)] = codec
    for codec in ("cp720", "cp737", "cp856", "cp874", "cp875", "cp1006", "koi8_r", "koi8_t", "koi8_u", "utf_8_sig"):
        table[_plain(codec)] = codec
    for name, codec in _MORE_NAMES.items():
        table[_plain(name)] = codec
    return table


_CODECS: Final = _codecs_by_name()


def find_codec(charset: bytes) -> str | None:
    """
    The name of Python's codec for a charset name in a message.

    @param charset: In any case; a language (RFC 2231 section 5) is cut off.
    @return: None for an unknown charset.
    """
    if len(charset) > _LONGEST_NAME:
        return None
    return _CODECS.get(_plain(charset.partition(b"*")[0].decode("ascii", "replace")))


def decode_charset(data: bytes, charset: bytes) -> str:
    """
    Decode text whose charset is only a claim.

    Octets that do not fit are replaced.  Where the claim is ASCII, missing or
    unknown, 8-bit text is taken for UTF-8 if it can be, else for
    windows-1252.
    """
    codec = find_codec(charset)
    if codec is None or codec in ("ascii", "utf_8"):
        return decode_unlabelled(data)
    return data.decode(_with_order(codec, data), "replace")


def _with_order(codec: str, text: bytes) -> str:
    """Without a byte order mark, the order is big-endian (RFC 2781 section 4.3)."""
    marks = _BYTE_ORDER_MARKS.get(codec)
    return codec if marks is None or text.startswith(marks) else codec + "_be"


def decode_unlabelled(data: bytes) -> str:
    """Decode text without a usable charset: UTF-8 if it is, else windows-1252 with all octets allowed."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def incremental_decoder(charset: bytes, sample: bytes) -> codecs.IncrementalDecoder:
    """
    A decoder for text that comes in pieces.

    @param sample: The beginning of the text, to guess by where the charset
        does not tell.
    """
    codec = find_codec(charset)
    if codec is None or codec in ("ascii", "utf_8"):
        try:
            codecs.getincrementaldecoder("utf-8")().decode(sample, False)
            codec = "utf-8"
        except UnicodeDecodeError:
            codec = "cp1252"
    return codecs.getincrementaldecoder(_with_order(codec, sample))("replace")
