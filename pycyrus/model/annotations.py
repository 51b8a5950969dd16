"""
Entries of METADATA (RFC 5464) that Cyrus defines, for mailboxes and for the server.

An entry has a scope: C{/shared} is one value for all, C{/private} one for each user.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

VENDOR = "/vendor/cmu/cyrus-imapd"
MAX_ENTRY = 1024
_NAME = re.compile(r"(?:/[!-$&-)+-.0-~]+)+")


class AnnotationScope(enum.Enum):
    """Whose value it is."""

    SHARED = "/shared"
    PRIVATE = "/private"


BOTH = frozenset(AnnotationScope)
SHARED = frozenset((AnnotationScope.SHARED,))
PRIVATE = frozenset((AnnotationScope.PRIVATE,))


class ValueKind(enum.Enum):
    """What values an entry takes; the value is a regular expression."""

    TEXT = r"(?s:.*)"
    SWITCH = r"(?i:true|false)"
    DURATION = r"(?:[0-9]+[dhms]?)+"


@dataclass(frozen=True, slots=True)
class Definition:
    """
    One entry.

    @ivar scopes: In which it exists.
    @ivar right: Needed to set it, beyond those for all.
    @ivar is_computed: It tells a fact, and cannot be set.
    """

    scopes: frozenset[AnnotationScope]
    right: str = ""
    kind: ValueKind = ValueKind.TEXT
    is_computed: bool = False


_A = "a"
_FACT = Definition(SHARED, is_computed=True)

MAILBOX_ENTRIES: dict[str, Definition] = {
    **{f"/{name}": Definition(BOTH) for name in ("check", "checkperiod", "comment", "sort", "thread")},
    "/specialuse": Definition(PRIVATE, is_computed=True),
    **{f"{VENDOR}/{name}": Definition(SHARED, _A, ValueKind.DURATION) for name in ("expire", "archive", "delete")},
    **{f"{VENDOR}/{name}": Definition(SHARED, _A) for name in ("news2mail", "sieve", "squat", "pop3showafter")},
    **{
        f"{VENDOR}/{name}": Definition(SHARED, _A, ValueKind.SWITCH)
        for name in ("sharedseen", "duplicatedeliver", "pop3newuidl", "condstore", "search-fuzzy-always")
    },
    f"{VENDOR}/sortorder": Definition(PRIVATE),
    **{f"{VENDOR}/{name}": _FACT for name in ("partition", "size", "lastupdate", "uniqueid")},
}
SERVER_ENTRIES: dict[str, Definition] = {
    **{name: Definition(SHARED) for name in ("/admin", "/comment", "/motd", f"{VENDOR}/shutdown", f"{VENDOR}/squat")},
    f"{VENDOR}/expire": Definition(SHARED, kind=ValueKind.DURATION),
    **{f"{VENDOR}/{name}": _FACT for name in ("freespace/total", "freespace/percent/most")},
}


def split_entry(name: str) -> tuple[AnnotationScope, str] | None:
    """
    Take the scope off an entry's name.

    @param name: As on the wire, in any case.
    @return: The scope, and the rest in lower case; None if it is no such name.
    """
    lowered = name.lower()
    for scope in AnnotationScope:
        rest = lowered.removeprefix(scope.value)
        if rest != lowered and _NAME.fullmatch(rest) and len(rest) <= MAX_ENTRY:
            return scope, rest
    return None
