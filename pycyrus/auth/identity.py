"""
User ids: from what a client sends to the one form that everything else knows.

Two spellings of one user never differ after this, and two users never meet:
caches, limits, mailboxes and ACLs are keyed by the result.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from pycyrus.errors import AuthenticationUnavailable
from pycyrus.model.identity import IMPLICIT_OWNER_RIGHTS, AdminScope, Identity

LONGEST_USER_ID = 80
"""Characters of a canonical user id, as in Cyrus."""

# What breaks names or paths: control characters, 8-bit, separators of
# namespaces, domains and realms, and the "^" that stands for a dot in mailbox names.
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\U0010ffff!\"&%*/:?@^\\]")
_DOMAIN = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*\Z")
_RESERVED = frozenset({"anyone", "anonymous"})


class InvalidUserId(ValueError):
    """Nobody can have this user id."""


def no_groups(user_id: str) -> frozenset[str]:
    """Groups of a user where there are none."""
    return frozenset()


async def nothing_to_fetch(user_id: str) -> None:
    """There are no groups, or they are at hand."""


@dataclass(frozen=True, slots=True)
class IdentitySettings:
    """
    How user ids are read.

    @ivar virtdomains: C{off}, C{userid} or C{on}.
    @ivar default_domain: The domain that is not written (C{defaultdomain}).
    @ivar lower: Fold to lower case (C{username_tolower}).
    @ivar realms: What may follow the C{@} of who logs in (C{loginrealms}).
    @ivar crossdomains: Domains are not closed to one another, but for their
        administrators.
    @ivar owner_rights: C{implicit_owner_rights}.
    @ivar admin_implies_write: C{acl_admin_implies_write}.
    @ivar admins: User ids, and groups as C{group:name} (C{admins}, or the
        service's own list).
    """

    virtdomains: str = "off"
    default_domain: str = "internal"
    lower: bool = True
    realms: frozenset[str] = frozenset()
    admins: tuple[str, ...] = ()
    crossdomains: bool = False
    owner_rights: frozenset[str] = IMPLICIT_OWNER_RIGHTS
    admin_implies_write: bool = False


@dataclass(slots=True)
class Identities:
    """
    Makes canonical user ids, and the identities behind them.

    @ivar groups: Gives the names of a user's groups, without C{group:}.
    @ivar fetch_groups: Has C{groups} know those of a user.
    """

    settings: IdentitySettings
    groups: Callable[[str], frozenset[str]] = no_groups
    fetch_groups: Callable[[str], Awaitable[None]] = nothing_to_fetch
    _admins: frozenset[str] = field(init=False)
    _admin_groups: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        users, groups = set(), set()
        for item in self.settings.admins:
            kind, _, name = item.partition(":")
            if kind == "group" and name:
                groups.add(name)
            else:
                users.add(self.canonical(item.encode("utf-8")))
        self._admins, self._admin_groups = frozenset(users), frozenset(groups)

    def canonical(self, raw: bytes, local_domain: str = "") -> str:
        """
        Bring a user id into its canonical form.

        C{%} is another way to write C{@}; the last one separates the domain.

        @param local_domain: What an unqualified id gets with C{virtdomains: on}.
        @return: C{fred}, or C{fred@example.com} for a domain that is not the
            default one.
        @raise InvalidUserId: Forbidden characters, empty, too long or reserved.
        """
        try:
            text = raw.decode("ascii")
        except UnicodeDecodeError:
            raise InvalidUserId("8-bit characters in a user id") from None
        settings = self.settings
        if settings.lower:
            text = text.lower()
        at = max(text.rfind("@"), text.rfind("%"))
        user, domain = (text, "") if at < 0 else (text[:at], text[at + 1 :].lower())
        if at >= 0 and not _DOMAIN.match(domain):
            raise InvalidUserId("not a domain")
        if at < 0 and settings.virtdomains == "on":
            domain = local_domain
        if domain == settings.default_domain:
            domain = ""
        # With virtdomains off it is not a domain but a realm, and part of the name.
        user_id = f"{user}@{domain}" if domain else user
        if not user or _FORBIDDEN.search(user) or _has_empty_part(user) or len(user_id) > LONGEST_USER_ID:
            raise InvalidUserId("forbidden in a user id")
        if user in _RESERVED:
            raise InvalidUserId("reserved")
        return user_id

    def may_log_in(self, user_id: str) -> bool:
        """Whether C{loginrealms} lets this one prove itself."""
        _, at, realm = user_id.rpartition("@")
        if not at or (self.settings.virtdomains != "off" and not self.settings.realms):
            return True
        return realm in self.settings.realms

    async def prepare(self, user_id: str) -> None:
        """
        To be awaited before C{identity}.

        Administrators by name come in without groups where these cannot be told: they
        have every right without them, and may be who mends the directory.

        @raise AuthenticationUnavailable: The groups of others cannot be told.
        """
        try:
            await self.fetch_groups(user_id)
        except AuthenticationUnavailable:
            if user_id not in self._admins:
                raise

    def identity(self, user_id: str) -> Identity:
        """
        The identity behind a canonical user id.

        An administrator who has a domain administers that domain; one without
        administers all.
        """
        if self.settings.virtdomains == "off":
            user, domain = user_id, ""
        else:
            user, domain = _split(user_id)
        groups = self.groups(user_id)
        scope = AdminScope.NONE
        if user_id in self._admins or groups & self._admin_groups:
            scope = AdminScope.DOMAIN if domain else AdminScope.GLOBAL
        crosses = self.settings.crossdomains and scope is AdminScope.NONE
        return Identity(
            user,
            domain,
            groups,
            scope,
            crosses_domains=crosses,
            owner_rights=self.settings.owner_rights,
            writes_administered=self.settings.admin_implies_write,
        )


def _split(user_id: str) -> tuple[str, str]:
    user, at, domain = user_id.rpartition("@")
    return (user, domain) if at else (user_id, "")


def _has_empty_part(user: str) -> bool:
    return user.startswith(".") or user.endswith(".") or ".." in user
