"""Mod-sequences, which commands that use them switch on (RFC 7162 section 3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycyrus.imap.selection import CONDSTORE

if TYPE_CHECKING:
    from pycyrus.imap.session import Session


def use_condstore(session: Session) -> None:
    """A command shows that the client knows mod-sequences: from now on it is told them."""
    if CONDSTORE in session.enabled:
        return
    session.enabled.add(CONDSTORE)
    if session.selected is not None:
        # RFC 7162 section 3.1: the client needs to know where it stands.
        session.write(b"* OK [HIGHESTMODSEQ %d] Highest\r\n" % session.selected.mailbox.highest_modseq())
