"""Leaving the selected mailbox, perhaps without its deleted messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger
from twisted.python.failure import Failure

from pycyrus.errors import MailboxNotFound, MailStoreError
from pycyrus.interfaces import Expunged
from pycyrus.model.acl import EXPUNGE
from pycyrus.tasks import Tasks

if TYPE_CHECKING:
    from pycyrus.imap.selected import SelectedMailbox
    from pycyrus.imap.session import Session

_log = Logger()
_unattended = Tasks()
"""What is done for sessions that are gone."""


async def expunge(selected: SelectedMailbox) -> Expunged | None:
    """
    Expunge what is deleted, without a word (RFC 9051 section 6.4.1).

    @return: None where that may not be done, or there is no mailbox any more.
    @raise StoreUnavailable: Nothing was expunged.
    """
    if selected.read_only:
        return None
    try:
        return await selected.mailbox.expunge() if EXPUNGE in selected.mailbox.rights() else None
    except MailboxNotFound:
        # It may have gone meanwhile: closing it is still possible.
        return None


async def leave(session: Session) -> None:
    """Leave the selected mailbox, if there is one; with C{autoexpunge} without what is deleted."""
    selected, session.selected = session.selected, None
    if selected is None:
        return
    if session.settings.expunges_when_left:
        await _expunge_and_close(selected)
    else:
        selected.close()


def leave_at_once(session: Session) -> None:
    """The same at the end of a session: nobody waits for it."""
    selected, session.selected = session.selected, None
    if selected is None:
        return
    if session.settings.expunges_when_left and not selected.read_only:
        _unattended.spawn(_expunge_and_close(selected), _failed)
    else:
        selected.close()


async def _expunge_and_close(selected: SelectedMailbox) -> None:
    try:
        await expunge(selected)
    except MailStoreError as error:
        # What is deleted stays so, until the mailbox is left the next time.
        _log.warn("a mailbox was left with its deleted messages: {error}", error=error)
    finally:
        selected.close()


def _failed(failure: Failure) -> None:
    _log.failure("a mailbox was left with its deleted messages", failure)
