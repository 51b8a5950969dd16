"""Settings of events."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from pycyrus.model.names import NamespaceSettings
from pycyrus.notices.kinds import Extra, Group


class ContentMode(enum.Enum):
    """How much of a message is told; the values are those of C{event_content_inclusion_mode}."""

    STANDARD = "standard"
    """Messages that are not larger than the limit, whole; nothing of others."""
    MESSAGE = "message"
    """Its beginning."""
    HEADER = "header"
    """The beginning of its header."""
    BODY = "body"
    """The beginning of its body."""
    HEADER_BODY = "headerbody"
    """Its header, and the beginning of its body."""


@dataclass(frozen=True, slots=True)
class EventSettings:
    """
    Which events are told, and what they tell.

    @ivar server: Our name, for URLs.
    @ivar namespace: How mailboxes are named in URLs.
    @ivar content_size: Octets of a message at most; 0 for what the server allows.
    @ivar excluded_flags: Lower-cased names of flags whose changes are not told.
    @ivar excluded_uses: Lower-cased special uses of mailboxes in which nothing is told.
    """

    server: str
    groups: frozenset[Group] = frozenset((Group.MESSAGE, Group.MAILBOX))
    extras: frozenset[Extra] = frozenset((Extra.TIMESTAMP,))
    content_mode: ContentMode = ContentMode.STANDARD
    content_size: int = 0
    excluded_flags: frozenset[bytes] = field(default=frozenset())
    excluded_uses: frozenset[str] = field(default=frozenset(("\\junk",)))
    namespace: NamespaceSettings = field(default_factory=NamespaceSettings)
