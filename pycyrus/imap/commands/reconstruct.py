"""RECONSTRUCT, Cyrus's command for administrators: C{cyradm} has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycyrus.imap.commands.changing import demand_changes_allowed

if TYPE_CHECKING:
    from pycyrus.imap.session import Session
    from pycyrus.imap.wire.mailboxes import Reconstruct


async def reconstruct(session: Session, command: Reconstruct) -> None:
    """
    Have the records of a mailbox and its files agree.

    @raise MailboxNotFound: Absent or hidden.
    @raise PermissionDenied: The client is no administrator.
    @raise StoreUnavailable: It cannot be done now.
    """
    demand_changes_allowed(session)
    name = session.names.decode(command.mailbox, utf8=session.is_utf8)
    await session.store.reconstruct(session.user, name, recursive=command.recursive)
