"""Message flags: system flags as bits, keywords by name (RFC 9051 section 2.3.2)."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class SystemFlag(enum.IntFlag):
    """System flags with the bit they have in the flags column."""

    ANSWERED = 1 << 0
    FLAGGED = 1 << 1
    DELETED = 1 << 2
    DRAFT = 1 << 3
    SEEN = 1 << 4


ANSWERED, FLAGGED, DELETED, DRAFT, SEEN = (int(flag) for flag in SystemFlag)

SYSTEM_FLAG_NAMES: tuple[tuple[int, bytes], ...] = (
    (ANSWERED, rb"\Answered"),
    (FLAGGED, rb"\Flagged"),
    (DRAFT, rb"\Draft"),
    (DELETED, rb"\Deleted"),
    (SEEN, rb"\Seen"),
)
"""Bits and names, in the order in which they are told to clients."""

SYSTEM_FLAGS_BY_NAME: dict[bytes, int] = {name.lower(): bit for bit, name in SYSTEM_FLAG_NAMES}
"""Bits by lower-cased name: system flags are case-insensitive."""

MAX_KEYWORDS = 128
"""Keywords in one mailbox, as in Cyrus: two 64-bit columns."""


@dataclass(frozen=True, slots=True)
class Flags:
    """
    A set of flags, apart from any mailbox.

    @ivar system: Bits of L{SystemFlag}.
    @ivar keywords: Keyword names as first spelt; compared without case.
    """

    system: int = 0
    keywords: tuple[bytes, ...] = ()


NO_FLAGS = Flags()


class FlagAction(enum.Enum):
    """What STORE does with the flags given (RFC 9051 section 6.4.6)."""

    REPLACE = "replace"
    ADD = "add"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class FlagChange:
    """A change of flags, the same for every message it is applied to."""

    action: FlagAction
    flags: Flags
