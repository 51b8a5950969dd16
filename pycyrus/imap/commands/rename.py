"""RENAME."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycyrus.errors import UnknownPartition
from pycyrus.imap.commands.changing import demand_changes_allowed
from pycyrus.imap.commands.transfers import move_away
from pycyrus.imap.wire.grammar import astring

if TYPE_CHECKING:
    from pycyrus.imap.session import Session
    from pycyrus.imap.wire.mailboxes import Rename


async def rename(session: Session, command: Rename) -> None:
    """
    Rename a mailbox with its inferiors (RFC 9051 section 6.3.6), telling of each as Cyrus does.

    With the same name and a server it is XFER.

    @raise MailboxExists: The new name is taken.
    """
    demand_changes_allowed(session)
    names, utf8 = session.names, session.is_utf8
    old = names.decode(command.old, utf8=utf8)
    new = names.decode(command.new, utf8=utf8)
    server, mark, partition = (command.partition or "").partition("!")
    if mark and old == new:
        await move_away(session, old, server, partition)
        return
    try:
        renamed = await session.store.rename(session.user, old, new, partition=command.partition)
    except UnknownPartition:
        # As in Cyrus it is the name of a server then.
        if old != new or session.transfers is None:
            raise
        await move_away(session, old, server, "")
        return
    for before, after in renamed:
        was, now = (astring(names.encode(name, utf8=utf8), utf8=utf8) for name in (before, after))
        session.write(b"* OK rename %b %b\r\n" % (was, now))
