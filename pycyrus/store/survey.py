"""
Which mailboxes lie on the partitions, whatever the list of mailboxes says.

A directory with a header or a journal is a mailbox.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pycyrus.errors import InvalidMailboxName, MailboxCorrupted, StoreUnavailable
from pycyrus.model.internal_names import parse_internal
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.store import files, header, journal, layout
from pycyrus.store.header import Header, read_header
from pycyrus.store.journal import JournalHeader
from pycyrus.store.partitions import Partitions
from pycyrus.store.paths import INCOMING, STAGE_DIRECTORY
from pycyrus.store.settings import StoreSettings


@dataclass(frozen=True, slots=True)
class Found:
    """
    A mailbox on a partition.

    @ivar header: None if it is missing or damaged.
    @ivar journal: The head of its journal, likewise.
    @ivar renamed: The name in the last record of a renaming; empty if there is none.
    @ivar size: Octets of its journal.
    @ivar is_copy: It was being copied there.
    """

    partition: str
    location: str
    header: Header | None
    journal: JournalHeader | None
    renamed: str = ""
    size: int = 0
    is_copy: bool = False

    @property
    def age(self) -> tuple[bool, int, int, bool]:
        """Of several with one unique id the one with most of this is the mailbox, the others what it left."""
        generation = self.journal.generation if self.journal is not None else -1
        return not self.is_copy, generation, self.size, self.header is not None

    @property
    def unique_id(self) -> str | None:
        """None if nothing tells it."""
        if self.journal is not None:
            return self.journal.unique_id
        return self.header.unique_id if self.header is not None else None

    @property
    def uidvalidity(self) -> int:
        """0 if nothing tells it."""
        if self.journal is not None:
            return self.journal.uidvalidity
        return self.header.uidvalidity if self.header is not None else 0


def survey(partitions: Partitions, names: list[str] | None = None) -> Iterator[Found]:
    """
    Look for mailboxes, in order of partition and place; links are not followed.

    @param names: Of partitions; None for all.
    """
    for partition in partitions.names() if names is None else names:
        try:
            root = partitions.roots(partition)[0]
        except StoreUnavailable:
            # Said when the store was opened.
            continue
        for directory, below, there in os.walk(root):
            below.sort()
            skipped = [STAGE_DIRECTORY, layout.QUARANTINE]
            if directory == str(root / INCOMING[0]):
                # What comes from another server is no mailbox before that says so.
                skipped.append(INCOMING[1])
            below[:] = [each for each in below if each not in skipped]
            if header.FILE_NAME in there or layout.JOURNAL in there:
                place = Path(directory)
                if place != root:
                    yield _look(partition, place.relative_to(root).as_posix(), place)


def _look(partition: str, location: str, place: Path) -> Found:
    try:
        named = read_header(place)
    except MailboxCorrupted:
        named = None
    head, renamed, size = None, "", 0
    try:
        fd = files.open_file(str(place / layout.JOURNAL), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return Found(partition, location, named, None)
    try:
        size = files.fstat(fd).st_size
        head = JournalHeader.decode(files.pread(fd, journal.HEADER_SIZE, 0))
        if named is None:
            renamed = _last_name(files.read_all(fd, size, 0))
    except (MailboxCorrupted, OSError):
        pass
    finally:
        files.close(fd)
    return Found(partition, location, named, head, renamed, size, (place / layout.GUARD).exists())


def _last_name(octets: bytes) -> str:
    name = ""
    for record in journal.scan(octets[journal.HEADER_SIZE :])[0]:
        if record.type == journal.RENAME:
            name = bytes(record.payload[: record.count]).partition(b"\0")[0].decode("utf-8", "replace")
    return name


def name_of(found: Found, settings: StoreSettings) -> MailboxName | None:
    """The name that header, journal or place tell, in this order; None if none of them does."""
    texts = [found.header.name if found.header is not None else "", found.renamed, _name_of_place(found, settings)]
    for text in filter(None, texts):
        try:
            return parse_internal(text, settings.deletedprefix)
        except InvalidMailboxName:
            continue
    return None


def _name_of_place(found: Found, settings: StoreSettings) -> str:
    """The internal name that belongs to a place; empty for places by unique id."""
    parts = found.location.split("/")
    levels = 1 if settings.hashimapspool else 0
    domain = ""
    if parts[0] == "uuid":
        return ""
    if parts[0] == "domain":
        del parts[: 1 + levels]
        domain = parts.pop(0) + "!" if parts else ""
    return domain + ".".join(parts[levels:])
