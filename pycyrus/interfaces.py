"""
The seams of pycyrus: read this first.

Protocols see nothing below but these.  Each method says what it raises; every
provider has a C{verifyObject} test.  Methods written C{async} may wait for a
disk or a network; the others touch memory and the page cache only, and may be
called on a hot path.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from zope.interface import Attribute, Interface

from pycyrus.model.flags import NO_FLAGS, FlagChange, Flags
from pycyrus.model.identity import Identity
from pycyrus.model.names import MailboxName
from pycyrus.model.scopes import ListScope as ListScope
from pycyrus.model.scopes import Namespace as Namespace
from pycyrus.model.search import SearchKey
from pycyrus.model.uids import UidArray
from pycyrus.model.view import View

if TYPE_CHECKING:
    from twisted.internet.interfaces import IProtocolFactory

# --- messages on their way in -----------------------------------------------


class IStaged(Interface):
    """
    A message being received, in a private file of a partition.

    Writing puts CRLF-ended octets into the page cache; nothing is durable, or
    visible to anybody, until a mailbox appends it.
    """

    size = Attribute("Octets written so far.")

    def write(data: bytes) -> None:
        """
        Add octets.

        @raise StoreFull: No room; the staged message is spoilt and must be
            discarded.
        @raise StoreUnavailable: Likewise.
        """

    def finish() -> None:
        """
        End the message: computes its GUID, structure and cached items.

        @raise StoreUnavailable: As C{write}.
        """

    def discard() -> None:
        """Remove the file.  Must be called in the end, appended or not."""


@dataclass(frozen=True, slots=True)
class NewMessage:
    """
    A message to append.

    @ivar staged: Finished; it is linked, so one may go to several mailboxes.
    @ivar internaldate: Seconds since the epoch; None for now.
    """

    staged: IStaged
    flags: Flags = NO_FLAGS
    internaldate: int | None = None


# --- results ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Appended:
    """RFC 4315 section 3: what APPENDUID tells."""

    uidvalidity: int
    uids: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Copied:
    """RFC 4315 section 3: what COPYUID tells; the arrays run in parallel."""

    uidvalidity: int
    source_uids: UidArray
    target_uids: UidArray


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """
    What a STORE did.

    @ivar changed: UIDs whose flags are now as asked (also where they were so
        before).
    @ivar modified: UIDs refused because they changed since UNCHANGEDSINCE
        (RFC 7162 section 3.1.3).
    @ivar modseq: The modseq of this change; None if nothing was written.
    """

    changed: UidArray
    modified: UidArray
    modseq: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Expunged:
    """UIDs that went, and the modseq of their going; None if nothing went."""

    uids: UidArray
    modseq: int | None


@dataclass(frozen=True, slots=True)
class Counts:
    """
    What SELECT and STATUS tell, kept ready.

    @ivar first_unseen: Sequence number of the first unseen message; 0 if none.
    @ivar recent_from: The UID from which messages are recent.
    """

    messages: int
    unseen: int
    deleted: int
    size: int
    first_unseen: int
    recent: int
    recent_from: int


@dataclass(frozen=True, slots=True)
class MailboxStatus:
    """RFC 9051 section 6.3.11, RFC 8438, RFC 7162 section 3.1.7, RFC 8474 section 4.3."""

    counts: Counts
    uidnext: int
    uidvalidity: int
    highest_modseq: int
    unique_id: str


@dataclass(frozen=True, slots=True)
class MailboxListing:
    r"""
    One mailbox in a listing.

    @ivar exists: False for a name that only has inferiors.
    @ivar has_children: A mailbox that the identity may see lies below.
    @ivar special_use: Attributes such as C{\Sent} (RFC 6154).
    @ivar rights: What the identity may do with it.
    """

    name: MailboxName
    exists: bool
    has_children: bool
    special_use: tuple[str, ...]
    rights: frozenset[str]
    unique_id: str


# --- mailboxes --------------------------------------------------------------


class IMessageFile(Interface):
    """The octets of one message; closed by C{close}."""

    size = Attribute("Octets.")

    def read(offset: int, length: int) -> bytes:
        """
        Read a range; short at the end of the message.

        @raise StoreUnavailable: The file cannot be read.
        """

    def fileno() -> int:
        """A descriptor for sendfile, open until C{close}."""

    def close() -> None:
        """Give the descriptor back."""


class IMailbox(Interface):
    """
    A mailbox opened by one identity; all opened ones share their state.

    Rights are checked by each method, as they are at that time.  After the
    mailbox was deleted every method raises L{MailboxNotFound}.
    """

    name = Attribute("L{MailboxName} under which it was opened; follows renames.")
    unique_id = Attribute("str: stays across renames (RFC 8474 MAILBOXID).")
    uidvalidity = Attribute("int")
    partition = Attribute("str: a message staged for one mailbox may be appended to any of the same partition.")

    def refresh() -> int:
        """
        Catch up with what other processes wrote; cheap when nothing was.

        @return: A number that changes whenever something visible changed.
        @raise MailboxNotFound: It was deleted, or may no longer be seen.
        @raise StoreUnavailable: It cannot be read.
        """

    def view() -> View:
        """The messages as of the last C{refresh}; the same object until membership changes."""

    def counts() -> Counts:
        """Numbers as of the last C{refresh}."""

    def rights() -> frozenset[str]:
        """What the identity may do here, now."""

    def uidnext() -> int:
        """The UID that the next message gets at least."""

    def highest_modseq() -> int:
        """RFC 7162 section 3.1.2.1."""

    def keyword_names() -> tuple[bytes, ...]:
        """Names by bit number; an unused bit is an empty name."""

    def claim_recent() -> int:
        """
        Take the recent messages for this session, as SELECT does.

        @return: The UID from which messages are recent here and nowhere else.
        """

    def vanished_since(modseq: int) -> UidArray:
        """Ascending UIDs expunged with a modseq above this (RFC 7162 section 3.2.5.2)."""

    def message(uid: int) -> IMessageFile:
        """
        Open a message that is in the view, or was until a moment ago.

        @raise MessageGone: It was removed for good.
        @raise StoreUnavailable: It cannot be read.
        """

    async def append(messages: Sequence[NewMessage]) -> Appended:
        """
        Add messages, all or none, and make them durable (RFC 9051 section 6.3.12).

        Right: i, or p for the postman; flags without their right are left out.

        @raise OverQuota: Nothing was changed.
        @raise TooManyKeywords: Likewise.
        @raise StoreUnavailable: None of them was acknowledged.
        """

    async def store(uids: UidArray, change: FlagChange, unchanged_since: int | None = None) -> Stored:
        """
        Change flags (RFC 9051 section 6.4.6).

        Rights: s for seen, t for deleted, w for all others.

        @param unchanged_since: RFC 7162 section 3.1.3.
        @raise PermissionDenied: None of the flags may be changed.
        @raise TooManyKeywords: Nothing was changed.
        """

    async def expunge(uids: UidArray | None = None) -> Expunged:
        """
        Remove messages that have the deleted flag (RFC 9051 section 6.4.3).

        Right: e.

        @param uids: Only among these (RFC 4315 section 2.1); None for all.
        """

    async def copy(uids: UidArray, target: IMailbox) -> Copied:
        """
        Copy messages, all or none, with flags and internaldate (RFC 9051 section 6.4.7).

        Rights: r here, i there.
        """

    async def move(uids: UidArray, target: IMailbox) -> tuple[Copied, Expunged]:
        """
        Move messages (RFC 6851); a crash leaves each in one place or both, never in neither.

        Rights: r, t, e here, i there.
        """

    async def search(key: SearchKey, *, progress: Callable[[int, int], None] | None = None) -> UidArray:
        """
        Find messages.

        @param key: Without message numbers.
        @param progress: Told (looked at, total) now and then.
        @return: Ascending UIDs.
        @raise LimitExceeded: The search costs more than the limits allow.
        """

    def watch(listener: Callable[[], None]) -> Callable[[], None]:
        """
        Call C{listener} on the reactor thread soon after the mailbox may have changed.

        It is also told after a deletion or a change of rights.

        @return: Call it to stop.
        """

    def close() -> None:
        """End this opening."""


class IMailStore(Interface):
    """All mailboxes of this server, local and remote alike."""

    async def open(identity: Identity, name: MailboxName, right: str) -> IMailbox:
        """
        Open a mailbox.

        @param right: What the identity needs at least, such as C{r}.
        @raise MailboxNotFound: Absent, or hidden from the identity.
        @raise PermissionDenied: Seen, but without the right.
        @raise StoreUnavailable: The partition cannot be read.
        """

    async def stage(identity: Identity, name: MailboxName) -> IStaged:
        """
        Begin to receive a message for a mailbox (right i, or p for the postman).

        @raise MailboxNotFound: With C{creatable} where it could be created.
        """

    async def create(
        identity: Identity, name: MailboxName, *, partition: str | None = None, special_use: Sequence[str] = ()
    ) -> str:
        """
        Create a mailbox, and what lies between it and the root (RFC 9051 section 6.3.4).

        @return: Its unique id.
        @raise MailboxExists: It is there already.
        @raise PermissionDenied: Right k on the parent is lacking.
        @raise InvalidMailboxName: By the naming policy.
        """

    async def delete(identity: Identity, name: MailboxName) -> None:
        """
        Delete a mailbox (RFC 9051 section 6.3.5); right x.

        @raise MailboxHasChildren: It has inferiors.
        @raise OperationNotSupported: It is the identity's own INBOX.
        """

    async def rename(
        identity: Identity, old: MailboxName, new: MailboxName, *, partition: str | None = None
    ) -> list[tuple[MailboxName, MailboxName]]:
        """
        Rename a mailbox with its inferiors; an INBOX's messages move instead (RFC 9051 section 6.3.6).

        @return: Old and new names of all that was renamed.
        """

    async def list(identity: Identity, scopes: Sequence[ListScope]) -> Sequence[MailboxListing]:
        """What the identity may see within any of the scopes, in order of name."""

    async def status(identity: Identity, name: MailboxName) -> MailboxStatus:
        """RFC 9051 section 6.3.11; right r."""

    async def subscriptions(identity: Identity) -> frozenset[MailboxName]:
        """Names subscribed to, whether they exist or not."""

    async def subscribe(identity: Identity, name: MailboxName, wanted: bool) -> None:
        """
        Subscribe or unsubscribe.

        @raise MailboxNotFound: Nothing to subscribe to (unless allowallsubscribe).
        """

    async def namespaces(identity: Identity) -> frozenset[Namespace]:
        """In which namespaces the identity has something to see."""


# --- delivery ---------------------------------------------------------------


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


class IDeliveryAgent(Interface):
    """Where a mail-receiving protocol hands its messages."""

    def start(envelope: Envelope) -> IDelivery:
        """Begin a transaction."""


# --- authentication ---------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Channel:
    """
    How the client is connected, as far as authentication must know.

    @ivar service: C{imap}, C{lmtp}, ...: the name in cyrus.conf.
    @ivar peer: Address of the client, for logs and limits.
    @ivar tls: TLS is active.
    @ivar local_address: Where the client connected to, for C{virtdomains: on}.
    @ivar client_certificate: Gives the client's verified certificate as DER, or
        None; for EXTERNAL.
    """

    service: str
    peer: str
    tls: bool
    local_address: str = ""
    session_id: str = ""
    tls_exporter: Callable[[bytes, int], bytes] | None = field(default=None, compare=False)
    client_certificate: Callable[[], bytes | None] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Challenge:
    """The server wants another response; C{data} is not yet base64."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Authenticated:
    """
    The exchange succeeded.

    @ivar identity: Who the session acts as.
    @ivar authenticated_as: User id that proved itself, if another (a proxy).
    @ivar data: Final server data to send with success, not yet base64.
    """

    identity: Identity
    authenticated_as: str
    data: bytes | None = None


