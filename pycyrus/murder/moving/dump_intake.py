"""
A mailbox that comes by UNDUMP: how servers of Cyrus's move mailboxes where they know of no replication.

They make the mailbox first (LOCALCREATE), and give it its rights at the end (SETACL).
What comes in between is made a mailbox that takes the place of that empty one, in one step.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from twisted.logger import Logger
from zope.interface import implementer

from pycyrus.errors import InvalidMailboxName, MailboxExists, MailboxNotFound, TransferFailed
from pycyrus.interfaces import IDumpIntake, ISyncFile
from pycyrus.model.internal_names import internal
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.model.quota import RESOURCES
from pycyrus.model.transfers import Manifest, MovedMailbox, MovedRoot, Note
from pycyrus.murder.moving.cyrus_index import imported, parse_header, parse_index
from pycyrus.murder.moving.imported_transfer import keep, make_files
from pycyrus.murder.moving.sync_records import name_of
from pycyrus.store import files
from pycyrus.store.files import store_error
from pycyrus.store.imported import ImportedMailbox
from pycyrus.store.incoming import Arrivals, IncomingTransfer
from pycyrus.store.outgoing import Departures
from pycyrus.store.outgoing_records import read_records
from pycyrus.store.rows import Entry
from pycyrus.store.threads import StoreReactor, in_thread

DUMP_PREFIX = "dump-"
"""How the ids of these transfers begin: nobody asks for them again."""
_HEADER, _INDEX, _EXPUNGE, _SUBSCRIPTIONS = "cyrus.header", "cyrus.index", "cyrus.expunge", "SUBS"
_LARGEST = {_HEADER: 1 << 20, _INDEX: 1 << 30, _EXPUNGE: 1 << 30, _SUBSCRIPTIONS: 16 << 20}
_MESSAGE = re.compile(r"[1-9][0-9]{0,9}\.")
_MOST_FILES = 5_000_000
_MOST_NOTES = 10_000
_NOTE, _LIMITS = "A-", "X-QUOTA"
_SPECIAL_USE = "/specialuse"
_SIEVE = "SIEVE"
_SUBSCRIPTION_KEY = re.compile(rb"N?([^\t]+)\t")
_BINARY_DATABASE = b"\xa1\x02\x8b\x0d"


def _ignore(digest: bytes) -> None:
    """Of a file for which there is no use."""


@implementer(ISyncFile)
class DumpFile:
    """
    A file that comes.

    @param path: None if there is no use for it.
    @param done: Given the SHA-1 of what came.
    """

    def __init__(self, path: str | None, done: Callable[[bytes], None]) -> None:
        """
        @raise TransferFailed: It is there already.
        @raise StoreUnavailable: It cannot be written.
        """
        self._done = done
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._fd = -1 if path is None else files.open_file(path, flags, files.PRIVATE)
        except FileExistsError:
            raise TransferFailed("a file that comes twice") from None
        except OSError as error:
            raise store_error(error, "a file cannot come in") from error
        self._sha1 = hashlib.sha1(usedforsecurity=False)
        self._size = 0

    def write(self, data: bytes) -> None:
        """See L{ISyncFile.write}."""
        if self._fd < 0:
            return
        try:
            files.write_all(self._fd, data, self._size)
        except OSError as error:
            raise store_error(error, "a file cannot come in") from error
        self._sha1.update(data)
        self._size += len(data)

    def finish(self) -> None:
        """See L{ISyncFile.finish}."""
        if self._fd >= 0:
            self.close()
            self._done(self._sha1.digest())

    def close(self) -> None:
        """Give it up."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            files.close(fd)


