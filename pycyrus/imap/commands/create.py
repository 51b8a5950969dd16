"""CREATE."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycyrus.imap.commands.changing import demand_changes_allowed
from pycyrus.imap.replies import No

if TYPE_CHECKING:
    from pycyrus.imap.session import Session
    from pycyrus.imap.wire.mailboxes import Create


async def create(session: Session, command: Create) -> bytes:
    """
    Create a mailbox (RFC 9051 section 6.3.4).

    The reply tells its MAILBOXID (RFC 8474 section 4.2).

    @raise MailboxExists: It is there already.
    @raise PermissionDenied: Without the right to create there.
    """
    demand_changes_allowed(session)
    if command.mailbox_type is not None and command.mailbox_type.upper() != "EMAIL":
        raise No(b"Invalid mailbox type", b"CANNOT")
    own = session.settings.server_name.lower()
    if command.server is not None and command.server.lower() != own:
        raise No(b"Invalid server requested", b"CANNOT")
    partition = command.partition
    if partition is not None and partition.lower() == own:
        # Older administrators' programs write a server where a partition might stand, and mean any of it.
        partition = None
    name = session.names.decode(command.mailbox, utf8=session.is_utf8)
    unique_id = await session.store.create(session.user, name, partition=partition, special_use=command.special_use)
    return b"[MAILBOXID (%b)] Completed" % unique_id.encode("ascii")
