"""NOTIFY."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycyrus.errors import InvalidMailboxName
from pycyrus.imap.notices import Notices, beginning
from pycyrus.imap.replies import No
from pycyrus.imap.wire.notify import EventKind

if TYPE_CHECKING:
    from pycyrus.imap.session import Session
    from pycyrus.imap.wire.notify import Notify

_BADEVENT = b"BADEVENT (%b)" % b" ".join(kind.value for kind in EventKind)


async def notify(session: Session, command: Notify) -> None:
    """
    Tell from now on what the client asks for, instead of what it asked for before (RFC 5465 section 3).

    @raise No: An event is asked for that is not told, or too many mailboxes; then nothing changes.
    """
    if command.unknown:
        raise No(b"Not all of these events can be told", _BADEVENT)
    if not command.groups:
        session.telling.begin(None)
        return
    for group in command.groups:
        for wire in group.where.mailboxes:
            try:
                session.names.decode(wire, utf8=session.is_utf8)
            except InvalidMailboxName:
                raise No(b"Invalid mailbox name", b"CANNOT") from None
    notices = Notices(session, command.groups)
    with beginning(notices):
        await notices.begin()
        if command.wants_status:
            await notices.tell_status()
    session.telling.begin(notices)
