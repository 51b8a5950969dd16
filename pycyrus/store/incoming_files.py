"""
Files of mailboxes as they come from another server, in a place of their own.

Nothing is believed: names, sizes and digests are compared, and each mailbox is read
before the other server is told that all of it is here.  Everything waits for the
disk, and runs on a thread.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pycyrus.errors import (
    InvalidMailboxName,
    LimitExceeded,
    MailboxCorrupted,
    MailStoreError,
    StoreUnavailable,
    TransferFailed,
)
from pycyrus.model.transfers import INVENTORY, MANIFEST, BadTransfer, FileFacts, Inventory, Manifest, Piece
from pycyrus.store import files, journal, moves, paths
from pycyrus.store.files import store_error
from pycyrus.store.layout import (
    CACHE,
    COLUMNS,
    JOURNAL,
    MODSEQS_PER_UID,
    QUARANTINE,
    MailboxPaths,
    is_message,
    microseconds,
)
from pycyrus.store.loading import Loaded, load
from pycyrus.store.partitions import Partitions
from pycyrus.store.paths import incoming_location

_META = frozenset((JOURNAL, CACHE, COLUMNS))
_OWN = frozenset((MANIFEST, INVENTORY))
_IN_QUARANTINE = re.compile(re.escape(QUARANTINE) + r"/[A-Za-z0-9_-][A-Za-z0-9._-]{0,200}\Z")
_LOOSE = "messages"
_MOST_OWN = 1 << 30
MOST_FILES = 20_000_000
"""Files of one transfer."""


class Mismatch(TransferFailed):
    """What came is not what the other server has."""


@dataclass(slots=True)
class _Open:
    """A file that is coming."""

    key: tuple[str, str]
    fd: int
    size: int
    digest: Any


class IncomingFiles:
    """The files of one transfer."""

    def __init__(self, partitions: Partitions, partition: str, transfer_id: str) -> None:
        """@raise InvalidMailboxName: The id is none."""
        self._partitions = partitions
        self._partition = partition
        self._transfer_id = transfer_id
        self._open: _Open | None = None
        self._facts: dict[tuple[str, str], FileFacts] = {}
        self._is_over = False
        # The connection may end while a thread writes, and what is removed then must not come again.
        self._writing = threading.Lock()
        incoming_location(transfer_id)

    def place(self, unique_id: str) -> MailboxPaths:
        """Where a mailbox lies."""
        return moves.mailbox_paths(self._partitions, self._partition, incoming_location(self._transfer_id, unique_id))

    @property
    def _own(self) -> Path:
        return self._partitions.meta(self._partition, incoming_location(self._transfer_id))

    # --- coming ---------------------------------------------------------

    def begin(self) -> None:
        """Make the place, empty."""
        remove(self._partitions, self._partition, self._transfer_id)
        try:
            for root in self._partitions.roots(self._partition):
                place = paths.resolve(root, incoming_location(self._transfer_id))
                files.makedirs(place, files.PRIVATE_DIRECTORY, exist_ok=True)
        except OSError as error:
            raise store_error(error, "mailboxes cannot come in") from error

    def write(self, pieces: list[Piece], data: bytes) -> None:
        """
        Take pieces.

        @raise BadTransfer: They are none, or not the next ones.
        @raise StoreUnavailable: They cannot be written.
        """
        if sum(piece.length for piece in pieces) != len(data):
            raise BadTransfer("pieces of another length than their octets")
        offset = 0
        try:
            for piece in pieces:
                with self._writing:
                    if self._is_over:
                        raise StoreUnavailable("the transfer is over")
                    self._write(piece, data[offset : offset + piece.length])
                offset += piece.length
        except OSError as error:
            raise store_error(error, "mailboxes cannot come in") from error

    def _write(self, piece: Piece, octets: bytes) -> None:
        key = piece.unique_id, piece.name
        if piece.offset == 0:
            self._begin_file(key)
        at = self._open
        if at is None or at.key != key or at.size != piece.offset:
            raise BadTransfer("a piece that is not the next one")
        files.write_all(at.fd, octets, at.size)
        at.digest.update(octets)
        at.size += len(octets)
        if not piece.unique_id and at.size > _MOST_OWN:
            raise LimitExceeded("Too many mailboxes")
        if piece.is_last:
            self._open = None
            files.close(at.fd)
            self._facts[key] = FileFacts(at.size, at.digest.hexdigest())

    def _begin_file(self, key: tuple[str, str]) -> None:
        self.close()
        if len(self._facts) >= MOST_FILES:
            raise LimitExceeded("Too many files")
        path = self._path(*key)
        self._facts.pop(key, None)
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            fd = files.open_file(str(path), flags, files.PRIVATE)
        except FileNotFoundError:
            files.makedirs(path.parent, files.PRIVATE_DIRECTORY, exist_ok=True)
            fd = files.open_file(str(path), flags, files.PRIVATE)
        self._open = _Open(key, fd, 0, hashlib.sha1(usedforsecurity=False))

    def _path(self, unique_id: str, name: str) -> Path:
        if not unique_id:
            if name not in _OWN:
                raise BadTransfer("a file that no transfer has")
            return self._own / name
        try:
            place = self.place(unique_id)
        except InvalidMailboxName as error:
            raise BadTransfer("a mailbox without a unique id") from error
        if is_message(name) or _IN_QUARANTINE.match(name):
            return place.data / name
        if name in _META:
            return place.meta / name
        raise BadTransfer("a file that no mailbox has")

    def note(self, unique_id: str, name: str, facts: FileFacts) -> None:
        """Say that a file was made here, of what came otherwise."""
        self._facts[unique_id, name] = facts

    def inventory(self, unique_ids: Iterable[str]) -> Inventory:
        """What some mailboxes have, of all that came or was made here."""
        listed: dict[str, dict[str, FileFacts]] = {unique_id: {} for unique_id in unique_ids}
        for (unique_id, name), facts in self._facts.items():
            if unique_id in listed:
                listed[unique_id][name] = facts
        return Inventory(listed)

    @property
    def loose(self) -> Path:
        """Where messages are that have no mailbox yet."""
        return self._partitions.data(self._partition, incoming_location(self._transfer_id)) / _LOOSE

    def end(self) -> None:
        """Take nothing any more."""
        with self._writing:
            self._is_over = True
            self.close()
            # One by one: of a hundred thousand at once other threads would feel it.
            while self._facts:
                self._facts.popitem()

    def close(self) -> None:
        """Give up a file that did not come to its end."""
        at, self._open = self._open, None
        if at is not None:
            files.close(at.fd)

    # --- comparing ------------------------------------------------------

    def sync(self) -> None:
        """
        Make what came durable.

        @raise StoreUnavailable: It cannot be made so.
        """
        try:
            self._sync()
        except OSError as error:
            raise store_error(error, "mailboxes cannot come in") from error

    def _sync(self) -> None:
        for root in self._partitions.roots(self._partition):
            moves.sync_file_system(str(root))

    def check(self) -> tuple[bytes, bytes]:
        """
        Compare what came with what the other server says, and make it durable.

        @return: The manifest, and the SHA-1 of the inventory.
        @raise Mismatch: Something is missing, or is not what it should be.
        @raise BadTransfer: Manifest or inventory are none.
        @raise StoreUnavailable: It cannot be read, or made durable.
        """
        self.close()
        try:
            for name in _OWN:
                if ("", name) not in self._facts:
                    raise Mismatch(f"no {name}")
            octets = (self._own / MANIFEST).read_bytes()
            manifest = Manifest.decode(octets)
            listed = (self._own / INVENTORY).read_bytes()
            self._compare(manifest, Inventory.decode(listed))
            for mailbox in manifest.mailboxes:
                self._read(mailbox.unique_id, mailbox.uidvalidity)
            self._sync()
        except OSError as error:
            raise store_error(error, "mailboxes cannot come in") from error
        return octets, hashlib.sha1(listed, usedforsecurity=False).digest()

    def whole(self) -> bytes:
        """
        Look whether all is here that an inventory has; all of it is read.

        @return: The manifest.
        @raise Mismatch: Something is missing, or is not what it should be.
        @raise BadTransfer: Manifest or inventory are none.
        @raise OSError: It cannot be read.
        """
        octets = (self._own / MANIFEST).read_bytes()
        manifest = Manifest.decode(octets)
        inventory = Inventory.decode((self._own / INVENTORY).read_bytes())
        for mailbox in manifest.mailboxes:
            listed = inventory.files.get(mailbox.unique_id, {})
            for name, facts in listed.items():
                # Journals go on here.
                if is_message(name) and _facts_of(self._path(mailbox.unique_id, name)) != facts:
                    raise Mismatch(f"{name} of {mailbox.unique_id} is not what was sent")
                self._facts[mailbox.unique_id, name] = facts
            self._read(mailbox.unique_id, mailbox.uidvalidity)
        return octets

    def _compare(self, manifest: Manifest, inventory: Inventory) -> None:
        unique_ids = [mailbox.unique_id for mailbox in manifest.mailboxes]
        if sorted(unique_ids) != sorted(inventory.files) or len(set(unique_ids)) < len(unique_ids):
            raise Mismatch("other mailboxes than the inventory has")
        wanted = {
            (unique_id, name): facts for unique_id, listed in inventory.files.items() for name, facts in listed.items()
        }
        for key, facts in wanted.items():
            if self._facts.get(key) != facts:
                raise Mismatch(f"{key[1]} of {key[0]} is not what was sent")
        for key in self._facts.keys() - wanted.keys():
            if key[0]:
                # It was expunged while the others came.
                del self._facts[key]
                with contextlib.suppress(FileNotFoundError):
                    files.unlink(str(self._path(*key)))

    def _read(self, unique_id: str, uidvalidity: int) -> None:
        place = self.place(unique_id)
        for directory in (place.data, place.meta):
            # One without messages has no file in the one.
            files.makedirs(directory, files.PRIVATE_DIRECTORY, exist_ok=True)
        try:
            loaded = load(place)
        except MailStoreError as error:
            raise Mismatch(f"{unique_id} cannot be read: {error}") from error
        try:
            if (loaded.header.unique_id, loaded.header.uidvalidity) != (unique_id, uidvalidity):
                raise Mismatch(f"{unique_id} is another mailbox")
            if loaded.offset != loaded.size:
                raise Mismatch(f"{unique_id} has octets that are no record")
            columns = loaded.contents.columns
            rows = zip(columns.uids[: columns.count].tolist(), columns.guids[: columns.count].tolist(), strict=True)
            for uid, guid in rows:
                facts = self._facts.get((unique_id, f"{uid}."))
                if facts is None or facts.digest != bytes(guid).hex():
                    raise MailboxCorrupted(f"message {uid} of {unique_id} is not what its record says")
            self._settle(loaded)
        except MailboxCorrupted as error:
            raise Mismatch(str(error)) from error
        finally:
            files.close(loaded.fd)

    def _settle(self, loaded: Loaded) -> None:
        """
        Have the journal know that this machine has all of it, durably.

        Else the numbers that the other machine had set aside would count as used.
        """
        contents = loaded.contents
        limits = (
            max(contents.reserved[0], contents.uidnext + 1),
            max(contents.reserved[1], contents.highest_modseq + MODSEQS_PER_UID),
        )
        record = journal.reserve_record(*limits, files.boot_id(), microseconds(), confirmed=True)
        files.write_all(loaded.fd, record, loaded.size)


def _facts_of(path: Path) -> FileFacts:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.sha1(usedforsecurity=False))
        return FileFacts(file.tell(), digest.hexdigest())


def remove(partitions: Partitions, partition: str, transfer_id: str) -> None:
    """
    Remove what came with a transfer, as far as it has no place yet; links are not followed.

    @raise StoreUnavailable: Something is left.
    """
    try:
        for root in partitions.roots(partition):
            place = paths.resolve(root, incoming_location(transfer_id))
            for directory, _, names in os.walk(place, topdown=False):
                for name in names:
                    files.unlink(f"{directory}/{name}")
                files.rmdir(directory)
    except OSError as error:
        raise store_error(error, "what came in cannot be removed") from error


def present(partitions: Partitions, partition: str) -> list[str]:
    """Ids of the transfers that left something in a partition, or whose mailboxes have no place yet."""
    found: set[str] = set()
    for root in partitions.roots(partition):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found.update(files.listdir(root.joinpath(*paths.INCOMING)))
    return sorted(found)
