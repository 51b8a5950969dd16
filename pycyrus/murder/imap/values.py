"""Annotations of mailboxes of other servers, for listings that tell them (RFC 9590)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycyrus.errors import MailboxNotFound, StoreUnavailable
from pycyrus.imap.wire.grammar import BadSyntax, Cursor, astring
from pycyrus.murder.servers.responses import BadResponse, split_responses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pycyrus.imap.wire.frames import Literal
    from pycyrus.murder.servers.imap_link import ImapLink

_ASK = b"GETMETADATA (DEPTH infinity) %b (/shared /private)"


async def values_at(link: ImapLink, wire: bytes) -> dict[str, bytes]:
    """
    All values of a mailbox of a server, by whole entry name (RFC 5464 section 4.2).

    @param wire: The mailbox's name there.
    @raise MailboxNotFound: The server tells nothing.
    @raise StoreUnavailable: The connection went, or the server says what cannot be understood.
    """
    quoted = astring(wire).replace(b"}\r\n", b"+}\r\n")
    untagged, status, text = await link.ask(_ASK % quoted)
    if status != b"OK":
        raise MailboxNotFound(repr(text[:100]))
    values: dict[str, bytes] = {}
    try:
        for pieces in split_responses(untagged):
            if pieces and isinstance(pieces[0], bytes) and pieces[0][:11].upper() == b"* METADATA ":
                _read(pieces, values)
    except (BadResponse, BadSyntax) as error:
        raise StoreUnavailable(f"{link.server}: {error}") from None
    return values


def _read(pieces: Sequence[bytes | Literal], values: dict[str, bytes]) -> None:
    """Read a METADATA response with values (RFC 5464 section 4.4.1)."""
    cursor = Cursor(pieces, utf8=True)
    cursor.expect(b"* METADATA")
    cursor.space()
    cursor.astring()
    cursor.space()
    if cursor.peek() != 0x28:
        # It names entries that changed.
        return
    cursor.expect(b"(")
    while True:
        entry = cursor.astring().decode("utf-8", "replace").lower()
        cursor.space()
        if not cursor.take(b"NIL"):
            values[entry] = cursor.string()
        if cursor.peek() == 0x29:
            return
        cursor.space()
