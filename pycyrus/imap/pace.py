"""How much a long command does at a time, so that the other sessions of the process have their turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pycyrus.imap.session import Session

STRETCH = 0.001
"""Seconds of work after which others get their turn, and of work that is done without a look at the clock."""
FIRST = 256
"""Messages with which a command begins that does not know yet how long one takes."""
FEWEST = 16


class Pace:
    """
    Of one command.

    @ivar size: How many messages to do next.
    """

    __slots__ = ("_begun", "_looked", "_most", "_session", "size")

    def __init__(self, session: Session, most: int = FIRST, first: int = FIRST) -> None:
        """
        @param most: Messages done at a time, however little each takes.
        @param first: With how many to begin.
        """
        self._session = session
        self._most = most
        self.size = min(first, most)
        self._begun = self._looked = session.clock.seconds()

    async def did(self, count: int, *, is_last: bool = False) -> None:
        """
        So many messages are done.

        @param is_last: There are no more, so nobody need wait.
        """
        now = self._session.clock.seconds()
        took, self._looked = now - self._looked, now
        most = int(STRETCH / took * count) if took > 0 else self._most
        self.size = max(FEWEST, min(most, self._most))
        if not is_last and now - self._begun > STRETCH:
            await self._session.pause()
            self._begun = self._looked = self._session.clock.seconds()

    async def breathe(self) -> None:
        """Between two pieces of work that are not of messages."""
        if self._session.clock.seconds() - self._begun > STRETCH:
            await self._session.pause()
            self._begun = self._looked = self._session.clock.seconds()
