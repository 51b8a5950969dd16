"""
The body of one message, staged once on each partition that it goes to.

It is linked from there into each recipient's mailbox, so that all copies on a
partition share one file; unless each mailbox is to have one of its own.
"""

from __future__ import annotations

from twisted.logger import Logger

from pycyrus.errors import StoreUnavailable
from pycyrus.interfaces import IMailbox, IMailStore, IStaged
from pycyrus.model.identity import POSTMAN


class Stages:
    """Staged copies by partition, or by mailbox; one that fails does not spoil the others."""

    log = Logger()

    def __init__(self, store: IMailStore, *, single_instance: bool = True) -> None:
        """@param single_instance: Mailboxes of one partition share a file."""
        self._store = store
        self._single_instance = single_instance
        self._staged: dict[str, IStaged] = {}
        self._shared: set[str] = set()
        self._failed: dict[str, StoreUnavailable] = {}

    def _place(self, mailbox: IMailbox) -> str:
        partition: str = mailbox.partition
        return partition if self._single_instance else f"{partition}/{mailbox.unique_id}"

    async def begin(self, mailbox: IMailbox) -> None:
        """
        Stage for a mailbox, too.

        What goes wrong is kept until L{staged} is called.
        """
        place = self._place(mailbox)
        if place in self._staged or place in self._failed:
            self._shared.add(place)
            return
        try:
            self._staged[place] = await self._store.stage(POSTMAN, mailbox.name)
        except StoreUnavailable as error:
            self._fail(place, error)

    def check(self) -> None:
        """
        Give up when no partition can take the message.

        @raise StoreUnavailable: That is so.
        """
        if not self._staged:
            raise next(iter(self._failed.values()))

    def write(self, data: bytes) -> None:
        """Add octets to all of them."""
        for place, staged in list(self._staged.items()):
            try:
                staged.write(data)
            except StoreUnavailable as error:
                self._fail(place, error)

    async def finish(self) -> None:
        """End the message."""
        for place, staged in list(self._staged.items()):
            try:
                await staged.ready()
                staged.finish(is_shared=place in self._shared)
            except StoreUnavailable as error:
                self._fail(place, error)

    def staged(self, mailbox: IMailbox) -> IStaged:
        """
        The staged message that the mailbox can link.

        @raise StoreUnavailable: Its partition failed.
        """
        place = self._place(mailbox)
        if place in self._failed:
            raise self._failed[place]
        if place not in self._staged:
            raise StoreUnavailable("the mailbox moved to another partition meanwhile")
        return self._staged[place]

    def discard(self) -> None:
        """Remove the files.  May be called more than once."""
        staged, self._staged = self._staged, {}
        for each in staged.values():
            each.discard()

    def _fail(self, place: str, error: StoreUnavailable) -> None:
        self.log.error("staging on {place} failed: {error}", place=place, error=error)
        self._failed[place] = error
        staged = self._staged.pop(place, None)
        if staged is not None:
            staged.discard()
