"""
Where mailboxes lie within a partition, as Cyrus lays them out.

A location is a relative path, C{user/fred/Sent} or C{uuid/5/f/5f...}.  Names
become paths nowhere else, and no name leads out of the partition: components
are modified UTF-7 with dots written C{^}, so none is C{..} or has a slash.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pycyrus.errors import InvalidMailboxName
from pycyrus.model.internal_names import DELETED_PREFIX, is_domain, real_components
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.model.utf7 import modified_utf7_encode

STAGE_DIRECTORY = "stage."
INCOMING = ("uuid", "incoming")
"""Where mailboxes lie that come from another server, until they have their place; no location by id begins so."""
LONGEST_COMPONENT = 250
"""Octets; file systems allow 255 in a name."""

_TREES = frozenset(("domain", "uuid"))
_UNIQUE_ID = re.compile(r"[0-9A-Za-z-]{2,64}\Z")
_SAFE_COMPONENT = re.compile(r"[^/.\x00-\x1f\x7f-\U0010ffff][^/\x00-\x1f\x7f-\U0010ffff]*\Z")


@dataclass(frozen=True, slots=True)
class Layout:
    """
    The options that shape paths.

    @ivar hashed: C{hashimapspool}.
    @ivar full_hash: C{fulldirhash}.
    @ivar by_name: C{mailbox_legacy_dirs}.
    """

    hashed: bool = False
    full_hash: bool = False
    by_name: bool = True
    deleted_prefix: str = DELETED_PREFIX

    def location(self, name: MailboxName, unique_id: str) -> str:
        """
        Where a mailbox belongs.

        A name that no file system could hold gets the place of its unique id.
        """
        if not self.by_name:
            return location_by_id(unique_id)
        components = [modified_utf7_encode(each).decode("ascii").replace(".", "^") for each in self._real(name)]
        if any(len(component) > LONGEST_COMPONENT for component in components):
            return location_by_id(unique_id)
        if not name.domain and components[0] in _TREES:
            # A shared mailbox of such a name would lie within another tree.
            return location_by_id(unique_id)
        head: list[str] = []
        if name.domain:
            head += ["domain", *self._hash_level(name.domain), name.domain]
        # Of a user's mailboxes the user decides, so that a tree stays together.
        head += self._hash_level(components[1] if len(components) > 1 else components[0])
        return _join([*head, *components])

    def _real(self, name: MailboxName) -> list[str]:
        return real_components(name, self.deleted_prefix)

    def _hash_level(self, component: str) -> list[str]:
        if not self.hashed:
            return []
        return [full_directory_hash(component) if self.full_hash else directory_hash(component)]


def location_by_id(unique_id: str) -> str:
    """
    Where a mailbox lies by its unique id.

    @raise InvalidMailboxName: It is not one.
    """
    if not _UNIQUE_ID.match(unique_id):
        raise InvalidMailboxName("unique id")
    return _join(["uuid", unique_id[0], unique_id[1], unique_id])


def incoming_location(transfer_id: str, unique_id: str = "") -> str:
    """
    Where a mailbox lies that comes from another server, or all of one transfer.

    @raise InvalidMailboxName: An id is none.
    """
    if not _UNIQUE_ID.match(transfer_id) or (unique_id and not _UNIQUE_ID.match(unique_id)):
        raise InvalidMailboxName("unique id")
    return _join([*INCOMING, transfer_id, *filter(None, [unique_id])])


def directory_hash(component: str) -> str:
    """One letter, the first of the component where it is one, and C{q} elsewhere."""
    first = component[:1].lower()
    return first if "a" <= first <= "z" else "q"


def full_directory_hash(component: str) -> str:
    """One letter from C{A} to C{W}, of all octets up to a dot."""
    number = 0
    for octet in component.partition(".")[0].encode("utf-8"):
        number = ((number << 3 & 0xFFFFFFFF) ^ (number >> 5)) ^ octet
    return chr(ord("A") + number % 23)


def resolve(root: Path, location: str) -> Path:
    """
    The directory of a location.

    @raise InvalidMailboxName: It would lie outside of the partition, which a
        damaged list of mailboxes could ask for.
    """
    parts = location.split("/")
    _join(parts)
    return root.joinpath(*parts)


def _join(parts: list[str]) -> str:
    for index, part in enumerate(parts):
        domain = index > 0 and "domain" in parts[max(0, index - 2) : index]
        if not _SAFE_COMPONENT.match(part) or ("." in part and not (domain and is_domain(part))):
            raise InvalidMailboxName("unsafe path")
    return "/".join(parts)
