"""IMAP URLs that name a message of this server, or a part of one (RFC 5092)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from pycyrus.imap.wire.fetch import Section, parse_section
from pycyrus.imap.wire.grammar import BadSyntax, Cursor

MAX_URL = 4096
_URL = re.compile(
    rb"(?:imap://(?P<host>[^/]*))?/?"
    rb"(?P<mailbox>[^;]*?)(?:;UIDVALIDITY=(?P<uidvalidity>[0-9]{1,10}))?/?"
    rb"(?:;UID=(?P<uid>[0-9]{1,10}))"
    rb"(?:/?;SECTION=(?P<section>[^;]*?))?"
    rb"(?:/?;PARTIAL=(?P<origin>[0-9]{1,10})(?:\.(?P<length>[0-9]{1,10}))?)?",
    re.IGNORECASE,
)


class BadUrl(ValueError):
    """Not the URL of a message."""


@dataclass(frozen=True, slots=True)
class MessageUrl:
    """
    Where some octets are.

    @ivar host: As written, with user and port; None if the URL is relative.
    @ivar mailbox: In UTF-8; empty for the mailbox that is selected.
    @ivar section: What of the message.
    @ivar length: Octets wanted at most; None for all behind the origin.
    """

    host: bytes | None
    mailbox: bytes
    uidvalidity: int | None
    uid: int
    section: Section
    origin: int
    length: int | None


def parse_message_url(url: bytes) -> MessageUrl:
    """
    Read an C{imapmessagepart}, absolute or relative (RFC 5092 section 11).

    @raise BadUrl: It is something else.
    """
    match = _URL.fullmatch(url) if len(url) <= MAX_URL else None
    if match is None:
        raise BadUrl
    found = match.groupdict()
    section = b"[%b]" % unquote_to_bytes(found["section"] or b"")
    try:
        cursor = Cursor([section])
        parsed = parse_section(cursor)
        cursor.end()
    except BadSyntax:
        raise BadUrl from None
    return MessageUrl(
        found["host"],
        unquote_to_bytes(found["mailbox"].rstrip(b"/")),
        int(found["uidvalidity"]) if found["uidvalidity"] else None,
        int(found["uid"]),
        parsed,
        int(found["origin"] or 0),
        int(found["length"]) if found["length"] else None,
    )
