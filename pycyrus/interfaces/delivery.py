"""Delivery: from a protocol that receives mail to the mailboxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from zope.interface import Interface

from pycyrus.model.identity import Identity
from pycyrus.model.names import MailboxName

if TYPE_CHECKING:
    from pycyrus.interfaces.mailboxes import IMailbox


@dataclass(frozen=True, slots=True)
class Recipient:
    """
    An envelope recipient, its address already taken apart.

    @ivar local_part: Unquoted, with its detail.
    @ivar domain: Empty if there was none.
    @ivar ignore_quota: RCPT's IGNOREQUOTA.
    """

    local_part: str
    domain: str
    ignore_quota: bool = False


@dataclass(frozen=True, slots=True)
class Envelope:
    """
    What is known of a transaction before its recipients.

    @ivar sender: Reverse path; empty for the null sender.
    @ivar size: As announced by SIZE; None if it was not.
    @ivar identity: For whose rights to post; the postman on a trusted socket.
    @ivar client_name: As given in LHLO.
    @ivar client_host: Name or address of the peer, for Received.
    @ivar protocol: C{LMTP}, C{LMTPS}, C{LMTPA} or C{LMTPSA} (RFC 3848).
    @ivar auth: User id given by MAIL's AUTH parameter (RFC 4954 section 5), for whose
        rights to post; empty for C{<>}, None without it.
    @ivar tls: How the client is protected, in the words of Received fields; empty without TLS.
    @ivar service: The name in cyrus.conf of the service that took it.
    """

    sender: str
    size: int | None
    identity: Identity
    client_name: str
    client_host: str
    protocol: str
    session_id: str
    utf8: bool = False
    auth: str | None = None
    tls: str = ""
    service: str = "lmtp"


class IDelivery(Interface):
    """One message on its way to its recipients."""

    async def add_recipient(recipient: Recipient) -> None:
        """
        Accept a recipient.

        @raise MailboxNotFound: No such user.
        @raise OverQuota: It could not be delivered now.
        @raise StoreUnavailable: Nobody can tell now.
        """

    async def begin() -> None:
        """
        The body follows; at least one recipient was accepted.

        @raise StoreUnavailable: It could not be stored anywhere.
        """

    def write(data: bytes) -> None:
        """
        A piece of the body, without dot-stuffing, lines ended by CRLF.

        Errors are kept until C{commit}.
        """

    async def commit() -> Sequence[Exception | None]:
        """
        Deliver to each recipient, durably.

        @return: In the order of the accepted recipients: None, or the
            L{pycyrus.errors.MailStoreError} that befell it.
        """

    def abort() -> None:
        """Forget it.  May be called in any state, more than once."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """
    A message that was delivered.

    @ivar size: Octets as they were received.
    @ivar sender: Reverse path; empty for the null sender.
    @ivar opened: The mailbox itself, open while it is told; None where nobody may look.
    @ivar header: Of the message, as it came in.
    @ivar service: As of its envelope.
    """

    mailbox: MailboxName
    uid: int
    uidvalidity: int
    size: int
    sender: str
    session_id: str
    opened: IMailbox | None = field(default=None, compare=False)
    header: bytes = b""
    service: str = "lmtp"


class IDeliveryObserver(Interface):
    """Who is told of deliveries."""

    def delivered(arrival: Arrival) -> None:
        """
        A message is in a mailbox, durably.

        It neither waits nor raises: the sender has no answer yet.
        """

    def over_quota(mailbox: MailboxName, session_id: str, service: str) -> None:
        """
        A message did not get into a mailbox, as its quota is exceeded.

        It neither waits nor raises.
        """

    def close() -> None:
        """Nothing more is delivered."""


class IRecipientVerifier(Interface):
    """Who tells whether mail for an address could be delivered."""

    async def verify(recipient: Recipient) -> None:
        """
        Look for the mailbox of an address; with a detail, for that folder itself.

        @raise MailboxNotFound: There is none.
        @raise PermissionDenied: It is shared, and not everybody may post there.
        @raise OverQuota: It is full.
        @raise StoreUnavailable: Nobody can tell now.
        """


class IDeliveryAgent(Interface):
    """Where a mail-receiving protocol hands its messages."""

    def start(envelope: Envelope) -> IDelivery:
        """Begin a transaction."""
