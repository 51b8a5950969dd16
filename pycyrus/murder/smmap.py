"""Socket maps of a frontend: the directory tells who exists, and the backend whether there is room."""

from __future__ import annotations

from typing import Any

from zope.interface import implementer

from pycyrus.delivery.recipients import asked_mailbox
from pycyrus.delivery.settings import DeliverySettings
from pycyrus.errors import MailboxNotFound, OverQuota, StoreUnavailable
from pycyrus.interfaces import IMailboxDirectory, IRecipientVerifier, LocationState, Recipient
from pycyrus.murder.servers.backends import Backends
from pycyrus.murder.servers.lines import LineClient

_ANSWER_WITHIN = 5.0
_LONGEST = 9000


class _Asking(LineClient):
    """Netstrings are no lines: what came is looked at as a whole."""

    async def answer(self) -> bytes:
        """
        Wait for one netstring.

        @raise StoreUnavailable: There is none.
        """
        while True:
            digits, mark, rest = self._buffer.partition(b":")
            if len(digits) > 4 or (digits and not digits.isdigit()) or len(self._buffer) > _LONGEST:
                self.abort("this is no netstring")
            elif mark and len(rest) > int(digits or b"0"):
                return rest[: int(digits or b"0")]
            await self.more(_ANSWER_WITHIN)


@implementer(IRecipientVerifier)
class MurderVerifier:
    """
    Looks for mailboxes of all servers.

    @param local: For those of this one.
    """

    def __init__(
        self,
        local: IRecipientVerifier,
        settings: DeliverySettings,
        directory: IMailboxDirectory,
        backends: Backends,
        reactor: Any,
    ) -> None:
        self._local = local
        self._settings = settings
        self._directory = directory
        self._backends = backends
        self._reactor = reactor

    async def verify(self, recipient: Recipient) -> None:
        """
        Look for the mailbox of an address; see L{IRecipientVerifier}.

        A backend that cannot be asked is no reason to hold mail up: that the mailbox
        exists the directory knows.

        @raise MailboxNotFound: There is none.
        @raise OverQuota: The backend says that it is full.
        @raise StoreUnavailable: It is being moved.
        """
        name, _ = asked_mailbox(recipient, self._settings)
        location = await self._directory.locate(name, surely=True)
        if location is None:
            raise MailboxNotFound
        if location.state is LocationState.RESERVED:
            raise StoreUnavailable("it is being created or moved")
        if not location.server:
            await self._local.verify(recipient)
            return
        try:
            answer = await self._ask(location.server, recipient)
        except StoreUnavailable:
            return
        if answer.startswith(b"NOTFOUND"):
            raise MailboxNotFound
        if not answer.startswith(b"OK"):
            raise OverQuota(answer[:100].decode("utf-8", "replace"))

    async def _ask(self, server: str, recipient: Recipient) -> bytes:
        link = _Asking(server, self._reactor)
        await self._backends.connect_quietly(server, "smmap", link)
        address = recipient.local_part + (f"@{recipient.domain}" if recipient.domain else "")
        request = b"0 " + address.encode("utf-8")
        try:
            link.send(b"%d:%b," % (len(request), request))
            return await link.answer()
        finally:
            link.abort("done")
