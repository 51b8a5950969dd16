"""A message on its way in by APPEND, looked at as it passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycyrus.errors import MessageRejected

if TYPE_CHECKING:
    from pycyrus.interfaces import IStaged

NUL = "Message contains NUL characters"
BARE_NEWLINES = "Message contains bare newlines"


class IncomingMessage:
    """
    Hands octets on to a stage file, and finds what no message may contain.

    A bare LF is never repaired: what a client appends it must get back octet for
    octet (RFC 9051 section 6.3.12).  A bare CR is let through, as Cyrus and
    Dovecot do: some mailers end lines with CR CR LF, and it ends no line.

    @ivar has_nul: There was a NUL.
    @ivar size: Octets written so far.
    @ivar staged: Where the octets go.
    """

    __slots__ = ("_last", "_lfs", "_pairs", "has_nul", "size", "staged")

    def __init__(self, staged: IStaged) -> None:
        self.size = 0
        self.staged = staged
        self.has_nul = False
        self._lfs = self._pairs = 0
        self._last = b""

    def write(self, data: bytes) -> None:
        """
        Add octets.

        @raise StoreUnavailable: There is no room, or the partition failed.
        """
        self.staged.write(data)
        self.size += len(data)
        self.has_nul = self.has_nul or b"\0" in data
        self._lfs += data.count(b"\n")
        self._pairs += data.count(b"\r\n")
        if self._last == b"\r" and data[:1] == b"\n":
            self._pairs += 1
        self._last = data[-1:] or self._last

    def check(self, *, is_binary: bool) -> None:
        """
        Refuse what must not be stored.

        @param is_binary: It came as C{literal8}, whose octets are free (RFC
            3516 section 4.4); whether there may be a NUL is the mailbox's affair.
        @raise MessageRejected: Says what is wrong.
        """
        if is_binary:
            return
        if self.has_nul:
            raise MessageRejected(NUL)
        if self._lfs != self._pairs:
            raise MessageRejected(BARE_NEWLINES)

    async def ready(self) -> None:
        """
        Do what takes long in L{finish} before it.

        @raise StoreUnavailable: As C{write}.
        """
        await self.staged.ready()

    def finish(self) -> None:
        """
        End the message.

        @raise StoreUnavailable: As C{write}.
        """
        self.staged.finish()

    def discard(self) -> None:
        """Remove the file."""
        self.staged.discard()
