"""SUBSCRIBE and UNSUBSCRIBE."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycyrus.imap.commands.changing import demand_changes_allowed

if TYPE_CHECKING:
    from pycyrus.imap.session import Session
    from pycyrus.imap.wire.mailboxes import Named


async def subscribe(session: Session, command: Named) -> None:
    """
    Subscribe to a mailbox (RFC 9051 section 6.3.7).

    @raise MailboxNotFound: Absent or hidden.
    """
    await _subscribe(session, command, wanted=True)


async def unsubscribe(session: Session, command: Named) -> None:
    """End a subscription, if there was one (RFC 9051 section 6.3.8)."""
    await _subscribe(session, command, wanted=False)


async def _subscribe(session: Session, command: Named, *, wanted: bool) -> None:
    demand_changes_allowed(session)
    name = session.names.decode(command.mailbox, utf8=session.is_utf8)
    await session.store.subscribe(session.user, name, wanted)
