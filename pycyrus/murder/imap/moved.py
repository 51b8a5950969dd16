"""Sessions on a frontend whose selected mailbox is gone: to another server, or for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycyrus.errors import StoreUnavailable
from pycyrus.imap.telling import MOVED, VANISHED
from pycyrus.interfaces import LocationState

if TYPE_CHECKING:
    from pycyrus.model.mailbox_name import MailboxName
    from pycyrus.murder.imap.routes import ImapRoutes
    from pycyrus.murder.servers.imap_link import ImapLink


async def goodbye(routes: ImapRoutes, link: ImapLink, name: MailboxName | None) -> bytes | None:
    """
    What to tell a client whose selected mailbox is not any longer where it was.

    @param link: The connection by which it was selected, and which went.
    @return: None if the mailbox is still there, or nobody knows.
    """
    if name is None:
        return None
    try:
        location = await routes.directory.locate(name)
        if location is not None and location.server == link.server and link.said_goodbye:
            # The server that had it may say so before the directory does.
            await routes.catch_up()
            location = await routes.directory.locate(name)
    except StoreUnavailable:
        return None
    if location is None:
        return VANISHED if link.said_goodbye else None
    is_moved = location.state is LocationState.RESERVED or location.server != link.server
    return MOVED if is_moved else None
