"""Finds the mailboxes that filters name: for searches in several (RFC 7377) and notices of several (RFC 5465)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycyrus.errors import InvalidMailboxName
from pycyrus.imap.wire.mailbox_filters import Where
from pycyrus.model.mailbox_name import MailboxName, inbox_of
from pycyrus.model.scopes import ListScope, Namespace

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pycyrus.imap.session import Session
    from pycyrus.imap.wire.mailbox_filters import MailboxFilter


async def mailboxes_of(session: Session, filters: Iterable[MailboxFilter]) -> list[MailboxName]:
    """
    The mailboxes that exist, may be seen, and are named by any of the filters; each once.

    What cannot be found is left out, so that nobody learns what is hidden
    (RFC 7377 section 4).  The selected mailbox is the session's own affair.
    """
    found: dict[MailboxName, None] = {}
    for each in filters:
        found.update(dict.fromkeys(await _mailboxes_of(session, each)))
    return list(found)


async def _mailboxes_of(session: Session, wanted: MailboxFilter) -> Sequence[MailboxName]:
    where = wanted.where
    if where is Where.INBOXES:
        # Deliveries to folders need a plus address or a script; what everybody's mail comes to is the INBOX.
        inbox = inbox_of(session.user)
        return [name for name in await _existing(session, [ListScope(Namespace.PERSONAL)]) if name == inbox]
    if where is Where.PERSONAL:
        names = await _existing(session, [ListScope(Namespace.PERSONAL)])
        return [name for name in names if name.owned_by(session.user)]
    if where is Where.SUBSCRIBED:
        return sorted(await session.store.subscriptions(session.user))
    if where in (Where.SELECTED, Where.SELECTED_DELAYED):
        return []
    return [name for wire in wanted.mailboxes for name in await _named(session, wire, where)]


async def _named(session: Session, wire: bytes, where: Where) -> Sequence[MailboxName]:
    """The mailbox of a name, and those below it that are asked for."""
    utf8 = session.is_utf8
    try:
        root = session.names.decode(wire, utf8=utf8)
    except InvalidMailboxName:
        return []
    if where is Where.MAILBOXES:
        return [root]
    deepest = len(root.path) + 1 if where is Where.SUBTREE_ONE else None
    names = await _existing(session, session.names.scopes(wire, utf8=utf8))
    return [
        name
        for name in names
        if name == root or (name.is_below(root) and (deepest is None or len(name.path) <= deepest))
    ]


async def _existing(session: Session, scopes: Sequence[ListScope]) -> list[MailboxName]:
    return [listing.name for listing in await session.store.list(session.user, scopes) if listing.exists]
