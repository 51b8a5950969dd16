"""Whether mail for an address could be delivered, asked before there is any."""

from __future__ import annotations

from zope.interface import implementer

from pycyrus.delivery.recipients import ANONYMOUS, resolve
from pycyrus.delivery.settings import DeliverySettings
from pycyrus.errors import InvalidMailboxName, MailboxNotFound
from pycyrus.interfaces import IMailStore, IRecipientVerifier, Recipient
from pycyrus.model.acl import POST
from pycyrus.model.identity import POSTMAN, Identity


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
        try:
            target = resolve(recipient, self._settings)
        except InvalidMailboxName as error:
            raise MailboxNotFound from error
        has_detail = bool(recipient.local_part.partition("+")[2])
        name = target.folder if has_detail else target.inbox
        if name is None:
            raise MailboxNotFound
        identity = POSTMAN if target.inbox is not None else Identity(ANONYMOUS, name.domain)
        mailbox = await self._store.open(identity, name, POST)
        try:
            await mailbox.check_quota(0, 1)
        finally:
            mailbox.close()
