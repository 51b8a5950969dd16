"""RENAME of what another server has: that server does it, and cannot see what others have in its way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycyrus.errors import InvalidMailboxName, MailboxExists, PermissionDenied, StoreUnavailable
from pycyrus.imap.replies import No
from pycyrus.model.acl import LOOKUP
from pycyrus.model.internal_names import internal
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.model.naming_policy import check_policy
from pycyrus.murder.imap.visibility import check_may_create, nearest_above, rights_elsewhere
from pycyrus.store.access import right_to_rename

if TYPE_CHECKING:
    from pycyrus.interfaces import Location
    from pycyrus.murder.imap.routes import SessionRoutes

_PAGE = 200
ELSEWHERE = No(b"Mailbox cannot be renamed to another server", b"CANNOT")
DIVIDED = No(b"Mailboxes below it are on another server", b"CANNOT")


async def check_renaming(routes: SessionRoutes, old: MailboxName, location: Location, new: MailboxName) -> None:
    """
    See whether other servers have anything against a rename.

    Whatever its own server would refuse anyhow is left to it.

    @param location: Where it is.
    @raise MailboxExists: Another server has the new name, or one below it that is needed.
    @raise No: It would be below what another server has, or would leave something behind there.
    @raise PermissionDenied: It may not be made there, or the user may not know why it cannot.
    """
    user = routes.session.user
    if new == old:
        return
    moves_messages = old.is_inbox and old.owned_by(user)
    try:
        check_policy(new, routes.routes.deleted_prefix)
        held = rights_elsewhere(user, old, location)
    except (InvalidMailboxName, StoreUnavailable):
        return
    if not moves_messages and right_to_rename(user, old) not in held:
        return
    renames_user = old.is_inbox and new.is_inbox and user.administers(old.domain)
    if (new.is_inbox or (old.is_inbox and not moves_messages)) and not renames_user:
        return
    existing = await routes.find(new)
    if existing is not None and existing.server != location.server:
        if not existing.server or LOOKUP in rights_elsewhere(user, new, existing):
            raise MailboxExists("on another server")
        raise PermissionDenied("hidden")
    above = await nearest_above(routes, new)
    if above is not None and above.location.server != location.server:
        check_may_create(user, new, above)
        raise ELSEWHERE
    if not moves_messages:
        await _check_below(routes, old, location.server, new)


async def _check_below(routes: SessionRoutes, old: MailboxName, server: str, new: MailboxName) -> None:
    """See that all below a mailbox can go with it."""
    shared = routes.routes
    prefix = internal(old, shared.deleted_prefix) + "."
    target = internal(new, shared.deleted_prefix) + "."
    after = ""
    while page := shared.directory.known(prefix, after, _PAGE):
        after = page[-1].mailbox
        if any(each.server != server for each in page):
            raise DIVIDED
        if len(page) < _PAGE:
            break
        await routes.session.pause()
    after = ""
    while page := shared.directory.known(target, after, _PAGE):
        after = page[-1].mailbox
        for each in page:
            if each.server != server and shared.directory.known(prefix + each.mailbox[len(target) :], "", 1):
                raise MailboxExists("inferior, on another server")
        if len(page) < _PAGE:
            break
        await routes.session.pause()
