"""
The body of one message, staged once on each partition that it goes to.

It is linked from there into each recipient's mailbox, so that all copies on a
partition share one file.
"""

from __future__ import annotations

from twisted.logger import Logger

from pycyrus.errors import StoreUnavailable
from pycyrus.interfaces import IMailbox, IMailStore, IStaged
from pycyrus.model.identity import POSTMAN


class Stages:
    """Staged copies by partition; one that fails does not spoil the others."""

    log = Logger()

    def __init__(self, store: IMailStore) -> None:
        self._store = store
        self._staged: dict[str, IStaged] = {}
        self._failed: dict[str, StoreUnavailable] = {}

    async def begin(self, mailbox: IMailbox) -> None:
        """
        Stage for a mailbox, too.

        What goes wrong is kept until L{staged} is called.
        """
        partition = mailbox.partition
        if partition in self._staged or partition in self._failed:
            return
        try:
            self._staged[partition] = await self._store.stage(POSTMAN, mailbox.name)
        except StoreUnavailable as error:
            self._fail(partition, error)

    def check(self) -> None:
        """
        Give up when no partition can take the message.

        @raise StoreUnavailable: That is so.
        """
        if not self._staged:
            raise next(iter(self._failed.values()))

    def write(self, data: bytes) -> None:
        """Add octets to all of them."""
        for partition, staged in list(self._staged.items()):
            try:
                staged.write(data)
            except StoreUnavailable as error:
                self._fail(partition, error)

    def finish(self) -> None:
        """End the message."""
        for partition, staged in list(self._staged.items()):
            try:
                staged.finish()
            except StoreUnavailable as error:
                self._fail(partition, error)

    def staged(self, mailbox: IMailbox) -> IStaged:
        """
        The staged message that the mailbox can link.

        @raise StoreUnavailable: Its partition failed.
        """
        partition = mailbox.partition
        if partition in self._failed:
            raise self._failed[partition]
        if partition not in self._staged:
            raise StoreUnavailable("the mailbox moved to another partition meanwhile")
        return self._staged[partition]

    def discard(self) -> None:
        """Remove the files.  May be called more than once."""
        staged, self._staged = self._staged, {}
        for each in staged.values():
            each.discard()

    def _fail(self, partition: str, error: StoreUnavailable) -> None:
        self.log.error("staging on {partition} failed: {error}", partition=partition, error=error)
        self._failed[partition] = error
        staged = self._staged.pop(partition, None)
        if staged is not None:
            staged.discard()
