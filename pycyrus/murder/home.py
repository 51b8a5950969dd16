"""Where a user's INBOX is, and so maildrop and scripts."""

from __future__ import annotations

from pycyrus.errors import MailboxNotFound, StoreUnavailable
from pycyrus.interfaces import Authenticated, IMailboxDirectory, LocationState
from pycyrus.model.mailbox_name import inbox_of
from pycyrus.murder.servers.backends import Backends


async def home_of(authenticated: Authenticated, directory: IMailboxDirectory, backends: Backends) -> str:
    """
    The server that has a user's INBOX; empty for this one.

    @raise MailboxNotFound: There is none.
    @raise StoreUnavailable: It is not anywhere just now, or a server that believes it to be here passed the user on.
    """
    location = await directory.locate(inbox_of(authenticated.identity))
    if location is None:
        raise MailboxNotFound("no INBOX in the directory")
    if location.state is LocationState.RESERVED:
        raise StoreUnavailable("it is being created or moved")
    if location.server:
        backends.check_first(authenticated.authenticated_as, location.server)
    return location.server
