"""What new mailboxes may be called; existing ones keep their names."""

from __future__ import annotations

import re
import unicodedata

from pycyrus.errors import InvalidMailboxName
from pycyrus.model.internal_names import (
    DELETED_PREFIX,
    MAX_DEPTH,
    MAX_INTERNAL_NAME,
    USER_ROOT,
    check_component,
    internal,
)
from pycyrus.model.mailbox_name import MailboxName

_FORBIDDEN = re.compile(r'[!"%/;<>\\`{|}^]')
_INBOX = "INBOX"
_RESERVED_OWNERS = frozenset(("anyone", "anonymous"))


def check_policy(name: MailboxName, deleted_prefix: str = DELETED_PREFIX) -> None:
    """
    Check the name of a mailbox to be created, or to rename one to.

    @raise InvalidMailboxName: It breaks the rules.
    """
    if name.deleted is not None:
        return
    if len(name.path) > MAX_DEPTH or sum(map(len, name.path)) > MAX_INTERNAL_NAME:
        raise InvalidMailboxName("too deep or too long")
    if name.owner is not None and not name.owner.strip("."):
        raise InvalidMailboxName("forbidden characters")
    if name.owner in _RESERVED_OWNERS:
        raise InvalidMailboxName("reserved")
    for component in name.path:
        _check_component(component)
    if name.owner is None:
        _check_shared_root(name.path[0], deleted_prefix)
    elif name.path and name.path[0].upper() == _INBOX and not _is_below_inbox(name.path):
        # It could not be told from the INBOX itself in some namespace.
        raise InvalidMailboxName("INBOX below INBOX")
    if len(internal(name, deleted_prefix)) > MAX_INTERNAL_NAME:
        raise InvalidMailboxName("too long")


def _is_below_inbox(path: tuple[str, ...]) -> bool:
    """C{INBOX/a}, where own folders stand beside the INBOX."""
    return path[0] == _INBOX and len(path) > 1 and path[1].upper() != _INBOX


def _check_component(component: str) -> None:
    check_component(component)
    # Dots alone endanger clients that make directories of names.
    if _FORBIDDEN.search(component) or not component.strip("."):
        raise InvalidMailboxName("forbidden characters")
    # RFC 9051 section 5.1 wants Net-Unicode (RFC 5198); two normalisations of one name would look alike.
    if not unicodedata.is_normalized("NFC", component):
        raise InvalidMailboxName("not normalised")


def _check_shared_root(component: str, deleted_prefix: str) -> None:
    if component[0] in ".~$":
        raise InvalidMailboxName("first character")
    if component in (USER_ROOT, deleted_prefix) or component.upper() == _INBOX:
        raise InvalidMailboxName("reserved")
