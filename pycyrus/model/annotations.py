"""
Entries of METADATA (RFC 5464) and ANNOTATE (RFC 5257) that Cyrus defines: for mailboxes, the server, and messages.

An entry has a scope: C{/shared} is one value for all, C{/private} one for each user.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

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
    BIT = r"[01]"
    INTEGER = r"-?[0-9]+"
    NATURAL = r"[0-9]+"
    DURATION = r"(?:[0-9]+[dhms]?)+"
    MOMENT = (
        r" ?(?:[1-9]|[0-2][0-9]|3[01])-(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)-[0-9]{4}"
        r" [0-2][0-9]:[0-5][0-9]:[0-6][0-9] [+-][0-9]{4}"
    )


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
    **{f"{VENDOR}/{name}": Definition(SHARED, _A) for name in ("news2mail", "sieve", "squat")},
    f"{VENDOR}/pop3showafter": Definition(SHARED, _A, ValueKind.MOMENT),
    **{
        f"{VENDOR}/{name}": Definition(SHARED, _A, ValueKind.SWITCH)
        for name in ("sharedseen", "duplicatedeliver", "pop3newuidl", "condstore", "search-fuzzy-always")
    },
    f"{VENDOR}/sortorder": Definition(PRIVATE),
    **{f"{VENDOR}/{name}": _FACT for name in ("partition", "size", "lastupdate", "lastpop", "uniqueid")},
}
SERVER_ENTRIES: dict[str, Definition] = {
    **{name: Definition(SHARED) for name in ("/admin", "/comment", "/motd", f"{VENDOR}/shutdown", f"{VENDOR}/squat")},
    f"{VENDOR}/expire": Definition(SHARED, kind=ValueKind.DURATION),
    **{f"{VENDOR}/{name}": _FACT for name in ("freespace/total", "freespace/percent/most")},
}
MESSAGE_ENTRIES: dict[str, Definition] = {
    "/altsubject": Definition(BOTH),
    "/comment": Definition(BOTH),
}
"""RFC 5257 section 3.2."""
PART_ENTRIES: dict[str, Definition] = {
    "/comment": Definition(BOTH),
    **{f"/flags/{name}": Definition(BOTH, kind=ValueKind.BIT) for name in ("seen", "answered", "flagged", "forwarded")},
}
"""The same for parts of messages, behind the part's number."""
_PART = re.compile(r"/[1-9][0-9]*(?:\.[1-9][0-9]*)*(?=/)")


@dataclass(frozen=True, slots=True)
class AnnotationDefinitions:
    """
    All entries that there are.

    @ivar allows_undefined: Any other one exists as well, for everybody and for each user.
    """

    mailbox: Mapping[str, Definition] = field(default_factory=lambda: MAILBOX_ENTRIES)
    server: Mapping[str, Definition] = field(default_factory=lambda: SERVER_ENTRIES)
    message: Mapping[str, Definition] = field(default_factory=lambda: MESSAGE_ENTRIES)
    allows_undefined: bool = False

    def of_mailbox(self, entry: str) -> Definition | None:
        """The definition of a mailbox's entry, which is given without its scope; None if there is no such entry."""
        return self.mailbox.get(entry) or self._undefined(entry)

    def of_server(self, entry: str) -> Definition | None:
        """Likewise for the server's."""
        return self.server.get(entry) or self._undefined(entry)

    def of_message(self, entry: str) -> Definition | None:
        """Likewise for a message's, or a part's of it."""
        part = _PART.match(entry)
        if part is not None:
            return PART_ENTRIES.get(entry[part.end() :])
        return self.message.get(entry) or self._undefined(entry)

    def _undefined(self, entry: str) -> Definition | None:
        is_name = _NAME.fullmatch(entry) is not None and len(entry) <= MAX_ENTRY
        return Definition(BOTH) if self.allows_undefined and is_name else None


STANDARD_DEFINITIONS = AnnotationDefinitions()


def part_of(entry: str) -> tuple[int, ...]:
    """The numbers of the part that an entry of a message is about (RFC 5257 section 3.2.1); none for all of it."""
    part = _PART.match(entry)
    return () if part is None else tuple(map(int, part[0][1:].split(".")))


def is_message_entry(name: str, *, is_pattern: bool) -> bool:
    """
    Whether it can be the name of an entry of a message at all (RFC 5257 section 3.2), defined or not.

    @param is_pattern: It may have C{*} and C{%} in it.
    """
    if not name.isprintable() or "//" in name or name.endswith("/"):
        return False
    wild = "*" in name or "%" in name
    if wild:
        return is_pattern and name.startswith(("/", "*", "%"))
    # What begins with a digit is about a part, and nothing else is.
    return name.startswith("/") and (not name[1].isdigit() or _PART.match(name) is not None)


def is_entry(name: str) -> bool:
    """Whether it is the name of an entry, without its scope."""
    return _NAME.fullmatch(name) is not None


def entry_pattern(pattern: str) -> Callable[[str], bool]:
    """What tells whether a name matches an entry with C{*}, or C{%} for all but slashes (RFC 5257 section 4.3)."""
    if "*" not in pattern and "%" not in pattern:
        return pattern.__eq__
    words = {"*": ".*", "%": "[^/]*"}
    compiled = re.compile("".join(words.get(letter) or re.escape(letter) for letter in _merged(pattern)))
    return lambda entry: compiled.fullmatch(entry) is not None


def _merged(pattern: str) -> str:
    """With one wildcard for several in a row, which would only cost time."""
    return re.sub(r"[*%]*\*[*%]*", "*", re.sub("%+", "%", pattern))


def takes(definition: Definition, value: bytes) -> bool:
    """Whether an entry takes a value."""
    try:
        return re.fullmatch(definition.kind.value, value.decode("utf-8")) is not None
    except UnicodeDecodeError:
        return definition.kind is ValueKind.TEXT


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
