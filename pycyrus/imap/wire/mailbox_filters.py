"""Which mailboxes a command is about: C{filter-mailboxes} (RFC 5465 section 6, RFC 7377 section 2.2)."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from pycyrus.imap.wire.grammar import BadSyntax, Cursor

MAX_MAILBOXES = 1000
"""Names that one filter may list."""
MAX_FILTERS = 100


class Where(enum.Enum):
    """The kinds of filters."""

    SELECTED = b"SELECTED"
    SELECTED_DELAYED = b"SELECTED-DELAYED"
    INBOXES = b"INBOXES"
    PERSONAL = b"PERSONAL"
    SUBSCRIBED = b"SUBSCRIBED"
    SUBTREE = b"SUBTREE"
    SUBTREE_ONE = b"SUBTREE-ONE"
    MAILBOXES = b"MAILBOXES"


NAMING = frozenset((Where.SUBTREE, Where.SUBTREE_ONE, Where.MAILBOXES))
"""Filters that list mailboxes."""


@dataclass(frozen=True, slots=True)
class MailboxFilter:
    """
    Some mailboxes.

    @ivar mailboxes: As the client wrote them; of the kinds in L{NAMING} only.
    """

    where: Where
    mailboxes: tuple[bytes, ...] = ()


def parse_filter(cursor: Cursor) -> MailboxFilter:
    """C{filter-mailboxes}"""
    try:
        where = Where(cursor.name())
    except ValueError:
        raise BadSyntax(b"Invalid mailbox filter") from None
    if where not in NAMING:
        return MailboxFilter(where)
    cursor.space()
    if cursor.peek() == 0x28:
        return MailboxFilter(where, tuple(cursor.paren_list(Cursor.astring, least=1, most=MAX_MAILBOXES)))
    return MailboxFilter(where, (cursor.astring(),))
