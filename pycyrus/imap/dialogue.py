"""Lines from the client that are no commands: what it says during AUTHENTICATE and IDLE."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from pycyrus.imap.replies import Bye
from pycyrus.imap.wire.frames import Overflow

if TYPE_CHECKING:
    from collections.abc import Callable

    from pycyrus.imap.wire.frames import FrameReader


class Dialogue:
    """
    Awaits lines for the command at work.

    @ivar is_waiting: Whether it does now.
    """

    __slots__ = ("_longest", "_reader", "_resume", "_waiter", "_woken")

    def __init__(self, reader: FrameReader, longest: int, resume: Callable[[], None]) -> None:
        """
        @param longest: Octets of a line.
        @param resume: Has the client read again, before a line is awaited.
        """
        self._reader = reader
        self._longest = longest
        self._resume = resume
        self._waiter: Deferred[None] | None = None
        self._woken = False

    @property
    def is_waiting(self) -> bool:
        """See above."""
        return self._waiter is not None

    async def read_line_or_wake(self) -> bytes | None:
        """
        Wait for a line, or for L{wake}.

        @return: The line without its end; None when woken.
        @raise Bye: The line is too long.
        """
        line = self._reader.next_line(self._longest)
        while line is None:
            if self._woken:
                self._woken = False
                return None
            self._waiter = Deferred()
            self._resume()
            await self._waiter
            line = self._reader.next_line(self._longest)
        if isinstance(line, Overflow):
            raise Bye(b"[TOOBIG] " + line.text)
        return line

    async def read_long_line(self, longest: int) -> bytes:
        """
        Wait for a line that is a part of a command.

        @raise Bye: It is too long.
        """
        while (line := self._reader.next_line(longest)) is None:
            await self._more()
        if isinstance(line, Overflow):
            raise Bye(b"[TOOBIG] " + line.text)
        return line

    async def read_octets(self, most: int) -> bytes:
        """Wait for octets that are a part of a command; as many as there are, and one at least."""
        while not (data := self._reader.next_octets(most)):
            await self._more()
        return data

    async def _more(self) -> None:
        self._waiter = Deferred()
        self._resume()
        await self._waiter

    def wake(self) -> None:
        """Have L{read_line_or_wake} return."""
        self._woken = True
        self.came()

    def came(self) -> None:
        """Octets came from the client."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.callback(None)
