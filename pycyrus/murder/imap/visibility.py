"""
What somebody may know of mailboxes that other servers have.

The directory's copies of the access control lists decide, before anything goes to another server: what
is hidden is then answered by this one, in the words for what is not there, also while the server that has
it is away, and whatever kind of server that is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pycyrus.errors import PermissionDenied, StoreUnavailable
from pycyrus.interfaces import Location, LocationState
from pycyrus.model.acl import CREATE, rights_of
from pycyrus.model.acl_text import BadAcl, parse_acl
from pycyrus.model.identity import Identity
from pycyrus.model.mailbox_name import MailboxName

if TYPE_CHECKING:
    from pycyrus.murder.imap.routes import SessionRoutes


def rights_elsewhere(identity: Identity, name: MailboxName, location: Location) -> frozenset[str]:
    """
    What somebody may do with a mailbox of another server.

    @raise StoreUnavailable: Its list cannot be understood.
    """
    if name.deleted is not None and not identity.administers(name.domain):
        return frozenset()
    try:
        return rights_of(identity, name, parse_acl(location.acl))
    except BadAcl as error:
        raise StoreUnavailable(f"{location.server}: a list of rights that cannot be understood") from error


async def unless_hidden(routes: SessionRoutes, name: MailboxName, location: Location | None) -> Location | None:
    """
    What the directory has, if the user may know of it.

    @return: None for what somebody has no right at all to.
    """
    user = routes.session.user
    if location is None or not location.server or location.state is not LocationState.ACTIVE or name.owned_by(user):
        return location
    if rights_elsewhere(user, name, location):
        return location
    # Somebody may have been given a right a moment ago.
    try:
        await routes.routes.catch_up()
    except StoreUnavailable:
        return None
    found = await routes.find(name)
    if found is not None and found.server and not rights_elsewhere(user, name, found):
        return None
    return found


@dataclass(frozen=True, slots=True)
class Above:
    """The nearest mailbox above another one."""

    name: MailboxName
    location: Location


async def nearest_above(routes: SessionRoutes, name: MailboxName) -> Above | None:
    """Find it; None where nothing is above."""
    parent = name.parent
    while parent is not None:
        location = await routes.find(parent)
        if location is not None:
            return Above(parent, location)
        parent = parent.parent
    return None


def check_may_create(identity: Identity, name: MailboxName, above: Above | None) -> None:
    """
    Demand that somebody may create a mailbox, as far as this server can tell.

    @param above: What is above it; of what is on this server the store knows better.
    @raise PermissionDenied: It may not.
    """
    if identity.administers(name.domain) or (above is not None and not above.location.server):
        return
    if above is None or name.is_inbox or CREATE not in rights_elsewhere(identity, above.name, above.location):
        raise PermissionDenied("nothing can be made there")
