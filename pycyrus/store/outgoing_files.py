"""
The files of a mailbox, in pieces that fit into a command, for another server.

Everything here waits for the disk, and runs on a thread.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from pycyrus.errors import MailboxCorrupted, MailboxNotFound
from pycyrus.model.transfers import FileFacts, Inventory, Piece
from pycyrus.store import files
from pycyrus.store.contents import Contents
from pycyrus.store.layout import CACHE, COLUMNS, JOURNAL, QUARANTINE, MailboxPaths
from pycyrus.store.recovery import open_mailbox

PIECES = 96 * 1024
"""Octets that go with one command."""
_MOST_PIECES = 200
_META = (JOURNAL, CACHE, COLUMNS)


@dataclass(frozen=True, slots=True)
class Packet:
    """Pieces that go together, and their octets, one after the other."""

    pieces: tuple[Piece, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Wanted:
    """
    A file to send.

    @ivar facts: What it must be; None if whatever is found there will do.
    @ivar is_needed: The mailbox would not be whole without it.
    """

    name: str
    path: str
    facts: FileFacts | None
    is_needed: bool


class FilesOfMailbox:
    """
    What is to be sent of one mailbox; it may be asked again, and then tells what is new.

    @ivar unique_id: Of the mailbox.
    @ivar paths: Where it is.
    @ivar sent: What was sent, by name.
    @ivar octets: Of what was sent, all in all.
    """

    def __init__(self, unique_id: str, paths: MailboxPaths) -> None:
        self.sent: dict[str, FileFacts] = {}
        self.octets = 0
        self.unique_id = unique_id
        self.paths = paths

    def total(self) -> int:
        """
        How many octets its messages have.

        @raise StoreUnavailable: It cannot be read.
        """
        contents = self._load()
        live = contents.columns.sizes[: contents.columns.count]
        return int(live.sum(dtype="u8")) + int(contents.retained["size"].sum(dtype="u8"))

    def messages(self) -> Iterator[Packet]:
        """
        The messages that were not sent yet, while the mailbox is in use.

        @raise StoreUnavailable: It cannot be read.
        """
        yield from self._send(self._messages(self._load(), must_be_whole=False))

    def rest(self) -> Iterator[Packet]:
        """
        All that is lacking, while nobody writes to it.

        @raise MailboxCorrupted: A message is missing, or is not what it was.
        @raise StoreUnavailable: It cannot be read.
        """
        contents = self._load()
        others = [Wanted(name, f"{self.paths.meta}/{name}", None, name == JOURNAL) for name in _META]
        others += [
            Wanted(f"{QUARANTINE}/{name}", f"{self.paths.quarantine}/{name}", None, False)
            for name in _regular_files(self.paths.quarantine)
        ]
        names = {each.name for each in others}
        uids = [*contents.columns.uids[: contents.columns.count].tolist(), *contents.retained["uid"].tolist()]
        names.update(f"{uid}." for uid in uids)
        for name in self.sent.keys() - names:
            del self.sent[name]
        yield from self._send(chain(self._messages(contents, must_be_whole=True), others))

    def _load(self) -> Contents:
        loaded = open_mailbox(self.paths)
        files.close(loaded.fd)
        return loaded.contents

    def _messages(self, contents: Contents, *, must_be_whole: bool) -> Iterator[Wanted]:
        columns, retained = contents.columns, contents.retained
        count = columns.count
        live = zip(
            columns.uids[:count].tolist(), columns.sizes[:count].tolist(), columns.guids[:count].tolist(), strict=True
        )
        gone = zip(retained["uid"].tolist(), retained["size"].tolist(), retained["guid"].tolist(), strict=True)
        for rows, needed in ((live, True), (gone, False)):
            for uid, size, guid in rows:
                facts = FileFacts(size, bytes(guid).hex())
                yield Wanted(f"{uid}.", self.paths.where(uid), facts, needed and must_be_whole)

    def _send(self, wanted: Iterable[Wanted]) -> Iterator[Packet]:
        pieces: list[Piece] = []
        data: list[bytes] = []
        room = PIECES
        for each in wanted:
            if each.facts is not None and self.sent.get(each.name) == each.facts:
                continue
            for piece, octets in self._read(each):
                if len(octets) > room or len(pieces) >= _MOST_PIECES:
                    yield Packet(tuple(pieces), b"".join(data))
                    pieces, data, room = [], [], PIECES
                pieces.append(piece)
                data.append(octets)
                room -= len(octets)
        if pieces:
            yield Packet(tuple(pieces), b"".join(data))

    def _read(self, wanted: Wanted) -> Iterator[tuple[Piece, bytes]]:
        try:
            fd = files.open_file(wanted.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except (FileNotFoundError, NotADirectoryError):
            if wanted.is_needed:
                raise MailboxCorrupted(f"{wanted.path} is missing") from None
            return
        try:
            size = files.fstat(fd).st_size
            digest = hashlib.sha1(usedforsecurity=False)
            offset = 0
            while True:
                octets = files.read_all(fd, min(PIECES, size - offset), offset)
                digest.update(octets)
                begin, offset = offset, offset + len(octets)
                if offset < size and not octets:
                    raise MailboxCorrupted(f"{wanted.path} became shorter")
                is_last = offset >= size
                if is_last:
                    self._note(wanted, FileFacts(size, digest.hexdigest()))
                yield Piece(self.unique_id, wanted.name, begin, len(octets), is_last), octets
                if is_last:
                    return
        finally:
            files.close(fd)

    def _note(self, wanted: Wanted, facts: FileFacts) -> None:
        if wanted.is_needed and wanted.facts not in (None, facts):
            raise MailboxCorrupted(f"{wanted.path} is not what it was when it came")
        self.sent[wanted.name] = facts
        self.octets += facts.size


def _regular_files(directory: Path) -> list[str]:
    try:
        names = files.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(name for name in names if stat.S_ISREG(os.lstat(directory / name).st_mode))


def messages_of(mailboxes: Iterable[FilesOfMailbox]) -> Iterator[Packet]:
    """As L{FilesOfMailbox.messages}, of many; one that is removed or renamed meanwhile is passed over."""
    for each in mailboxes:
        try:
            yield from each.messages()
        except MailboxNotFound:
            continue


def merged(packets: Iterable[Packet]) -> Iterator[Packet]:
    """Small packets together, as of many mailboxes that have little."""
    pieces: list[Piece] = []
    data: list[bytes] = []
    size = 0
    for packet in packets:
        if pieces and (size + len(packet.data) > PIECES or len(pieces) + len(packet.pieces) > _MOST_PIECES):
            yield Packet(tuple(pieces), b"".join(data))
            pieces, data, size = [], [], 0
        pieces += packet.pieces
        data.append(packet.data)
        size += len(packet.data)
    if pieces:
        yield Packet(tuple(pieces), b"".join(data))


def inventory(mailboxes: Iterable[FilesOfMailbox]) -> Inventory:
    """What the other server must have when all was sent."""
    return Inventory({each.unique_id: dict(each.sent) for each in mailboxes})


def packets_of(name: str, octets: bytes) -> Iterator[Packet]:
    """A file of the transfer itself, in pieces."""
    for offset in range(0, max(len(octets), 1), PIECES):
        data = octets[offset : offset + PIECES]
        piece = Piece("", name, offset, len(data), offset + len(data) == len(octets))
        yield Packet((piece,), data)
