"""ESEARCH: a SEARCH in several mailboxes, from its arguments to a value (RFC 7377)."""

from __future__ import annotations

from dataclasses import dataclass

from pycyrus.imap.wire.grammar import BadSyntax, Cursor
from pycyrus.imap.wire.mailbox_filters import MAX_FILTERS, MailboxFilter, Where, parse_filter
from pycyrus.imap.wire.search import Return, Search, parse_search_program
from pycyrus.model.search import And, MessageNumbers, Not, Or, SavedResult, SearchKey

_SELECTED = (MailboxFilter(Where.SELECTED),)


@dataclass(frozen=True, slots=True)
class MultiSearch:
    """
    An ESEARCH.

    @ivar filters: Where to search.
    @ivar search: What for; always by UID.
    """

    filters: tuple[MailboxFilter, ...]
    search: Search

    @property
    def is_in_selected(self) -> bool:
        """Whether the selected mailbox is searched."""
        return any(each.where is Where.SELECTED for each in self.filters)

    @property
    def is_elsewhere(self) -> bool:
        """Whether any other may be."""
        return any(each.where is not Where.SELECTED for each in self.filters)


def parse_multisearch(cursor: Cursor) -> MultiSearch:
    """C{esearch}, behind its name."""
    cursor.space()
    filters: tuple[MailboxFilter, ...] = _SELECTED
    if cursor.take(b"IN"):
        cursor.space()
        filters = _parse_sources(cursor)
        cursor.space()
    search = parse_search_program(cursor, by_uid=True)
    command = MultiSearch(filters, search)
    if command.is_elsewhere:
        # RFC 7377 section 2.2: what only the selected mailbox has.
        if (search.returns or frozenset()) & {Return.SAVE, Return.UPDATE}:
            raise BadSyntax(b"Only for the selected mailbox: SAVE or UPDATE")
        if search.key is not None and _is_of_session(search.key):
            raise BadSyntax(b"Only for the selected mailbox: message numbers or $")
    return command


def _parse_sources(cursor: Cursor) -> tuple[MailboxFilter, ...]:
    """C{source-mbox}, and no C{scope-options}: none are defined."""
    filters = tuple(cursor.paren_list(parse_filter, least=1, most=MAX_FILTERS))
    if any(each.where is Where.SELECTED_DELAYED for each in filters):
        raise BadSyntax(b"Invalid mailbox filter")
    return filters


def _is_of_session(key: SearchKey) -> bool:
    """Whether only the session that selected a mailbox knows what a key means."""
    if isinstance(key, (MessageNumbers, SavedResult)):
        return True
    if isinstance(key, And):
        return any(map(_is_of_session, key.keys))
    if isinstance(key, Or):
        return _is_of_session(key.left) or _is_of_session(key.right)
    return isinstance(key, Not) and _is_of_session(key.key)
