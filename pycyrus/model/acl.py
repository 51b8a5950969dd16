"""
Access control lists and the one function that evaluates them.

RFC 4314, with the rights letters and implicit rights of Cyrus.
"""

from __future__ import annotations

from dataclasses import dataclass

from pycyrus.model.identity import IMPLICIT_OWNER_RIGHTS as IMPLICIT_OWNER_RIGHTS
from pycyrus.model.identity import Identity
from pycyrus.model.names import MailboxName

LOOKUP, READ, KEEP_SEEN, WRITE, INSERT, POST = "l", "r", "s", "w", "i", "p"
CREATE, DELETE_MAILBOX, DELETE_MESSAGES, EXPUNGE, ADMINISTER, ANNOTATE = "k", "x", "t", "e", "a", "n"

ALL_RIGHTS = frozenset("lrswipkxtean0123456789")
"""RFC 4314 section 2.1, and digits, which sites may use as they like."""
OWNER_RIGHTS = frozenset("lrswipkxtean")
"""What the owner of a new user mailbox is granted."""
WRITE_RIGHTS = frozenset("switen")
"""What C{a} implies with C{acl_admin_implies_write}."""


@dataclass(frozen=True, slots=True)
class Acl:
    """
    Entries in the order in which they were set.

    @ivar entries: Pairs of identifier and rights.  An identifier is a user
        id, C{anyone}, C{anonymous}, or C{group:name}; a leading C{-} makes the
        entry negative.
    """

    entries: tuple[tuple[str, frozenset[str]], ...] = ()


def identifiers_of(identity: Identity) -> frozenset[str]:
    """Whoever an identity is in the entries of lists."""
    return frozenset((identity.user_id, "anyone", *(f"group:{group}" for group in identity.groups)))


def rights_of(identity: Identity, name: MailboxName, acl: Acl) -> frozenset[str]:
    """
    Evaluate an ACL for an identity (RFC 4314 section 2, and Cyrus's implicit rights).

    A foreign domain gives nothing, whatever the entries say, unless the identity
    crosses domains; nor does an administrator's scope that does not reach the
    mailbox's domain.
    """
    if identity.postman:
        return frozenset((POST, LOOKUP))
    administers = identity.administers(name.domain)
    if identity.domain != name.domain and not (administers or identity.crosses_domains):
        return frozenset()
    identifiers = identifiers_of(identity)
    granted: set[str] = set()
    refused: set[str] = set()
    for identifier, rights in acl.entries:
        if identifier in identifiers:
            granted |= rights
        elif identifier[:1] == "-" and identifier[1:] in identifiers:
            refused |= rights
    granted -= refused
    if name.owned_by(identity):
        granted |= identity.owner_rights
    if identity.writes_administered and ADMINISTER in granted:
        granted |= WRITE_RIGHTS
    if administers:
        granted |= identity.admin_rights
    return frozenset(granted)
