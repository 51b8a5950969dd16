r"""
Flags: from the names clients send, to the lists they are told (RFC 9051 section 2.3.2).

C{\Recent} is of IMAP4rev1 alone, belongs to a session, and cannot be set (RFC 3501 section 2.3.2).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pycyrus.imap.wire.grammar import BadSyntax
from pycyrus.model.flags import SYSTEM_FLAG_NAMES, SYSTEM_FLAGS_BY_NAME, Flags

RECENT = 1 << 5
r"""The bit for C{\Recent} beside the system flags, in lists of flags only."""
MAX_KEYWORD_LENGTH = 255
MAX_KNOWN_LISTS = 4096
"""How many combinations of flags are kept ready for each set of keywords."""

_SYSTEM_BITS = RECENT - 1
_KEYWORD_SHIFT = 6


def flags_of(names: Iterable[bytes]) -> Flags:
    r"""
    Sort names into system flags and keywords.

    @raise BadSyntax: C{\Recent}, an unknown system flag, or a keyword too long.
    """
    system = 0
    keywords: dict[bytes, bytes] = {}
    for name in names:
        if name[:1] == b"\\":
            bit = SYSTEM_FLAGS_BY_NAME.get(name.lower())
            if bit is None:
                raise BadSyntax(b"Invalid system flag")
            system |= bit
        elif len(name) > MAX_KEYWORD_LENGTH:
            raise BadSyntax(b"Flag too long")
        else:
            keywords.setdefault(name.lower(), name)
    return Flags(system, tuple(keywords.values()))


class FlagLists:
    """
    Flag lists as FETCH prints them, for one assignment of keywords to bits.

    Most messages have one of few combinations, so each is written once.
    """

    def __init__(self, keyword_names: tuple[bytes, ...]) -> None:
        self._names = keyword_names
        self._known = _KnownLists(keyword_names)
        self._plain = np.array([_flag_list(key, ()) for key in range(2 * RECENT)], dtype=object)

    def encode(
        self, flags: NDArray[np.uint32], keywords: NDArray[np.uint64], recent: NDArray[np.bool_] | None
    ) -> list[bytes]:
        r"""
        Write one list in parentheses for each message.

        @param keywords: Shape (n, 2).
        @param recent: Which have C{\Recent}; None for none.
        """
        system = flags & np.uint32(_SYSTEM_BITS)
        if recent is not None:
            system |= recent.astype(np.uint32) << np.uint32(5)
        lists: list[bytes] = self._plain[system].tolist()
        if not self._names:
            return lists
        # Few messages have keywords: only theirs are put together.
        with_keywords = np.flatnonzero(keywords[:, 0] | keywords[:, 1])
        if not len(with_keywords):
            return lists
        known = self._known
        if len(known) > MAX_KNOWN_LISTS:
            known.clear()
        low, high = keywords[with_keywords].T.tolist()
        for place, bits, first, second in zip(
            with_keywords.tolist(), system[with_keywords].tolist(), low, high, strict=True
        ):
            lists[place] = known[bits | first << _KEYWORD_SHIFT | second << _KEYWORD_SHIFT + 64]
        return lists


class _KnownLists(dict[int, bytes]):
    r"""Lists by system bits, C{\Recent}, and the keyword bits above them."""

    def __init__(self, names: tuple[bytes, ...]) -> None:
        super().__init__()
        self._names = names

    def __missing__(self, key: int) -> bytes:
        text = self[key] = _flag_list(key, self._names)
        return text


def _flag_list(key: int, names: tuple[bytes, ...]) -> bytes:
    parts = [rb"\Recent"] if key & RECENT else []
    parts += [name for bit, name in SYSTEM_FLAG_NAMES if key & bit]
    bits = key >> _KEYWORD_SHIFT
    parts += [name for number, name in enumerate(names) if name and bits >> number & 1]
    return b"(%b)" % b" ".join(parts)


@lru_cache(maxsize=128)
def flag_lists(keyword_names: tuple[bytes, ...]) -> FlagLists:
    """The lists for an assignment of keywords, shared by all sessions that have it."""
    return FlagLists(keyword_names)


@lru_cache(maxsize=512)
def encode_defined_flags(keyword_names: tuple[bytes, ...]) -> bytes:
    """Write C{* FLAGS}: what may be seen in the mailbox."""
    names = [name for _, name in SYSTEM_FLAG_NAMES] + [name for name in keyword_names if name]
    return b"* FLAGS (%b)\r\n" % b" ".join(names)
