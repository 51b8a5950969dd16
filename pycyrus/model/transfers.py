"""What goes with mailboxes that move to another server, as values and as octets."""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pycyrus.model.acl import Acl
from pycyrus.model.acl_text import BadAcl, parse_acl, write_acl
from pycyrus.model.mailbox_name import MailboxName

VERSION = 1
MANIFEST = "manifest"
"""The file of a transfer that says which mailboxes come, and what is known of them."""
INVENTORY = "inventory"
"""The file of a transfer that says which files they have."""


class BadTransfer(ValueError):
    """Octets that are no manifest, inventory or list of pieces."""


@dataclass(frozen=True, slots=True)
class Note:
    """An annotation; C{user_id} is empty for everybody's."""

    user_id: str
    entry: str
    value: bytes


@dataclass(frozen=True, slots=True)
class SeenBy:
    """
    What somebody has seen who does not own the mailbox.

    @ivar uids: As in the database of seen state.
    @ivar recent: The highest UID that is not recent any more.
    """

    user_id: str
    uids: str
    recent: int


@dataclass(frozen=True, slots=True)
class MovedMailbox:
    """A mailbox as it stands in the list, and what is known of it elsewhere."""

    unique_id: str
    name: MailboxName
    uidvalidity: int
    acl: Acl
    special_use: tuple[str, ...] = ()
    created: int = 0
    notes: tuple[Note, ...] = ()
    seen: tuple[SeenBy, ...] = ()


@dataclass(frozen=True, slots=True)
class MovedRoot:
    """A quota root; each limit is a resource and a value."""

    root: MailboxName
    limits: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """
    All that moves at once: a user, or one mailbox.

    @ivar mailboxes: Parents before their children.
    @ivar subscriptions: Of the user.
    """

    root: MailboxName
    mailboxes: tuple[MovedMailbox, ...]
    subscriptions: tuple[MailboxName, ...] = ()
    quotas: tuple[MovedRoot, ...] = ()

    def encode(self) -> bytes:
        """The octets of the file."""
        return json.dumps(
            {
                "version": VERSION,
                "root": name_fields(self.root),
                "mailboxes": [_mailbox(each) for each in self.mailboxes],
                "subscriptions": [name_fields(each) for each in self.subscriptions],
                "quotas": [[name_fields(each.root), list(each.limits)] for each in self.quotas],
            }
        ).encode("ascii")

    @classmethod
    def decode(cls, octets: bytes) -> Manifest:
        """
        Read the octets of the file.

        @raise BadTransfer: They are none, or of a newer version.
        """
        try:
            fields = json.loads(octets)
            if fields["version"] != VERSION:
                raise BadTransfer(f"version {fields['version']!r} is not known")
            return cls(
                read_name(fields["root"]),
                tuple(map(_read_mailbox, fields["mailboxes"])),
                tuple(map(read_name, fields["subscriptions"])),
                tuple(
                    MovedRoot(read_name(root), tuple((str(name), int(value)) for name, value in limits))
                    for root, limits in fields["quotas"]
                ),
            )
        except BadTransfer:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, BadAcl, RecursionError) as error:
            raise BadTransfer(f"no manifest: {error}") from error


def name_fields(name: MailboxName) -> list[Any]:
    """A name as JSON has it."""
    return [name.domain, name.owner, list(name.path), name.deleted]


def read_name(fields: Any) -> MailboxName:
    """
    The reverse of L{name_fields}.

    @raise BadTransfer: It is none.
    @raise ValueError: Likewise.
    @raise TypeError: Likewise.
    """
    domain, owner, path, deleted = fields
    parts = [domain, *(each for each in (owner, deleted) if each is not None), *path]
    # They become keys of databases, in which control characters have a meaning.
    if not all(isinstance(part, str) and part.isprintable() for part in parts) or not isinstance(path, list):
        raise BadTransfer("a name that is none")
    if not all(path) or owner == "" or deleted == "":
        raise BadTransfer("a name with an empty part")
    return MailboxName(domain, owner, tuple(path), deleted)


