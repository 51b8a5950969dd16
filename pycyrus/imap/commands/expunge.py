"""EXPUNGE and UID EXPUNGE."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycyrus.imap.message_limit import Taken
from pycyrus.imap.replies import No

if TYPE_CHECKING:
    from pycyrus.imap.selected import SelectedMailbox
    from pycyrus.imap.session import Session
    from pycyrus.imap.wire.copy import UidExpunge


async def expunge(session: Session, arguments: None) -> bytes | None:
    r"""
    Remove all messages with the C{\Deleted} flag (RFC 9051 section 6.4.3).

    The end of the command tells which ones.

    @raise PermissionDenied: Without the right e.
    """
    selected = writable(session)
    await selected.mailbox.expunge()
    return _reply(selected)


async def uid_expunge(session: Session, command: UidExpunge) -> bytes | None:
    r"""
    Remove messages of a set that have the C{\Deleted} flag (RFC 9051 section 6.4.9, RFC 4315 section 2.1).

    @raise PermissionDenied: Without the right e.
    """
    selected = writable(session)
    positions = selected.positions(command.sequence, by_uid=True)
    taken = Taken(session, selected, positions)
    await selected.mailbox.expunge(selected.view.uids[taken.positions])
    if taken.code is not None:
        return taken.reply()
    return _reply(selected)


def writable(session: Session) -> SelectedMailbox:
    """
    The selected mailbox, for a command that changes it.

    @raise No: It is selected read-only.
    """
    assert session.selected is not None
    if session.selected.read_only:
        raise No(b"Permission denied", b"NOPERM")
    return session.selected


def _reply(selected: SelectedMailbox) -> bytes | None:
    if not selected.is_condstore:
        return None
    # RFC 7162 section 3.2.9
    return b"[HIGHESTMODSEQ %d] Completed" % selected.mailbox.highest_modseq()
