"""Changes of an access control list (RFC 4314 section 3.1)."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from pycyrus.model.acl import Acl


class AclAction(enum.Enum):
    """What becomes of the rights an identifier has; the value is the mark before the letters."""

    REPLACE = ""
    ADD = "+"
    REMOVE = "-"


@dataclass(frozen=True, slots=True)
class AclChange:
    """
    A change of one entry.

    @ivar identifier: As it stands in an L{Acl}, with its C{-} if it is negative.
    @ivar rights: To be given, added or removed.
    """

    identifier: str
    action: AclAction
    rights: frozenset[str]

    def keeps(self, acl: Acl, right: str) -> bool:
        """Whether it does not take a right away that the identifier has or could be given."""
        return self.action is AclAction.ADD or right in dict(self.apply(acl).entries).get(self.identifier, ())

    def apply(self, acl: Acl, kept: frozenset[str] = frozenset()) -> Acl:
        """
        Change an entry in its place, add one at the end, or take away one that is left without rights.

        @param kept: Rights that the identifier has in any case.
        """
        held = dict(acl.entries)
        had = held.get(self.identifier, frozenset())
        if self.action is AclAction.ADD:
            now = had | self.rights
        elif self.action is AclAction.REMOVE:
            now = had - self.rights
        else:
            now = self.rights
        now |= kept
        if now:
            held[self.identifier] = now
        else:
            held.pop(self.identifier, None)
        return Acl(tuple(held.items()))