class ISaslExchange(Interface):
    """The server's side of one SASL exchange (RFC 4422)."""

    async def step(response: bytes | None) -> Challenge | Authenticated:
        """
        Take a response, decoded from base64.

        @param response: None at the start, where there is no initial response.
        @raise AuthenticationFailed: One answer for every reason.
        @raise AuthenticationUnavailable: Cannot be told now.
        @raise AuthorizationDenied: Proved, but may not act as the other.
        @raise MalformedExchange: Not what the mechanism defines.
        """


class IAuthenticator(Interface):
    """Who may come in; failures are delayed here, never in protocols."""

    def mechanisms(channel: Channel) -> Sequence[str]:
        """SASL mechanisms to offer on this channel, strongest first."""

    def allows_plaintext(channel: Channel) -> bool:
        """Whether LOGIN, USER/PASS and the like work on this channel."""

    def start(mechanism: str, channel: Channel) -> ISaslExchange:
        """
        Begin an exchange.

        @raise MechanismUnavailable: Unknown, or not on this channel.
        @raise PlaintextRefused: Only under TLS.
        """

    async def login(user: bytes, password: bytes, channel: Channel) -> Authenticated:
        """
        Check a user name and password (IMAP LOGIN, POP3 USER/PASS).

        @raise AuthenticationFailed: As L{ISaslExchange.step}.
        """


# --- services ---------------------------------------------------------------


class IMailService(Interface):
    """
    A protocol server, found by twistd's plugin system.

    C{cmd="imapd"} in cyrus.conf names the provider whose C{program} is imapd.
    """

    program = Attribute("str: what stands in cmd=.")

    def make_factory(context: object, name: str, arguments: Sequence[str]) -> IProtocolFactory:
        """
        Build the factory for one SERVICES entry.

        It has C{sessions}, the connections that are open, and C{shut_down()},
        which has them end.

        @param context: A L{pycyrus.app.context.Context}: the parts built from
            the configuration.
        @param name: The entry's name, by which options may be prefixed.
        @param arguments: The words after the program name, such as C{-s}.
        """
