"""
Which mailbox: the value that goes everywhere, instead of name strings.

Its textual forms belong to L{pycyrus.model.internal_names} and
L{pycyrus.model.namespace}.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import total_ordering

from pycyrus.model.identity import Identity


@total_ordering
@dataclass(frozen=True, slots=True)
class MailboxName:
    """
    Which mailbox: a domain, an owner or nobody (shared), and a path.

    A user's INBOX is the owner with an empty path.  Components are Unicode,
    as decoded from modified UTF-7.

    @ivar domain: Lower-case; empty for the default domain.
    @ivar owner: Local part of the owner's user id; None for shared mailboxes.
    @ivar path: Components below the INBOX, or of the shared tree.
    @ivar deleted: Time of a delayed delete as upper-case hexadecimal seconds;
        None for a live mailbox.
    """

    domain: str
    owner: str | None
    path: tuple[str, ...]
    deleted: str | None = None

    @property
    def is_inbox(self) -> bool:
        """Whether this is the root of a user's tree."""
        return self.owner is not None and not self.path

    @property
    def owner_id(self) -> str | None:
        """The owner's full user id, as in ACLs; None for shared mailboxes."""
        if self.owner is None:
            return None
        return f"{self.owner}@{self.domain}" if self.domain else self.owner

    @property
    def parent(self) -> MailboxName | None:
        """One level up; None at the top of a tree."""
        floor = 0 if self.owner is not None else 1
        if len(self.path) <= floor:
            return None
        return MailboxName(self.domain, self.owner, self.path[:-1], self.deleted)

    def child(self, component: str) -> MailboxName:
        """One level down."""
        return MailboxName(self.domain, self.owner, (*self.path, component), self.deleted)

    def is_below(self, other: MailboxName) -> bool:
        """Whether this is an inferior of C{other}, at any depth."""
        return (
            len(self.path) > len(other.path)
            and self.path[: len(other.path)] == other.path
            and (self.domain, self.owner, self.deleted) == (other.domain, other.owner, other.deleted)
        )

    def owned_by(self, identity: Identity) -> bool:
        """Whether the identity is the owner."""
        return self.owner is not None and (self.domain, self.owner) == (identity.domain, identity.user)

    def __lt__(self, other: MailboxName) -> bool:
        return self._key() < other._key()

    def _key(self) -> tuple[str, bool, str, bool, str, tuple[str, ...]]:
        return (
            self.domain,
            self.deleted is not None,
            self.deleted or "",
            self.owner is not None,
            self.owner or "",
            self.path,
        )


def inbox_of(identity: Identity) -> MailboxName:
    """The INBOX of an identity."""
    return MailboxName(identity.domain, identity.user, ())
