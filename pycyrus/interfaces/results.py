"""What a mail store tells of what it did, and has."""

from __future__ import annotations

from dataclasses import dataclass

from pycyrus.model.names import MailboxName
from pycyrus.model.uids import UidArray


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
    """
    RFC 9051 section 6.3.11, RFC 8438, RFC 7162 section 3.1.7, RFC 8474 section 4.3.

    @ivar deleted_size: Octets of messages that have the deleted flag (RFC 9208
        section 4.1.4).
    """

    counts: Counts
    uidnext: int
    uidvalidity: int
    highest_modseq: int
    unique_id: str
    deleted_size: int = 0


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
