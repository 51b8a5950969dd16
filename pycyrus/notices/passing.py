"""What stands around a mailbox and passes on what it does not tell of."""

from __future__ import annotations

from typing import Any

from pycyrus.interfaces import IMailbox


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
