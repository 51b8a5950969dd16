"""COMPRESS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycyrus.imap.replies import No

if TYPE_CHECKING:
    from pycyrus.imap.session import Session
    from pycyrus.imap.wire.grammar import Cursor


def parse_compress(cursor: Cursor) -> bytes:
    """C{compress}, behind C{COMPRESS}: the algorithm in upper case."""
    cursor.space()
    algorithm = cursor.atom().upper()
    cursor.end()
    return algorithm


async def compress(session: Session, algorithm: bytes) -> bytes:
    """
    Compress everything both ways when this was answered (RFC 4978 section 3).

    @raise No: It is so already, or by an algorithm that is not known.
    """
    if session.is_compressed:
        raise No(b"DEFLATE active via COMPRESS", b"COMPRESSIONACTIVE")
    if algorithm != b"DEFLATE":
        raise No(b"Unknown COMPRESS algorithm: " + algorithm)
    session.after_reply(session.start_compression)
    return b"DEFLATE active"
