"""
The one place that decides what an identity may do with a mailbox.

What may not be seen is answered as if it were not there.
"""

from __future__ import annotations

from pycyrus.errors import MailboxMoving, MailboxNotFound, PermissionDenied
from pycyrus.model.acl import CREATE, DELETE_MAILBOX, LOOKUP, Acl, rights_of
from pycyrus.model.identity import Identity
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.store.rows import Entry

NO_RIGHTS: frozenset[str] = frozenset()


def rights(identity: Identity, name: MailboxName, acl: Acl) -> frozenset[str]:
    """
    What an identity may do.

    Delayed-deleted mailboxes are there for administrators only, whatever their
    entries say.
    """
    if name.deleted is not None and not identity.administers(name.domain):
        return NO_RIGHTS
    return rights_of(identity, name, acl)


def check(identity: Identity, entry: Entry | None, right: str) -> Entry:
    """
    Demand a right.

    @param entry: None where there is no mailbox of that name.
    @return: The entry.
    @raise MailboxNotFound: There is none, or the identity may not know of it.
    @raise PermissionDenied: It may, but lacks the right.
    @raise MailboxMoving: It is on its way to another server.
    """
    if entry is None:
        raise MailboxNotFound("absent")
    held = rights(identity, entry.name, entry.acl)
    if right in held:
        check_stays(entry)
        return entry
    if LOOKUP in held:
        raise PermissionDenied(right)
    raise MailboxNotFound("hidden")


def check_stays(entry: Entry) -> None:
    """
    Make sure that a mailbox can be used.

    @raise MailboxMoving: It is on its way to another server.
    """
    if entry.is_leaving:
        raise MailboxMoving("on its way to another server")


def visible(identity: Identity, entry: Entry | None) -> bool:
    """Whether the identity may know that the mailbox exists."""
    return entry is not None and LOOKUP in rights(identity, entry.name, entry.acl)


def right_to_rename(identity: Identity, name: MailboxName) -> str:
    """The right that a rename needs: administrators rename what they see, but delete by right C{x} only."""
    return LOOKUP if identity.administers(name.domain) else DELETE_MAILBOX


def may_create_below(identity: Identity, ancestor: Entry | None, name: MailboxName) -> bool:
    """
    Whether the identity may create a mailbox.

    @param ancestor: The nearest mailbox above that exists.
    """
    if identity.administers(name.domain):
        return True
    if ancestor is None or name.is_inbox:
        return False
    return CREATE in rights(identity, ancestor.name, ancestor.acl)
