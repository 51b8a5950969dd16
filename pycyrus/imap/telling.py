"""What a session tells its client of what changed: at the end of commands, and between them (RFC 5465)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycyrus.errors import MailboxMoving, MailboxNotFound, MailStoreError
from pycyrus.imap import contexts
from pycyrus.imap.commands.fetch import fetch
from pycyrus.imap.commands.sort import orders
from pycyrus.imap.replies import No
from pycyrus.imap.wire.fetch import Fetch
from pycyrus.model.uids import SequenceSet, number_ranges

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from pycyrus.imap.notices import Notices
    from pycyrus.imap.session import Session
    from pycyrus.imap.wire.fetch import FetchItem
    from pycyrus.model.uids import UidArray


MOVED = b"[UNAVAILABLE] Mailbox has been moved to another server"

VANISHED = b"Selected mailbox vanished from server"


class Telling:
    """
    Of one session.

    @ivar notices: What the client wants to be told at any time; None for nothing.
    """

    __slots__ = ("_between", "_is_due", "_session", "notices")

    def __init__(self, session: Session, between: Callable[[Callable[[], Coroutine[Any, Any, None]]], None]) -> None:
        """@param between: Has something done, unless a command is at work."""
        self._session = session
        self._between = between
        self.notices: Notices | None = None
        self._is_due = False

    def tell_updates(self, may_expunge: bool) -> bool:
        """
        Tell the client what changed in the selected mailbox.

        @param may_expunge: Whether messages may get new numbers now.
        @return: Whether there is more to tell.
        """
        session = self._session
        if session.selected is None:
            return False
        try:
            try:
                return session.selected.tell_updates(session, may_expunge)
            except MailboxNotFound:
                # Perhaps it was there when the telling began.
                return session.selected.tell_updates(session, may_expunge)
        except MailboxNotFound:
            self._leave(VANISHED)
            return False
        except MailboxMoving:
            # To a client that becomes empty its messages would be expunged, there as well.
            self._leave(MOVED)
            return False
        except MailStoreError as error:
            # The command itself can be answered; the next one tries again.
            session.log.warn("no updates for {session}: {error}", session=session.session_id, error=error)
            return False

    async def tell_all(self, may_expunge: bool) -> bool:
        """As L{tell_updates}, and what changed in the results of searches (RFC 5267 section 4.3)."""
        selected = self._session.selected
        if selected is None or not selected.contexts:
            return self.tell_updates(may_expunge)
        try:
            return await contexts.tell_updates(self._session, selected, may_expunge, orders)
        except MailboxMoving:
            self._leave(MOVED)
            return False

    async def fetch(self, uids: UidArray, items: tuple[FetchItem, ...]) -> None:
        """Tell items of messages of which the client knows; if they cannot be had, it asks for them again."""
        session = self._session
        sequence = SequenceSet(tuple(number_ranges(uids)))
        try:
            await fetch(session, Fetch(sequence, True, items))
        except (No, MailStoreError) as error:
            session.log.info("no items of mail for {session}: {error}", session=session.session_id, error=error)

    def _leave(self, text: bytes) -> None:
        """The client must not go on with the mailbox: perhaps it is on another server."""
        session = self._session
        if session.is_idling:
            session.say_bye(text)
        else:
            session.after_reply(lambda: session.say_bye(text))

    # --- between commands -----------------------------------------------

    def notice(self) -> None:
        """Something happened that the client may want to be told at any time; a listener."""
        session = self._session
        if self._is_due or session.is_closing:
            return
        self._is_due = True
        if session.is_idling:
            session.wake()
        else:
            session.clock.callLater(0, self._tell_due)

    def begin(self, notices: Notices | None) -> None:
        """Tell from now on what the client asked for, and nothing else; None for nothing."""
        before, self.notices = self.notices, notices
        self._is_due = False
        if before is not None:
            before.close()

    async def tell_notices(self) -> None:
        """Tell what the client wants to be told at any time."""
        self._is_due = False
        if self.notices is not None:
            await self.notices.tell()
        if self.notices is not None:
            await self.notices.tell_selected()

    def command_ended(self) -> None:
        """See what is selected now, and whether something happened meanwhile."""
        if self.notices is not None:
            self.notices.follow_selected()
            if self._is_due:
                self._session.clock.callLater(0, self._tell_due)

    def _tell_due(self) -> None:
        # A command that is at work comes here again at its end.
        if self._is_due:
            self._between(self._tell)

    async def _tell(self) -> None:
        session = self._session
        try:
            await self.tell_notices()
        except MailStoreError as error:
            session.log.warn("no notices for {session}: {error}", session=session.session_id, error=error)
