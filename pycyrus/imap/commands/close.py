"""CLOSE and UNSELECT."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycyrus.imap.leaving import expunge, leave

if TYPE_CHECKING:
    from pycyrus.imap.session import Session


async def close(session: Session, arguments: None) -> bytes | None:
    """
    Expunge without a word, and leave the mailbox (RFC 9051 section 6.4.1).

    @raise StoreUnavailable: Nothing was expunged; the mailbox stays selected.
    """
    selected = session.selected
    assert selected is not None
    expunged = await expunge(selected)
    session.selected = None
    selected.close()
    if expunged is None or expunged.modseq is None:
        return None
    if selected.is_condstore and selected.knows_all_before(expunged.modseq):
        # RFC 7162 section 3.2.8; without it where others' changes would be
        # passed over by a client that resumes from there.
        return b"[HIGHESTMODSEQ %d] Completed" % expunged.modseq
    return None


async def unselect(session: Session, arguments: None) -> None:
    """Leave the mailbox as it is (RFC 9051 section 6.4.2, RFC 3691)."""
    await leave(session)
