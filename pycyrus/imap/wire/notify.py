"""NOTIFY: from its arguments to a value (RFC 5465 section 3)."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from pycyrus.imap.wire.fetch import FetchItem, parse_items
from pycyrus.imap.wire.grammar import BadSyntax, Cursor
from pycyrus.imap.wire.mailbox_filters import MAX_FILTERS, MailboxFilter, Where, parse_filter

_MOST_EVENTS = 32


class EventKind(enum.Enum):
    """What can happen (RFC 5465 section 5)."""

    MESSAGE_NEW = b"MessageNew"
    MESSAGE_EXPUNGE = b"MessageExpunge"
    FLAG_CHANGE = b"FlagChange"
    ANNOTATION_CHANGE = b"AnnotationChange"
    MAILBOX_NAME = b"MailboxName"
    SUBSCRIPTION_CHANGE = b"SubscriptionChange"
    MAILBOX_METADATA = b"MailboxMetadataChange"
    SERVER_METADATA = b"ServerMetadataChange"


CHANGE_EVENTS = frozenset((EventKind.FLAG_CHANGE, EventKind.ANNOTATION_CHANGE))
MESSAGE_EVENTS = frozenset((EventKind.MESSAGE_NEW, EventKind.MESSAGE_EXPUNGE)) | CHANGE_EVENTS
OF_SELECTED = frozenset((Where.SELECTED, Where.SELECTED_DELAYED))
_KINDS = {kind.value.upper(): kind for kind in EventKind}


@dataclass(frozen=True, slots=True)
class EventGroup:
    """
    Some mailboxes, and what the client wants to know of them.

    @ivar events: None of them for C{NONE}.
    @ivar items: What to fetch of new messages in the selected mailbox.
    """

    where: MailboxFilter
    events: frozenset[EventKind]
    items: tuple[FetchItem, ...] = ()


@dataclass(frozen=True, slots=True)
class Notify:
    """
    A NOTIFY.

    @ivar groups: Of C{SET}; None for C{NOTIFY NONE}.
    @ivar wants_status: Whether to tell at once how the mailboxes are.
    @ivar unknown: Whether an event is asked for that is not told: answered with BADEVENT.
    """

    groups: tuple[EventGroup, ...] = ()
    wants_status: bool = False
    unknown: bool = False


def parse_notify(cursor: Cursor) -> Notify:
    """C{notify}, behind its name."""
    cursor.space()
    if cursor.take(b"NONE"):
        cursor.end()
        return Notify()
    cursor.expect(b"SET")
    cursor.space()
    wants_status = cursor.take(b"STATUS")
    if wants_status:
        cursor.space()
    parsed = [_parse_group(cursor)]
    while not cursor.at_end():
        if len(parsed) >= MAX_FILTERS:
            raise BadSyntax(b"Too many arguments")
        cursor.space()
        parsed.append(_parse_group(cursor))
    groups = tuple(group for group, _ in parsed)
    if sum(group.where.where in OF_SELECTED for group in groups) > 1:
        raise BadSyntax(b"Only one filter for the selected mailbox")
    return Notify(groups, wants_status, any(unknown for _, unknown in parsed))


def _parse_group(cursor: Cursor) -> tuple[EventGroup, bool]:
    """C{event-group}, and whether an event in it is not known."""
    cursor.expect(b"(")
    where = parse_filter(cursor)
    if where.where is Where.SUBTREE_ONE:
        raise BadSyntax(b"Invalid mailbox filter")
    cursor.space()
    if cursor.take(b"NONE"):
        cursor.expect(b")")
        return EventGroup(where, frozenset()), False
    events = cursor.paren_list(_parse_event, least=1, most=_MOST_EVENTS)
    cursor.expect(b")")
    kinds = frozenset(kind for kind, _ in events if kind is not None)
    items = tuple(item for _, items in events for item in items)
    _check(where.where, kinds, items)
    return EventGroup(where, kinds, items), any(kind is None for kind, _ in events)


def _check(where: Where, kinds: frozenset[EventKind], items: tuple[FetchItem, ...]) -> None:
    """RFC 5465 sections 5.1 to 5.3 and 6: what goes together."""
    if (EventKind.MESSAGE_NEW in kinds) != (EventKind.MESSAGE_EXPUNGE in kinds):
        raise BadSyntax(b"MessageNew and MessageExpunge go together")
    if kinds & CHANGE_EVENTS and EventKind.MESSAGE_NEW not in kinds:
        raise BadSyntax(b"Changes need MessageNew and MessageExpunge")
    if where in OF_SELECTED and kinds - MESSAGE_EVENTS:
        raise BadSyntax(b"Only message events in the selected mailbox")
    if items and where not in OF_SELECTED:
        raise BadSyntax(b"Fetch attributes are for the selected mailbox")


def _parse_event(cursor: Cursor) -> tuple[EventKind | None, tuple[FetchItem, ...]]:
    name = cursor.name()
    kind = _KINDS.get(name)
    if kind is None:
        # One of the RFC's that is not told, or of an extension (event-ext).
        return None, ()
    if kind is EventKind.MESSAGE_NEW and cursor.take(b" ("):
        return kind, parse_items(cursor)
    return kind, ()
