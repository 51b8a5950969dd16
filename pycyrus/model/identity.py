"""Who is acting: made once, at login, by the cred realm."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

IMPLICIT_OWNER_RIGHTS = frozenset("lkxan")
"""What owners may do with their mailboxes whatever the entries say, by default."""
IMPLICIT_ADMIN_RIGHTS = frozenset("la")
"""An administrator manages, and may give himself all other rights, but has none of them unless an entry says so."""


class AdminScope(enum.Enum):
    """How far administrator's rights reach."""

    NONE = "none"
    DOMAIN = "domain"
    GLOBAL = "global"


@dataclass(frozen=True, slots=True)
class Identity:
    """
    A canonical user id, with what it may do beyond its ACL entries.

    @ivar user: The local part, without its domain; lower-cased where
        C{username_tolower} says so.
    @ivar domain: The domain; empty for the default domain.
    @ivar groups: Names of groups, without the C{group:} prefix.
    @ivar admin: Nobody, of L{domain}, or of all domains.
    @ivar postman: The internal identity of pre-authenticated LMTP; it may
        deliver everywhere and do nothing else.
    @ivar crosses_domains: What entries grant in other domains counts
        (C{crossdomains}).
    @ivar owner_rights: Rights in its own mailboxes, whatever the entries say
        (C{implicit_owner_rights}).
    @ivar admin_rights: Rights in what it administers, whatever the entries say.
    @ivar writes_administered: Whoever may change the entries of a mailbox may
        change its messages (C{acl_admin_implies_write}).
    """

    user: str
    domain: str = ""
    groups: frozenset[str] = field(default=frozenset())
    admin: AdminScope = AdminScope.NONE
    postman: bool = False
    crosses_domains: bool = False
    owner_rights: frozenset[str] = IMPLICIT_OWNER_RIGHTS
    admin_rights: frozenset[str] = IMPLICIT_ADMIN_RIGHTS
    writes_administered: bool = False

    @property
    def user_id(self) -> str:
        """The id as it stands in ACLs and logs: C{fred} or C{fred@example.com}."""
        return f"{self.user}@{self.domain}" if self.domain else self.user

    def administers(self, domain: str) -> bool:
        """Whether administrator's rights reach into C{domain}."""
        if self.admin is AdminScope.GLOBAL:
            return True
        return self.admin is AdminScope.DOMAIN and self.domain == domain


SERVER = Identity("cyrus", admin=AdminScope.GLOBAL, admin_rights=IMPLICIT_ADMIN_RIGHTS | {"x"})
"""As whom the server itself and its tools act: who can call them needs no entry to delete a mailbox."""
POSTMAN = Identity("postman", postman=True)
"""Who delivers on a pre-authenticated LMTP connection."""
