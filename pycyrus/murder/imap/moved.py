"""Sessions on a frontend whose selected mailbox went to another server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycyrus.errors import StoreUnavailable
from pycyrus.interfaces import LocationState

if TYPE_CHECKING:
    from pycyrus.model.mailbox_name import MailboxName
    from pycyrus.murder.imap.routes import ImapRoutes
    from pycyrus.murder.servers.imap_link import ImapLink


async def is_moved(routes: ImapRoutes, link: ImapLink, name: MailboxName | None) -> bool:
    """
    Whether a mailbox is on another server than it was, or on its way there.

    @param link: The connection by which it was selected, and which went.
    """
    if name is None:
        return False
    try:
        location = await routes.directory.locate(name)
        if location is not None and location.server == link.server and link.said_goodbye:
            # The server that had it may say so before the directory does.
            await routes.catch_up()
            location = await routes.directory.locate(name)
    except StoreUnavailable:
        return False
    return location is not None and (location.state is LocationState.RESERVED or location.server != link.server)