def _mailbox(mailbox: MovedMailbox) -> dict[str, Any]:
    return {
        "unique_id": mailbox.unique_id,
        "name": name_fields(mailbox.name),
        "uidvalidity": mailbox.uidvalidity,
        "acl": write_acl(mailbox.acl),
        "special_use": list(mailbox.special_use),
        "created": mailbox.created,
        "notes": [[note.user_id, note.entry, b64encode(note.value).decode("ascii")] for note in mailbox.notes],
        "seen": [[each.user_id, each.uids, each.recent] for each in mailbox.seen],
    }


def _read_mailbox(fields: Any) -> MovedMailbox:
    uidvalidity = int(fields["uidvalidity"])
    if not 0 < uidvalidity <= 0xFFFFFFFF:
        raise BadTransfer("a UIDVALIDITY that is none")
    return MovedMailbox(
        str(fields["unique_id"]),
        read_name(fields["name"]),
        uidvalidity,
        parse_acl(fields["acl"]),
        tuple(map(str, fields["special_use"])),
        int(fields["created"]),
        tuple(Note(str(user), str(entry), b64decode(value, validate=True)) for user, entry, value in fields["notes"]),
        tuple(SeenBy(str(user), str(uids), int(recent)) for user, uids, recent in fields["seen"]),
    )


@dataclass(frozen=True, slots=True)
class FileFacts:
    """
    How a file is known.

    @ivar size: Octets.
    @ivar digest: SHA-1, in hexadecimal: the GUID, if it is a message.
    """

    size: int
    digest: str


@dataclass(slots=True)
class Inventory:
    """
    Which files mailboxes have.

    @ivar files: By unique id, then by name.
    """

    files: dict[str, dict[str, FileFacts]] = field(default_factory=dict)

    def encode(self) -> bytes:
        """The octets of the file; the same for the same files."""
        return json.dumps(
            {
                unique_id: {name: [facts.size, facts.digest] for name, facts in sorted(files.items())}
                for unique_id, files in sorted(self.files.items())
            }
        ).encode("ascii")

    def digest(self) -> str:
        """SHA-1 of the file, in hexadecimal."""
        return hashlib.sha1(self.encode(), usedforsecurity=False).hexdigest()

    @classmethod
    def decode(cls, octets: bytes) -> Inventory:
        """
        Read the octets of the file.

        @raise BadTransfer: They are none.
        """
        try:
            fields: Mapping[str, Mapping[str, Sequence[Any]]] = json.loads(octets)
            return cls(
                {
                    str(unique_id): {name: FileFacts(int(size), str(digest)) for name, (size, digest) in files.items()}
                    for unique_id, files in fields.items()
                }
            )
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise BadTransfer(f"no inventory: {error}") from error


@dataclass(frozen=True, slots=True)
class Piece:
    """
    A part of a file.

    @ivar unique_id: Of the mailbox; empty for a file of the transfer itself.
    @ivar offset: Where it begins: pieces of a file come in order.
    @ivar is_last: The file ends with it.
    """

    unique_id: str
    name: str
    offset: int
    length: int
    is_last: bool


def encode_pieces(pieces: Sequence[Piece]) -> bytes:
    """What is said of octets that follow."""
    return json.dumps([[p.unique_id, p.name, p.offset, p.length, p.is_last] for p in pieces]).encode("ascii")


def decode_pieces(octets: bytes) -> list[Piece]:
    """
    Read what L{encode_pieces} wrote.

    @raise BadTransfer: It is none.
    """
    try:
        pieces = [
            Piece(str(unique_id), str(name), int(offset), int(length), bool(is_last))
            for unique_id, name, offset, length, is_last in json.loads(octets)
        ]
    except (ValueError, TypeError, RecursionError) as error:
        raise BadTransfer(f"no list of pieces: {error}") from error
    if any(piece.offset < 0 or piece.length < 0 for piece in pieces):
        raise BadTransfer("a piece of no length")
    return pieces
