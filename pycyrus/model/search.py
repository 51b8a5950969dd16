"""
Search keys as values (RFC 9051 section 6.4.4), with strings already decoded.

Message numbers are turned to UIDs before a search is handed to a mailbox: only
the session knows which number its client gave to which message.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Union

from pycyrus.model.annotations import AnnotationScope
from pycyrus.model.uids import SequenceSet


@dataclass(frozen=True, slots=True)
class All:
    """Every message."""


@dataclass(frozen=True, slots=True)
class And:
    """Messages that match every key; no keys match everything."""

    keys: tuple[SearchKey, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Messages that match either key."""

    left: SearchKey
    right: SearchKey


@dataclass(frozen=True, slots=True)
class Not:
    """Messages that do not match."""

    key: SearchKey


@dataclass(frozen=True, slots=True)
class UidSet:
    """Messages by UID; C{*} is the last message's."""

    uids: SequenceSet


@dataclass(frozen=True, slots=True)
class MessageNumbers:
    """Messages by number; the session replaces it by a L{UidSet}."""

    numbers: SequenceSet


@dataclass(frozen=True, slots=True)
class SavedResult:
    """The session's saved search result, C{$} (RFC 5182); replaced by a L{UidSet}."""


@dataclass(frozen=True, slots=True)
class HasFlag:
    """Messages with a system flag."""

    bit: int


@dataclass(frozen=True, slots=True)
class HasKeyword:
    """Messages with a keyword, compared without case."""

    keyword: bytes


@dataclass(frozen=True, slots=True)
class Recent:
    """Messages that are recent in this session; replaced by a L{UidSet}."""


class DateField(enum.Enum):
    """Which date is compared."""

    INTERNAL = "internal"
    SENT = "sent"
    SAVED = "saved"


@dataclass(frozen=True, slots=True)
class DateRange:
    """
    Messages of a span of days, disregarding time and zone.

    @ivar first: First day included, in days since the epoch; None for no bound.
    @ivar last: Last day included; None for no bound.
    """

    field: DateField
    first: int | None
    last: int | None


@dataclass(frozen=True, slots=True)
class Within:
    """RFC 5032: OLDER (C{younger} false) or YOUNGER than an interval in seconds."""

    seconds: int
    younger: bool


@dataclass(frozen=True, slots=True)
class SizeRange:
    """Messages larger than C{above} and smaller than C{below} octets."""

    above: int | None = None
    below: int | None = None


class AddressField(enum.Enum):
    """Header fields that have cached search forms."""

    FROM = "from"
    TO = "to"
    CC = "cc"
    BCC = "bcc"
    SUBJECT = "subject"


@dataclass(frozen=True, slots=True)
class HeaderContains:
    """A cached header field contains a string, compared by i;unicode-casemap."""

    field: AddressField
    text: str


@dataclass(frozen=True, slots=True)
class AnyHeaderContains:
    """Any field of that name contains a string; an empty string asks for presence."""

    name: bytes
    text: str


@dataclass(frozen=True, slots=True)
class BodyContains:
    """The decoded body contains a string."""

    text: str


@dataclass(frozen=True, slots=True)
class TextContains:
    """Header or body contain a string."""

    text: str


@dataclass(frozen=True, slots=True)
class ModifiedSince:
    """RFC 7162 section 3.1.5: modseq at least this."""

    modseq: int


@dataclass(frozen=True, slots=True)
class HasGuid:
    """Messages whose SHA-1 begins with these octets (RFC 8474 section 6: EMAILID)."""

    prefix: bytes


@dataclass(frozen=True, slots=True)
class AnnotationContains:
    """
    Messages that have an annotation (RFC 5257 section 4.7).

    @ivar entry: A name, perhaps with C{*} and C{%} in it.
    @ivar scopes: Whose value.
    @ivar text: What a value contains; None for messages that have no such annotation.
    """

    entry: str
    scopes: frozenset[AnnotationScope]
    text: str | None


SearchKey = Union[  # noqa: UP007 - forward references among the dataclasses
    All, And, Or, Not, UidSet, MessageNumbers, SavedResult, HasFlag, HasKeyword, Recent, DateRange, Within,
    SizeRange, HeaderContains, AnyHeaderContains, BodyContains, TextContains, ModifiedSince, HasGuid,
    AnnotationContains,
]  # fmt: skip


def rewritten(key: SearchKey, leaf: Callable[[SearchKey], SearchKey]) -> SearchKey:
    """
    Make another key of the same form.

    @param leaf: Gives what is to stand for a key that has no keys in it.
    """
    if isinstance(key, And):
        return And(tuple(rewritten(each, leaf) for each in key.keys))
    if isinstance(key, Or):
        return Or(rewritten(key.left, leaf), rewritten(key.right, leaf))
    if isinstance(key, Not):
        return Not(rewritten(key.key, leaf))
    return leaf(key)
