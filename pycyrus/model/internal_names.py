"""
Internal names, as Cyrus writes them: C{example.com!user.fred^smith.Sent}.

They stand in logs, in quota roots, in headers and in MUPDATE; within a
component a dot is written C{^}.
"""

from __future__ import annotations

import re

from pycyrus.errors import InvalidMailboxName
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.model.utf7 import BadUtf7, modified_utf7_decode, modified_utf7_encode

MAX_INTERNAL_NAME = 490
"""Octets of an internal name, as in Cyrus."""
MAX_DEPTH = 128
"""Components of a path."""
DELETED_PREFIX = "DELETED"
"""Default of the option C{deletedprefix}."""
USER_ROOT = "user"

_HEX_TIME = re.compile(r"[0-9A-F]{1,16}\Z")
_DOMAIN = re.compile(r"(?=.{1,255}\Z)[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*\Z")
# Nothing may hide in a name: no controls, no line or paragraph separator (RFC 9051 section 5.1).
_NEVER_IN_COMPONENT = re.compile("[/^!\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_NEVER_IN_OWNER = re.compile(r"[\x00-\x20\x7f-\U0010ffff&%*/:?!^\"\\]")


def internal(name: MailboxName, deleted_prefix: str = DELETED_PREFIX) -> str:
    """Write the internal name."""
    domain = f"{name.domain}!" if name.domain else ""
    return domain + ".".join(_escape(component) for component in real_components(name, deleted_prefix))


def parse_internal(text: str, deleted_prefix: str = DELETED_PREFIX) -> MailboxName:
    """
    Read an internal name.

    @raise InvalidMailboxName: It is none.
    """
    domain, mark, rest = text.rpartition("!")
    if mark and not is_domain(domain):
        raise InvalidMailboxName("domain")
    components = [_unescape(piece) for piece in rest.split(".")]
    return from_real_components(domain, components, deleted_prefix)


def real_components(name: MailboxName, deleted_prefix: str = DELETED_PREFIX) -> list[str]:
    """The path from the root of all mailboxes, as administrators see it."""
    components = [deleted_prefix] if name.deleted is not None else []
    if name.owner is not None:
        components += (USER_ROOT, name.owner)
    components += name.path
    if name.deleted is not None:
        components.append(name.deleted)
    return components


def from_real_components(domain: str, components: list[str], deleted_prefix: str = DELETED_PREFIX) -> MailboxName:
    """
    The reverse of L{real_components}.

    @raise InvalidMailboxName: No mailbox can be there.
    """
    for component in components:
        check_component(component)
    deleted = None
    if components[0] == deleted_prefix:
        if len(components) < 3 or not _HEX_TIME.match(components[-1]):
            raise InvalidMailboxName("deleted name without time")
        deleted = components[-1]
        components = components[1:-1]
    if components[0] != USER_ROOT:
        return MailboxName(domain, None, tuple(components), deleted)
    if len(components) < 2:
        raise InvalidMailboxName("no owner")
    check_owner(components[1])
    return MailboxName(domain, components[1], tuple(components[2:]), deleted)


def check_component(component: str) -> None:
    """
    Refuse what cannot be a component in any form of the name.

    @raise InvalidMailboxName: Empty, or with a control character, a slash, a
        circumflex (which stands for a dot) or an exclamation mark (which ends
        a domain).
    """
    if not component or _NEVER_IN_COMPONENT.search(component):
        raise InvalidMailboxName("component")


def check_owner(owner: str) -> None:
    """
    Refuse what cannot be the local part of a user id.

    @raise InvalidMailboxName: Likewise.
    """
    if not owner or _NEVER_IN_OWNER.search(owner):
        raise InvalidMailboxName("owner")


def is_domain(text: str) -> bool:
    """Whether this is a lower-case host name, fit to be a directory."""
    return _DOMAIN.match(text) is not None


def user_inbox(user: str, domain: str = "") -> MailboxName:
    """
    The INBOX of a user, from a canonical user id or a recipient's address.

    @param user: Local part, without detail.
    @param domain: Any case; empty for the default domain.
    @raise InvalidMailboxName: There can be no such user.
    """
    check_owner(user)
    domain = domain.lower()
    if domain and not is_domain(domain):
        raise InvalidMailboxName("domain")
    return MailboxName(domain, user, ())


def _escape(component: str) -> str:
    return modified_utf7_encode(component).decode("ascii").replace(".", "^")


def _unescape(piece: str) -> str:
    try:
        return modified_utf7_decode(piece.replace("^", ".").encode("ascii"))
    except (BadUtf7, UnicodeEncodeError) as problem:
        raise InvalidMailboxName("encoding") from problem
