"""Numbers at places of a file that may be damaged."""

from __future__ import annotations

from struct import Struct


class Damaged(ValueError):
    """The file is not what its beginning says; the text says where."""


class Octets:
    """
    A file in memory.

    @ivar data: All of it.
    """

    def __init__(self, data: bytes, order: str) -> None:
        """@param order: Of octets in numbers, C{<} or C{>} as in L{struct}."""
        self.data = data
        self._structs = {size: Struct(order + code) for size, code in ((1, "B"), (2, "H"), (4, "I"), (8, "Q"))}

    def number(self, at: int, size: int) -> int:
        """
        An unsigned number of 1, 2, 4 or 8 octets.

        @raise Damaged: The file ends before.
        """
        if not 0 <= at <= len(self.data) - size:
            raise Damaged(f"nothing at {at}")
        found: int = self._structs[size].unpack_from(self.data, at)[0]
        return found

    def cut(self, at: int, size: int) -> bytes:
        """
        Octets.

        @raise Damaged: The file ends before.
        """
        if size < 0 or not 0 <= at <= len(self.data) - size:
            raise Damaged(f"no {size} octets at {at}")
        return self.data[at : at + size]
