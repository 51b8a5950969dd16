"""Whether mail for an address could be delivered, asked before there is any."""

from __future__ import annotations

from zope.interface import implementer

from pycyrus.delivery.recipients import asked_mailbox
from pycyrus.delivery.settings import DeliverySettings
from pycyrus.interfaces import IMailStore, IRecipientVerifier, Recipient
from pycyrus.model.acl import POST


@implementer(IRecipientVerifier)
class RecipientVerifier:
    """Looks for the mailbox itself: unlike delivery it takes no INBOX for a folder that is not there."""

    def __init__(self, store: IMailStore, settings: DeliverySettings) -> None:
        self._store = store
        self._settings = settings

    async def verify(self, recipient: Recipient) -> None:
        """
        Look for the mailbox of an address.

        @raise MailboxNotFound: It is not there.
        @raise PermissionDenied: It is shared, and not everybody may post there.
        @raise OverQuota: It is full.
        """
        name, identity = asked_mailbox(recipient, self._settings)
        mailbox = await self._store.open(identity, name, POST)
        try:
            await mailbox.check_quota(0, 1)
        finally:
            mailbox.close()
