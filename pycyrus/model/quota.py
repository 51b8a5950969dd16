"""Quotas: what is limited, how much is used, and whether there is room (RFC 9208)."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pycyrus.model.mailbox_name import MailboxName


class Resource(enum.Enum):
    """What a quota limits; the values are names of RFC 9208 section 5."""

    STORAGE = "STORAGE"
    MESSAGE = "MESSAGE"
    ANNOTATION_STORAGE = "ANNOTATION-STORAGE"
    MAILBOX = "MAILBOX"

    @property
    def unit(self) -> int:
        """Of limits and of told use: octets where it is storage, else pieces."""
        return 1024 if self in (Resource.STORAGE, Resource.ANNOTATION_STORAGE) else 1


RESOURCES: Mapping[str, Resource] = {
    **{resource.value: resource for resource in Resource},
    "X-ANNOTATION-STORAGE": Resource.ANNOTATION_STORAGE,
    "X-NUM-FOLDERS": Resource.MAILBOX,
}
"""By the names that are known: those of RFC 9208, and Cyrus's of before."""


class Enforcement(enum.Enum):
    """How strictly a quota is kept when something is added."""

    FULL = "full"
    """What is added must fit."""
    LENIENT = "lenient"
    """Only what is over its limit already takes nothing more, as Cyrus does for deliveries."""
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Limit:
    """
    One limit of a quota root.

    @ivar name: As it was set, and is told: old clients know other names.
    @ivar value: In units of the resource.
    """

    name: str
    value: int

    @property
    def resource(self) -> Resource:
        """What is limited."""
        return RESOURCES[self.name]


@dataclass(frozen=True, slots=True)
class Usage:
    """What is used, or is to be added: octets and pieces."""

    octets: int = 0
    messages: int = 0
    annotation_octets: int = 0
    mailboxes: int = 0

    def of(self, resource: Resource) -> int:
        """Use of a resource, in octets or pieces."""
        return {
            Resource.STORAGE: self.octets,
            Resource.MESSAGE: self.messages,
            Resource.ANNOTATION_STORAGE: self.annotation_octets,
            Resource.MAILBOX: self.mailboxes,
        }[resource]


NOTHING = Usage()


@dataclass(frozen=True, slots=True)
class Quota:
    """A quota root, with what is used of it."""

    root: MailboxName
    usage: Usage
    limits: tuple[Limit, ...]

    def used(self, limit: Limit) -> int:
        """In units of the limit."""
        return self.usage.of(limit.resource) // limit.resource.unit

    def exceeded_by(self, more: Usage = NOTHING) -> Limit | None:
        """
        The limit that would be exceeded.

        @param more: What is to be added; with nothing, the limit that is exceeded
            already.
        """
        return exceeded(self.limits, self.usage, more)


def exceeded(limits: Sequence[Limit], usage: Usage, more: Usage = NOTHING) -> Limit | None:
    """The first limit that use and what is to be added are above."""
    for limit in limits:
        resource = limit.resource
        if usage.of(resource) + more.of(resource) > limit.value * resource.unit:
            return limit
    return None
