"""Where a mailbox is: the copy of the directory, and a kick where it does not know."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from zope.interface import implementer

from pycyrus.errors import StoreUnavailable
from pycyrus.interfaces import ILocations, IMailboxDirectory, Location, LocationState
from pycyrus.model.internal_names import internal
from pycyrus.model.mailbox_name import MailboxName


@implementer(IMailboxDirectory)
class MurderDirectory:
    """
    The directory as this server sees it.

    @param own: Name of this server; what is there has an empty server here.
    @param catch_up: Has the copy ask the master; None where nobody is to be asked.
    @param is_here: Whether a mailbox is this server's own, which it knows before the master does; None for a
        server that has none.
    """

    def __init__(
        self,
        locations: ILocations,
        own: str,
        catch_up: Callable[[], Awaitable[None]] | None,
        deleted_prefix: str,
        is_here: Callable[[MailboxName], bool] | None = None,
    ) -> None:
        self._locations = locations
        self._own = own
        self._catch_up = catch_up
        self._deleted_prefix = deleted_prefix
        self._is_here = is_here

    async def locate(self, name: MailboxName, *, surely: bool = False) -> Location | None:
        """See L{IMailboxDirectory.locate}."""
        mailbox = internal(name, self._deleted_prefix)
        if self._is_here is not None and self._is_here(name):
            return Location(mailbox, "", "")
        found = self._locations.find(mailbox)
        # What was reserved a moment ago may be there by now.
        if (found is None or found.state is LocationState.RESERVED) and self._catch_up is not None:
            try:
                await self._catch_up()
            except StoreUnavailable:
                if surely and found is None:
                    raise
                # Nobody knows better than the copy now.
                return found if found is None else self._here(found)
            found = self._locations.find(mailbox)
        return None if found is None else self._here(found)

    def known(self, prefix: str, after: str, limit: int, *, shared: bool = False) -> Sequence[Location]:
        """See L{IMailboxDirectory.known}."""
        return [self._here(location) for location in self._locations.page(prefix, after, limit, shared=shared)]

    def _here(self, location: Location) -> Location:
        return replace(location, server="") if location.server == self._own else location
