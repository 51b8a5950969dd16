"""Mailboxes that come to be when they are needed first."""

from __future__ import annotations

from zope.interface import Interface

from pycyrus.model.identity import Identity
from pycyrus.model.mailbox_name import MailboxName


class IAutocreation(Interface):
    """
    Makes the mailboxes of users who have none.

    What goes wrong is logged: whoever logs in, or sends mail, then finds no
    mailbox, as without it.
    """

    async def logged_in(identity: Identity) -> None:
        """Somebody begins to use their mailboxes."""

    async def mail_came(inbox: MailboxName) -> bool:
        """
        There is mail for an INBOX that is not there.

        @return: Whether it is there now.
        @raise StoreUnavailable: What the user gets cannot be told now.
        """
