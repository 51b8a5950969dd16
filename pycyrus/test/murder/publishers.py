"""A MUPDATE master in the same process, and who tells it of mailboxes at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from zope.interface import implementer

from pycyrus.errors import StoreUnavailable
from pycyrus.interfaces import IMailboxPublisher, Location, LocationState, Published
from pycyrus.model.internal_names import internal, parse_internal
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.murder.directory.publisher import claimant
from pycyrus.store.directory import published
from pycyrus.store.store import MailStore


class Directory(Protocol):
    """What a master keeps: L{Master}, or L{pycyrus.store.locations.Locations}."""

    def find(self, mailbox: str) -> Location | None:
        """Where a mailbox is."""

    async def activate(self, location: Location) -> object:
        """It is there."""

    async def deactivate(self, location: Location) -> object:
        """It is reserved."""

    async def delete(self, mailbox: str) -> object:
        """It is nowhere."""


class Master:
    """
    Where each mailbox is, as a MUPDATE master would say.

    @ivar is_away: It does not answer.
    """

    def __init__(self) -> None:
        self._locations: dict[str, Location] = {}
        self.is_away = False

    @property
    def places(self) -> dict[MailboxName, tuple[str, bool]]:
        """On which server each is, and whether it is active."""
        return {
            parse_internal(name): (each.server, each.state is LocationState.ACTIVE)
            for name, each in self._locations.items()
        }

    def find(self, mailbox: str) -> Location | None:
        """See L{Directory}."""
        if self.is_away:
            raise StoreUnavailable("no connection to the MUPDATE master")
        return self._locations.get(mailbox)

    async def activate(self, location: Location) -> None:
        """See L{Directory}."""
        self._locations[location.mailbox] = location

    async def deactivate(self, location: Location) -> None:
        """See L{Directory}."""
        self._locations[location.mailbox] = Location(
            location.mailbox, location.server, location.partition, "", LocationState.RESERVED
        )

    async def delete(self, mailbox: str) -> None:
        """See L{Directory}."""
        self._locations.pop(mailbox, None)


@implementer(IMailboxPublisher)
class DirectPublisher:
    """What one server tells the master."""

    def __init__(self, master: Directory, server: str, store: MailStore) -> None:
        self._master = master
        self._server = server
        self._store = store

    async def claim(self, name: MailboxName, partition: str) -> None:
        """Names are free here."""

    async def publish(self, gone: Sequence[MailboxName], there: Sequence[Published]) -> None:
        """As L{IMailboxPublisher}."""
        try:
            await self.push([*gone, *(mailbox.name for mailbox in there)])
        except StoreUnavailable:
            """They would be told when it answers again."""

    async def push(self, names: Sequence[MailboxName]) -> None:
        """As L{IMailboxPublisher}."""
        for name in names:
            entry = self._store.directory.lookup(name)
            known = self._master.find(internal(name))
            if entry is None:
                if known is not None and known.server == self._server:
                    await self._master.delete(known.mailbox)
                continue
            told = published(entry)
            here = Location(internal(name), self._server, told.partition, told.acl)
            if not entry.is_leaving:
                await self._master.activate(here)
            elif known is None or (known.server == self._server and known.state is LocationState.ACTIVE):
                await self._master.deactivate(here)

    async def are_elsewhere(self, names: Sequence[MailboxName]) -> bool:
        """As L{IMailboxPublisher}."""
        found = [self._master.find(internal(name)) for name in names]
        return all(
            each is not None and each.server != self._server and each.state is LocationState.ACTIVE for each in found
        )

    async def are_nowhere(self, names: Sequence[MailboxName]) -> bool:
        """As L{IMailboxPublisher}."""
        return all(self._master.find(internal(name)) is None for name in names)

    async def claimed_at(self, names: Sequence[MailboxName]) -> str:
        """As L{IMailboxPublisher}."""
        return claimant([self._master.find(internal(name)) for name in names], self._server)
