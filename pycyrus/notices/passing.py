"""What stands around a store or a mailbox, and passes on what it does not tell of."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from pycyrus.errors import MailStoreError
from pycyrus.interfaces import IMailbox, IMailStore
from pycyrus.model.acl import POST
from pycyrus.model.identity import POSTMAN
from pycyrus.model.names import MailboxName


class PassingStore:
    """The store of one session; what changes nothing goes straight to the store itself."""

    def __init__(self, store: IMailStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def _numbers(self, name: MailboxName) -> tuple[str, int | None]:
        """A mailbox's unique id and UIDVALIDITY, as far as they can be told."""
        with suppress(MailStoreError):
            mailbox = await self._store.open(POSTMAN, name, POST)
            try:
                return mailbox.unique_id, mailbox.uidvalidity
            finally:
                mailbox.close()
        return "", None


class PassingMailbox:
    """One opening; what changes nothing goes straight to the mailbox itself."""

    def __init__(self, mailbox: IMailbox) -> None:
        self._mailbox = mailbox
        # What commands ask for again and again costs nothing more than without us.
        self.refresh = mailbox.refresh
        self.view = mailbox.view
        self.counts = mailbox.counts
        self.rights = mailbox.rights
        self.message = mailbox.message
        self.highest_modseq = mailbox.highest_modseq
        self.keyword_names = mailbox.keyword_names

    def __getattr__(self, name: str) -> Any:
        return getattr(self._mailbox, name)
