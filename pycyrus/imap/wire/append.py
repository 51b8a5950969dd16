"""APPEND: from its arguments to values (RFC 9051 section 6.3.12, RFC 3502)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pycyrus.imap.wire.copy import encode_uid_set
from pycyrus.imap.wire.flags import flags_of
from pycyrus.imap.wire.grammar import LITERAL, BadSyntax, Cursor
from pycyrus.imap.wire.store import MAX_FLAGS
from pycyrus.model.flags import NO_FLAGS, Flags

if TYPE_CHECKING:
    from pycyrus.imap.wire.frames import Literal
    from pycyrus.model.uids import UidArray

MAX_MESSAGES = 1000
"""Messages in one MULTIAPPEND."""


@dataclass(frozen=True, slots=True)
class AppendMessage:
    """
    One message of an APPEND.

    @ivar internaldate: Seconds since the epoch; None for now.
    """

    literal: Literal
    flags: Flags
    internaldate: int | None


@dataclass(frozen=True, slots=True)
class Append:
    """
    An APPEND.

    @ivar mailbox: As the client wrote it.
    @ivar messages: At least one.
    """

    mailbox: bytes
    messages: tuple[AppendMessage, ...]


def parse_append(cursor: Cursor) -> Append:
    """C{append}, behind C{APPEND}."""
    cursor.space()
    mailbox = cursor.astring()
    messages = [_parse_message(cursor)]
    while not cursor.at_end():
        if len(messages) >= MAX_MESSAGES:
            raise BadSyntax(b"Too many messages")
        messages.append(_parse_message(cursor))
    return Append(mailbox, tuple(messages))


def _parse_message(cursor: Cursor) -> AppendMessage:
    cursor.space()
    flags, internaldate = NO_FLAGS, None
    if cursor.peek() == 0x28:
        names = cursor.flag_list()
        if len(names) > MAX_FLAGS:
            raise BadSyntax(b"Too many flags")
        # Clients that copy a message's flags send \Recent as well; it is
        # nothing that could be kept, so it is left out.
        flags = flags_of(name for name in names if name.lower() != rb"\recent")
        cursor.space()
    if cursor.peek() == 0x22:
        internaldate = cursor.date_time()
        cursor.space()
    if cursor.peek() != LITERAL:
        raise cursor.fail(b"Literal expected")
    return AppendMessage(cursor.literal(), flags, internaldate)


def encode_appenduid(uidvalidity: int, uids: UidArray) -> bytes:
    """Write C{[APPENDUID ...]} (RFC 4315 section 3)."""
    return b"[APPENDUID %d %b]" % (uidvalidity, encode_uid_set(uids))
