"""STATUS."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pycyrus.imap.commands.condstore import use_condstore
from pycyrus.imap.wire.mailboxes import StatusItem, encode_status

if TYPE_CHECKING:
    from pycyrus.imap.session import Session
    from pycyrus.imap.wire.mailboxes import Status
    from pycyrus.interfaces import MailboxStatus
    from pycyrus.model.names import MailboxName

_VALUES: dict[StatusItem, Callable[[MailboxStatus], int]] = {
    StatusItem.MESSAGES: lambda status: status.counts.messages,
    StatusItem.RECENT: lambda status: status.counts.recent,
    StatusItem.UIDNEXT: lambda status: status.uidnext,
    StatusItem.UIDVALIDITY: lambda status: status.uidvalidity,
    StatusItem.UNSEEN: lambda status: status.counts.unseen,
    StatusItem.DELETED: lambda status: status.counts.deleted,
    StatusItem.DELETED_STORAGE: lambda status: status.deleted_size,
    StatusItem.SIZE: lambda status: status.counts.size,
    StatusItem.HIGHESTMODSEQ: lambda status: status.highest_modseq,
}


async def status(session: Session, command: Status) -> None:
    """
    Tell numbers of a mailbox without selecting it (RFC 9051 section 6.3.11).

    @raise MailboxNotFound: Absent or hidden.
    @raise PermissionDenied: Without the right to read.
    """
    name = session.names.decode(command.mailbox, utf8=session.is_utf8)
    line = await status_line(session, name, command.items)
    if StatusItem.HIGHESTMODSEQ in command.items:
        use_condstore(session)
    session.write(line)


async def status_line(session: Session, name: MailboxName, items: frozenset[StatusItem]) -> bytes:
    """
    Make a STATUS response.

    @raise MailboxNotFound: As for L{status}.
    """
    found = await session.store.status(session.user, name)
    values = [(item, _value(session, found, item)) for item in StatusItem if item in items]
    return encode_status(session.names.encode(name, utf8=session.is_utf8), values, utf8=session.is_utf8)


def _value(session: Session, found: MailboxStatus, item: StatusItem) -> bytes:
    if item is StatusItem.MAILBOXID:
        return b"(%b)" % found.unique_id.encode("ascii")
    if item is StatusItem.APPENDLIMIT:
        # RFC 7889 section 4.1
        limit = session.settings.max_message_size
        return b"%d" % limit if limit else b"NIL"
    return b"%d" % _VALUES[item](found)
