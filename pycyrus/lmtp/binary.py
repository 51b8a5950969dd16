"""
Messages that come with C{BODY=BINARYMIME} (RFC 3030 section 3).

What is kept has lines and no NUL, so that every reader can take it: binary parts are
encoded in base64, as RFC 3030 section 3 has it for those who pass a message on to where
it would not be welcome.  Which parts are binary is known when all of it is there.
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Awaitable, Callable

from pycyrus.errors import StoreUnavailable
from pycyrus.interfaces import IDelivery
from pycyrus.mime.binary import encoded_pieces
from pycyrus.mime.structure import Part, parse

_IN_MEMORY = 262_144
"""Octets; what is larger goes to a file that has no name."""
_PIECES_AT_ONCE = 4
"""Pieces handed on before other connections have their turn."""


class BinaryBody:
    """
    A message on its way in, until it can be taken apart.

    Nothing was acknowledged: what is lost with the process, the sender still has.
    """

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - closed by discard
        self._failure: StoreUnavailable | None = None

    def write(self, data: bytes) -> None:
        """Take a piece; what goes wrong is kept until L{pass_on}."""
        if self._failure is None:
            try:
                self._file.write(data)
            except OSError:
                self._failure = StoreUnavailable("a binary message cannot be spooled")

    async def pass_on(
        self,
        delivery: IDelivery,
        in_thread: Callable[[Callable[[], Part]], Awaitable[Part]],
        others: Callable[[], Awaitable[None]],
    ) -> None:
        """
        Hand the message on, encoded.

        @param in_thread: Has something computed that takes long.
        @param others: Waits until other connections had their turn.
        @raise StoreUnavailable: It could not be spooled.
        """
        if self._failure is not None:
            raise self._failure
        size = self._file.tell()
        if not size:
            return
        try:
            self._file.rollover()
            self._file.flush()
            octets = mmap.mmap(self._file.fileno(), size, access=mmap.ACCESS_READ)
        except OSError as error:
            raise StoreUnavailable("a binary message cannot be spooled") from error
        with octets:
            root = await in_thread(lambda: parse(octets).root)
            for number, piece in enumerate(encoded_pieces(octets, root), 1):
                delivery.write(piece)
                if number % _PIECES_AT_ONCE == 0:
                    await others()

    def discard(self) -> None:
        """Remove it.  May be called more than once."""
        self._file.close()
