"""DELETE."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycyrus.imap.commands.changing import demand_changes_allowed

if TYPE_CHECKING:
    from pycyrus.imap.session import Session
    from pycyrus.imap.wire.mailboxes import Named


async def delete(session: Session, command: Named) -> None:
    """
    Delete a mailbox (RFC 9051 section 6.3.5).

    @raise MailboxHasChildren: It has inferiors.
    @raise OperationNotSupported: It is the user's INBOX.
    """
    demand_changes_allowed(session)
    name = session.names.decode(command.mailbox, utf8=session.is_utf8)
    await session.store.delete(session.user, name)
