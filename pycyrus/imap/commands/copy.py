"""COPY, MOVE and their UID forms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycyrus.imap.commands.expunge import writable
from pycyrus.imap.message_limit import demand_within_limit
from pycyrus.imap.replies import No
from pycyrus.imap.wire.copy import encode_copyuid
from pycyrus.model.acl import INSERT, READ

if TYPE_CHECKING:
    from pycyrus.imap.selected import SelectedMailbox
    from pycyrus.imap.session import Session
    from pycyrus.imap.wire.copy import Copy
    from pycyrus.interfaces import IMailbox
    from pycyrus.model.uids import UidArray


async def copy(session: Session, command: Copy) -> bytes | None:
    """
    Copy messages, all or none (RFC 9051 section 6.4.7).

    @raise MailboxNotFound: No such target; C{creatable} where CREATE could help.
    @raise PermissionDenied: Rights: r here, i there.
    @raise OverQuota: Nothing was copied.
    """
    assert session.selected is not None
    selected = session.selected
    selected.demand(READ)
    uids = _uids(selected, command)
    demand_within_limit(session, len(uids))
    target = await _open_target(session, command)
    try:
        copied = await selected.mailbox.copy(uids, target) if len(uids) else None
    finally:
        target.close()
    if copied is None or not len(copied.source_uids):
        _check_gone(command, uids)
        return None
    return encode_copyuid(copied.uidvalidity, copied.source_uids, copied.target_uids) + b" Completed"


async def move(session: Session, command: Copy) -> bytes | None:
    """
    Move messages (RFC 6851, RFC 9051 section 6.4.8).

    The UIDs are told before the expunges, which the end of the command tells
    (RFC 6851 section 4.3).

    @raise MailboxNotFound: As L{copy}.
    @raise PermissionDenied: Rights: r, t and e here, i there.
    @raise OverQuota: Nothing was moved.
    """
    selected = writable(session)
    selected.demand(READ)
    uids = _uids(selected, command)
    demand_within_limit(session, len(uids))
    target = await _open_target(session, command)
    try:
        copied = (await selected.mailbox.move(uids, target))[0] if len(uids) else None
    finally:
        target.close()
    if copied is None or not len(copied.source_uids):
        _check_gone(command, uids)
        return None
    session.write(b"* OK %b Ok\r\n" % encode_copyuid(copied.uidvalidity, copied.source_uids, copied.target_uids))
    if selected.is_condstore:
        # RFC 7162 section 3.2.9: as for EXPUNGE.
        return b"[HIGHESTMODSEQ %d] Completed" % selected.mailbox.highest_modseq()
    return None


def _uids(selected: SelectedMailbox, command: Copy) -> UidArray:
    return selected.view.uids[selected.positions(command.sequence, by_uid=command.by_uid)]


async def _open_target(session: Session, command: Copy) -> IMailbox:
    name = session.names.decode(command.mailbox, utf8=session.is_utf8)
    return await session.store.open(session.user, name, INSERT)


def _check_gone(command: Copy, uids: UidArray) -> None:
    """
    See why nothing was found.

    No matching UID, and an empty C{$}, are no error (RFC 9051 section 6.4.9,
    RFC 5182 section 2.1); a message number stood for something.
    """
    if len(uids) and not command.by_uid:
        raise No(b"No matching messages", b"EXPUNGEISSUED")
