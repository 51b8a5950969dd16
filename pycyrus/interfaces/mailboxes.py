"""One mailbox, and the store of all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from zope.interface import Attribute, Interface

from pycyrus.interfaces.messages import IStaged, NewMessage
from pycyrus.interfaces.results import Appended, Copied, Counts, Expunged, MailboxListing, MailboxStatus, Stored
from pycyrus.model.acl import Acl
from pycyrus.model.acl_changes import AclChange
from pycyrus.model.annotations import AnnotationScope
from pycyrus.model.flags import FlagChange
from pycyrus.model.identity import Identity
from pycyrus.model.names import MailboxName
from pycyrus.model.quota import Enforcement, Limit, Quota
from pycyrus.model.scopes import ListScope, Namespace
from pycyrus.model.search import SearchKey
from pycyrus.model.uids import UidArray
from pycyrus.model.view import View


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

    async def complete() -> None:
        """
        Make all cached items that are not there yet, with pauses.

        To be awaited before many are read: what is missing then is made on the
        spot, which takes its time.
        """

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

    def annotated() -> UidArray:
        """Ascending UIDs of messages that have annotations which the identity may see (RFC 5257)."""

    def annotations(uid: int) -> Mapping[tuple[AnnotationScope, str], bytes]:
        """Values of a message that the identity may see, by scope and entry."""

    async def append(messages: Sequence[NewMessage], *, enforcement: Enforcement = Enforcement.FULL) -> Appended:
        """
        Add messages, all or none, and make them durable (RFC 9051 section 6.3.12).

        Right: i, or p for the postman; flags without their right are left out.

        @param enforcement: Of the quota.
        @raise OverQuota: Nothing was changed.
        @raise TooManyKeywords: Likewise.
        @raise OperationNotSupported: An annotation cannot be set.
        @raise LimitExceeded: Too many annotations.
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

    async def annotate(
        uids: UidArray,
        values: Mapping[tuple[AnnotationScope, str], bytes | None],
        unchanged_since: int | None = None,
    ) -> Stored:
        """
        Set annotations of messages, all or none, and make them durable (RFC 5257 section 4.4).

        Rights: n for shared ones, r for private ones.

        @param values: By scope and entry; None removes one.
        @param unchanged_since: RFC 7162 section 3.1.3.
        @raise PermissionDenied: Without the right for one of them.
        @raise OperationNotSupported: There is no such entry, or it does not take the value.
        @raise LimitExceeded: Too much.
        @raise OverQuota: Of annotations.
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

    async def check_quota(octets: int = 0, messages: int = 0) -> None:
        """
        See whether there is room.

        @param octets: Of what is to be added; with nothing to be added it is
            about what is there.
        @raise OverQuota: There is none.
        @raise StoreUnavailable: It cannot be told.
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

    async def rights(identity: Identity, name: MailboxName) -> frozenset[str]:
        """
        What the identity may do with a mailbox (RFC 4314 section 3.5).

        @raise MailboxNotFound: Absent, or without any right.
        """

    async def acl(identity: Identity, name: MailboxName) -> Acl:
        """
        All entries (RFC 4314 section 3.3); right a.

        @raise MailboxNotFound: Absent or hidden.
        @raise PermissionDenied: Seen, but without the right.
        """

    async def change_acl(identity: Identity, name: MailboxName, change: AclChange) -> None:
        """
        Change an entry (RFC 4314 section 3.1); right a.

        Nobody but an administrator can take away an owner's implicit rights.

        @raise MailboxNotFound: Absent or hidden.
        @raise PermissionDenied: Seen, but without the right.
        """

    def annotations_version() -> int:
        """A number that changes whenever any annotation of a mailbox or the server may have been set."""

    async def annotations(identity: Identity, name: MailboxName | None, *, facts: bool = True) -> dict[str, bytes]:
        """
        Values of a mailbox, or of the server, by whole entry name (RFC 5464 section 4.2); right l.

        @param name: None for the server.
        @param facts: Those as well that nobody set.
        @raise MailboxNotFound: Absent or hidden.
        """

    async def shared_annotation(identity: Identity, name: MailboxName, entry: str) -> bytes | None:
        """
        One of the values of a mailbox that were set for everybody; cheaper than L{annotations}.

        @param entry: Without its scope.
        @return: None where it was not set.
        @raise MailboxNotFound: Absent or hidden.
        """

    async def annotate(identity: Identity, name: MailboxName | None, values: Mapping[str, bytes | None]) -> str | None:
        """
        Set values, all or none (RFC 5464 section 4.3).

        Rights: r and w for shared ones, r for private ones; the server's are an
        administrator's.

        @param values: By whole entry name; None removes one.
        @return: An entry that does not exist, or does not take its value; then
            nothing was changed.
        @raise MailboxNotFound: Absent or hidden.
        @raise PermissionDenied: Without the rights for one of them.
        @raise LimitExceeded: Too much.
        @raise OverQuota: Of annotations.
        """

    async def quota(identity: Identity, root: MailboxName) -> Quota:
        """
        Limits and use of a quota root (RFC 9208 section 4.1.2).

        @param root: Without owner and path it is a domain's.
        @raise PermissionDenied: The identity neither administers nor owns it.
        @raise QuotaRootNotFound: No quota was set for it.
        """

    async def quota_of(identity: Identity, name: MailboxName) -> Quota | None:
        """
        The quota that holds for a mailbox (RFC 9208 section 4.1.3); right r, or an administrator's.

        @return: None if there is none.
        @raise MailboxNotFound: Absent or hidden.
        @raise PermissionDenied: Seen, but without the right.
        """

    async def set_quota(
        identity: Identity, root: MailboxName, limits: Sequence[Limit], *, anywhere: bool = False
    ) -> None:
        """
        Set all limits of a quota root, which becomes one (RFC 9208 section 4.1.1).

        @param limits: None of them makes a root whose use is counted only.
        @param anywhere: Also where there is no mailbox of that name or below.
        @raise MailboxNotFound: There is none.
        @raise PermissionDenied: Not an administrator of the domain.
        """

    async def reconstruct(identity: Identity, name: MailboxName, *, recursive: bool) -> None:
        """
        Have the records of a mailbox and its files agree, as C{reconstruct} does; only administrators may.

        @param recursive: What lies below it as well.
        @raise MailboxNotFound: Absent, or hidden from the identity.
        @raise PermissionDenied: Seen by somebody who administers nothing there.
        @raise StoreUnavailable: It cannot be done now; of what is below, some may be done.
        """

    async def list(identity: Identity, scopes: Sequence[ListScope]) -> Sequence[MailboxListing]:
        """What the identity may see within any of the scopes, in order of name."""

    def walk(
        identity: Identity, scopes: Sequence[ListScope], depth: int | None = None
    ) -> Iterator[Sequence[MailboxListing]]:
        """
        What an administrator may see within any of the scopes, in order of name.

        Unlike C{list} it has no more than a page in memory.  A page takes no
        longer than work on the reactor may; between two the caller gives way.

        @param depth: Of what has more components, counting C{user} and the owner,
            one mailbox below each ancestor of this many is enough; None for all.
        """

    async def status(identity: Identity, name: MailboxName) -> MailboxStatus:
        """RFC 9051 section 6.3.11; right r."""

    async def subscriptions(identity: Identity) -> frozenset[MailboxName]:
        """Names subscribed to, whether they exist or not."""

    async def subscribe(identity: Identity, name: MailboxName, wanted: bool) -> None:
        """
        Subscribe or unsubscribe.

        @raise MailboxNotFound: Nothing to subscribe to (unless allowallsubscribe).
        """

    def watch(listener: Callable[[], None]) -> Callable[[], None]:
        """
        Call C{listener} on the reactor thread soon after the list of mailboxes, or a subscription, may have changed.

        @return: Call it to stop.
        """

    def has_departed(unique_id: str) -> bool:
        """Whether a mailbox that was here, and is not, is on another server: it was not deleted."""

    async def namespaces(identity: Identity) -> frozenset[Namespace]:
        """In which namespaces the identity has something to see."""
