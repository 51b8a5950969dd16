"""Keywords as bits: which each has, and which new ones get."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pycyrus.errors import TooManyKeywords
from pycyrus.store import journal
from pycyrus.store.layout import microseconds
from pycyrus.store.mailbox import MailboxState


class Keywords:
    """Turns keyword names to bits, defining those that have none."""

    def __init__(self, state: MailboxState) -> None:
        self._contents = state.contents
        self._new: dict[bytes, int] = {}
        self._free: list[int] | None = None
        self.records: list[bytes] = []

    def words(self, names: Sequence[bytes], *, define: bool) -> tuple[int, int]:
        """
        The bits of keywords as two words.

        @param define: Unknown ones get a bit; otherwise they are left out.
        @raise TooManyKeywords: There is none free.
        """
        bits = 0
        for name in names:
            bit = self._contents.keyword_bit(name)
            if bit is None:
                bit = self._new.get(name.lower())
            if bit is None and define:
                bit = self._define(name)
            if bit is not None:
                bits |= 1 << bit
        return bits & 0xFFFFFFFFFFFFFFFF, bits >> 64

    def _define(self, name: bytes) -> int:
        if self._free is None:
            self._free = self._contents.free_keyword_bits()
        if not self._free:
            raise TooManyKeywords("all keyword bits are in use")
        bit = self._free.pop(0)
        self._new[name.lower()] = bit
        self.records.append(journal.keyword_record(bit, name, microseconds()))
        return bit


def translate_keywords(rows: NDArray[np.void], names: Sequence[bytes], keywords: Keywords) -> None:
    """From the source's bits to the target's."""
    words = rows["keywords"]
    used = np.bitwise_or.reduce(words, axis=0).tolist()
    if not any(used):
        return
    translated = np.zeros_like(words)
    for bit in range(len(names)):
        if not names[bit] or not used[bit >> 6] >> (bit & 63) & 1:
            continue
        low, high = keywords.words((names[bit],), define=True)
        having = words[:, bit >> 6] & np.uint64(1 << (bit & 63)) != 0
        translated[having] |= np.array([low, high], dtype=np.uint64)
    rows["keywords"] = translated
