"""CLOSE and UNSELECT."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycyrus.errors import MailboxNotFound
from pycyrus.model.acl import EXPUNGE

if TYPE_CHECKING:
    from pycyrus.imap.selected import SelectedMailbox
    from pycyrus.imap.session import Session


async def close(session: Session, arguments: None) -> bytes | None:
    """
    Expunge without a word, and leave the mailbox (RFC 9051 section 6.4.1).

    @raise StoreUnavailable: Nothing was expunged; the mailbox stays selected.
    """
    assert session.selected is not None
    text = await _expunge(session.selected)
    _leave(session)
    return text


async def unselect(session: Session, arguments: None) -> None:
    """Leave the mailbox as it is (RFC 9051 section 6.4.2, RFC 3691)."""
    _leave(session)


def _leave(session: Session) -> None:
    selected, session.selected = session.selected, None
    assert selected is not None
    selected.close()


async def _expunge(selected: SelectedMailbox) -> bytes | None:
    if selected.read_only:
        return None
    try:
        if EXPUNGE not in selected.mailbox.rights():
            return None
        expunged = await selected.mailbox.expunge()
    except MailboxNotFound:
        # It may have gone meanwhile: closing it is still possible.
        return None
    if expunged.modseq is not None and selected.is_condstore and selected.knows_all_before(expunged.modseq):
        # RFC 7162 section 3.2.8; without it where others' changes would be
        # passed over by a client that resumes from there.
        return b"[HIGHESTMODSEQ %d] Completed" % expunged.modseq
    return None