@implementer(IDumpIntake)
class DumpIntake:
    """One mailbox."""

    log = Logger()

    def __init__(
        self, entry: Entry, transfer: IncomingTransfer, arrivals: Arrivals, reactor: StoreReactor, deleted_prefix: str
    ) -> None:
        self._entry = entry
        self._transfer = transfer
        self._arrivals = arrivals
        self._reactor = reactor
        self._deleted_prefix = deleted_prefix
        self._digests: dict[str, bytes] = {}
        self._file: DumpFile | None = None
        self._notes: list[Note] = []
        self._limits: dict[str, int] = {}
        self._is_left = False

    @classmethod
    async def begin(
        cls,
        name: MailboxName,
        departures: Departures,
        arrivals: Arrivals,
        reactor: StoreReactor,
        deleted_prefix: str,
    ) -> DumpIntake:
        """See L{pycyrus.interfaces.ITransfers.undump}."""
        entry = departures.entry(name)
        if entry is None:
            raise MailboxNotFound(internal(name, deleted_prefix))
        records = await in_thread(reactor, read_records, departures.files(entry).paths)
        if records.messages or entry.mailbox_type:
            raise MailboxExists("it has messages already")
        for other in arrivals.prepared(name):
            if other.startswith(DUMP_PREFIX):
                await arrivals.give_up(other)
        transfer_id = DUMP_PREFIX + secrets.token_hex(16)
        transfer = await arrivals.begin(transfer_id, name, entry.partition, replaces=True)
        return cls(entry, transfer, arrivals, reactor, deleted_prefix)

    async def file(self, name: str, size: int) -> ISyncFile:
        """See L{IDumpIntake.file}."""
        if len(self._digests) >= _MOST_FILES or size > _LARGEST.get(name, size):
            raise TransferFailed(f"{name} is too much")
        if name.startswith(_SIEVE):
            self.log.warn("a Sieve script of {mailbox} did not come along", mailbox=internal(self._entry.name))
        if name not in _LARGEST and not _MESSAGE.fullmatch(name):
            return DumpFile(None, _ignore)
        try:
            files.makedirs(self._transfer.files.loose, files.PRIVATE_DIRECTORY, exist_ok=True)
        except OSError as error:
            raise store_error(error, "a file cannot come in") from error
        self._close()
        self._file = DumpFile(self._path(name), lambda digest: self._digests.update({name: digest}))
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _path(self, name: str) -> str:
        return str(self._transfer.files.loose / name)

    def fields(self, name: str, values: list[bytes]) -> None:
        """See L{IDumpIntake.fields}."""
        if name == _LIMITS:
            for resource, value in zip(values[::2], values[1::2], strict=False):
                word = resource.decode("ascii", "replace").upper()
                if word in RESOURCES and value.isdigit() and len(value) < 19:
                    self._limits[word] = int(value)
        elif name.startswith(_NOTE):
            user, slash, entry = name.removeprefix(_NOTE).partition("/")
            if not slash or len(values) < 2 or len(self._notes) >= _MOST_NOTES:
                raise TransferFailed("an annotation that is none")
            self._notes.append(Note(user, slash + entry, values[1]))

    async def finish(self) -> None:
        """See L{IDumpIntake.finish}."""
        found = await in_thread(self._reactor, self._read)
        uses = [note.value.decode("ascii", "replace") for note in self._notes if note.entry == _SPECIAL_USE]
        name = self._entry.name
        mailbox = MovedMailbox(
            found.unique_id,
            name,
            found.uidvalidity,
            self._entry.acl,
            tuple(dict.fromkeys(use for each in uses for use in each.split())),
            int(time.time()),
            tuple(note for note in self._notes if note.entry != _SPECIAL_USE),
        )
        subscriptions = await in_thread(self._reactor, self._subscriptions)
        quotas = (MovedRoot(name, tuple(self._limits.items())),) if self._limits else ()
        manifest = Manifest(name, (mailbox,), tuple(subscriptions), quotas)
        await keep(self._arrivals, self._transfer, manifest, lambda: self._make(found), self._reactor)
        await self.leave()
        await self._arrivals.activate(self._transfer.transfer_id, instead_of=self._entry.unique_id)
        await self._arrivals.forget(self._transfer.transfer_id)
        self.log.info("{mailbox} came in a dump", mailbox=internal(name, self._deleted_prefix))

    def _read(self) -> ImportedMailbox:
        """What the index says; waits for the disk."""
        if _HEADER not in self._digests or _INDEX not in self._digests:
            raise TransferFailed("a dump without cyrus.header or cyrus.index")
        header, index = parse_header(self._octets(_HEADER)), parse_index(self._octets(_INDEX))
        expunged = parse_index(self._octets(_EXPUNGE)) if _EXPUNGE in self._digests else None
        guids = {int(name[:-1]): digest for name, digest in self._digests.items() if _MESSAGE.fullmatch(name)}
        found = imported(header, index, expunged, guids)
        for message in found.messages:
            if message.guid != guids.get(message.uid, message.guid):
                raise TransferFailed(f"message {message.uid} is not what its record says")
        # What the index has of a message that did not come is not there, unless it was expunged.
        return replace(found, messages=[each for each in found.messages if each.expunged is None or any(each.guid)])

    def _octets(self, name: str) -> bytes:
        try:
            return Path(self._path(name)).read_bytes()
        except OSError as error:
            raise store_error(error, "a file cannot be read") from error

    def _subscriptions(self) -> list[MailboxName]:
        """Those of the user, if they came with the INBOX; waits for the disk."""
        if _SUBSCRIPTIONS not in self._digests:
            return []
        octets = self._octets(_SUBSCRIPTIONS)
        if octets.startswith(_BINARY_DATABASE):
            self.log.warn("subscriptions of {mailbox} did not come along", mailbox=internal(self._entry.name))
            return []
        names = []
        for line in octets.split(b"\n"):
            found = _SUBSCRIPTION_KEY.match(line)
            if found is not None and not line.startswith(b"\x1f"):
                with suppress(InvalidMailboxName):
                    names.append(self._subscribed(line.startswith(b"N"), found[1]))
        return names

    def _subscribed(self, is_new: bool, key: bytes) -> MailboxName:
        if not is_new:
            return name_of(key, self._deleted_prefix)
        domain, mark, rest = key.rpartition(b"\x1d")
        parts = [part.replace(b".", b"^") for part in rest.split(b"\x1f")]
        if parts[0] == b"INBOX":
            inbox = replace(self._entry.name, path=())
            parts = [internal(inbox, self._deleted_prefix).encode("utf-8"), *parts[1:]]
            return name_of(b".".join(parts), self._deleted_prefix)
        return name_of((domain + b"!" if mark else b"") + b".".join(parts), self._deleted_prefix)

    def _make(self, found: ImportedMailbox) -> None:
        paths = {digest: self._path(name) for name, digest in self._digests.items() if _MESSAGE.fullmatch(name)}
        make_files(self._transfer, [found], paths.get)

    async def leave(self) -> None:
        """See L{IDumpIntake.leave}."""
        if self._is_left:
            return
        self._is_left = True
        self._close()
        await self._arrivals.leave(self._transfer)
