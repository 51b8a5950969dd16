"""How many messages one command may take on (RFC 9738)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycyrus.imap.replies import No

if TYPE_CHECKING:
    from pycyrus.imap.selected import SelectedMailbox
    from pycyrus.imap.session import Session
    from pycyrus.model.uids import Positions


class Taken:
    """
    The messages that a command takes on: the last ones, where there are too many.

    @ivar positions: Of these messages, ascending.
    @ivar all_positions: Of all that it was given.
    @ivar code: The response code that tells of the others, with a space behind; None if there are none.
    """

    __slots__ = ("all_positions", "code", "positions")

    def __init__(self, session: Session, selected: SelectedMailbox, positions: Positions) -> None:
        most = session.settings.message_limit
        self.positions = self.all_positions = positions
        self.code: bytes | None = None
        if most and len(positions) > most:
            self.positions = positions[-most:]
            # The client goes on below this UID.
            self.code = b"[MESSAGELIMIT %d %d] " % (most, int(selected.view.uids[self.positions[0]]))

    def reply(self) -> bytes | None:
        """What the tagged OK says."""
        return None if self.code is None else b"%bCompleted for the last messages only" % self.code


def demand_within_limit(session: Session, count: int) -> None:
    """
    See whether a command that is done for all of its messages, or for none, may be done.

    @raise No: There are too many.
    """
    most = session.settings.message_limit
    if most and count > most:
        raise No(b"Too many messages, try a smaller subset", b"MESSAGELIMIT %d" % most)
