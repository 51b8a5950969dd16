"""Changes of flags, as the events that tell of them (RFC 5423 section 4.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pycyrus.interfaces import IMailbox
from pycyrus.model.flags import DELETED, SEEN, SYSTEM_FLAG_NAMES
from pycyrus.model.uids import UidArray
from pycyrus.notices.contents import found
from pycyrus.notices.kinds import FLAGS_CLEAR, FLAGS_SET, MESSAGE_READ, MESSAGE_TRASH, Kind


@dataclass(frozen=True, slots=True, eq=False)
class FlagState:
    """The flags of some messages at a time, each array in the order of C{uids}."""

    uids: UidArray
    flags: NDArray[np.uint32]
    keywords: NDArray[np.uint64]
    names: tuple[bytes, ...]

    @classmethod
    def of(cls, mailbox: IMailbox, uids: UidArray) -> Self:
        """See what there is now; the columns live on, and so they are copied."""
        view = mailbox.view()
        at = found(view, uids)
        return cls(view.uids[at], view.flags[at].copy(), view.keywords[at].copy(), mailbox.keyword_names())

    def told(self) -> str:
        """The names of all that any of them has."""
        return " ".join(_names(self.names, self.flags, self.keywords))

    def only(self, uids: UidArray) -> Self:
        """Of some of them."""
        at = np.isin(self.uids, uids)
        return type(self)(self.uids[at], self.flags[at], self.keywords[at], self.names)


@dataclass(frozen=True, slots=True, eq=False)
class FlagChanges:
    """What one STORE did: bits that were set and cleared, of each message."""

    uids: UidArray
    flags_set: NDArray[np.uint32]
    flags_cleared: NDArray[np.uint32]
    keywords_set: NDArray[np.uint64]
    keywords_cleared: NDArray[np.uint64]
    names: tuple[bytes, ...]

    @classmethod
    def between(cls, before: FlagState, after: FlagState, excluded: frozenset[bytes]) -> Self:
        """
        Compare.

        @param excluded: Lower-cased names of flags that do not count.
        """
        before = before.only(after.uids)
        bits, words = _masks(after.names, excluded)
        return cls(
            after.uids,
            after.flags & ~before.flags & bits,
            before.flags & ~after.flags & bits,
            after.keywords & ~before.keywords & words,
            before.keywords & ~after.keywords & words,
            after.names,
        )

    def events(self) -> Iterator[tuple[Kind, UidArray, list[str]]]:
        """Kinds of events, the messages they are about, and the flags."""
        for kind, bit in ((MESSAGE_READ, SEEN), (MESSAGE_TRASH, DELETED)):
            which = (self.flags_set & np.uint32(bit)) != 0
            if which.any():
                yield kind, self.uids[which], []
        others = self.flags_set & np.uint32(~(SEEN | DELETED) & 0xFFFFFFFF)
        for kind, flags, keywords in (
            (FLAGS_SET, others, self.keywords_set),
            (FLAGS_CLEAR, self.flags_cleared, self.keywords_cleared),
        ):
            which = (flags != 0) | (keywords != 0).any(axis=1)
            if which.any():
                yield kind, self.uids[which], _names(self.names, flags, keywords)


def _names(known: tuple[bytes, ...], flags: NDArray[np.uint32], keywords: NDArray[np.uint64]) -> list[str]:
    """The flags that any message has; C{known} are the keywords of the mailbox."""
    bits = int(np.bitwise_or.reduce(flags))
    words = [int(word) for word in np.bitwise_or.reduce(keywords, axis=0)]
    names = [name for bit, name in SYSTEM_FLAG_NAMES if bits & bit]
    names += [name for number, name in enumerate(known) if words[number // 64] >> number % 64 & 1]
    return [name.decode("utf-8", "replace") for name in names]


def _masks(names: tuple[bytes, ...], excluded: frozenset[bytes]) -> tuple[np.uint32, NDArray[np.uint64]]:
    """Bits that count."""
    bits = sum(bit for bit, name in SYSTEM_FLAG_NAMES if name.lower() not in excluded)
    words = [0, 0]
    for number, name in enumerate(names):
        if name.lower() not in excluded:
            words[number // 64] |= 1 << number % 64
    return np.uint32(bits), np.array(words, np.uint64)
