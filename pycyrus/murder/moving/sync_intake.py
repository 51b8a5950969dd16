"""
What a server of Cyrus's says over one connection, when it moves mailboxes here (its XFER, by X-REPLICATION).

Cyrus asks what is here, sends what is lacking, and asks again.  What it sent it is told
back; when it asks, all of it is made durable, as mailboxes that nobody sees.  With
C{MUPDATEPUSH} they are this server's.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.logger import Logger
from zope.interface import implementer

from pycyrus.errors import (
    InvalidMailboxName,
    MailboxNotFound,
    MailStoreError,
    OperationNotSupported,
    StoreUnavailable,
    TransferFailed,
    UnknownPartition,
)
from pycyrus.interfaces import IMailboxPublisher, ISyncFile, ISyncIntake
from pycyrus.model.internal_names import internal
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.model.names import user_inbox
from pycyrus.model.transfers import Manifest
from pycyrus.murder.moving.abandoned import abandon
from pycyrus.murder.moving.imported_transfer import keep, make_files
from pycyrus.murder.moving.sync_records import (
    Table,
    imported_mailbox,
    moved_mailbox,
    moved_root,
    name_of,
    number,
    octets,
    tables,
    text,
)
from pycyrus.store import files
from pycyrus.store.files import store_error
from pycyrus.store.incoming import Arrivals, IncomingTransfer
from pycyrus.store.shield import shielded
from pycyrus.store.threads import StoreReactor, in_thread

Answer = list[tuple[str, Any]]
SYNC_PREFIX = "sync-"
"""How the ids of these transfers begin: nobody asks for them again."""
KNOWN_PREFIX = "sync-known-"
"""Likewise, of what the Murder's master had on the other server."""


class Held:
    """
    What came of one user, or of one mailbox.

    @ivar mailboxes: By unique id, without their records.
    @ivar records: By unique id, then by UID.
    @ivar is_changed: Since it was made durable.
    """

    def __init__(self, root: MailboxName) -> None:
        self.root = root
        self.transfer: IncomingTransfer | None = None
        self.mailboxes: dict[str, dict[str, Any]] = {}
        self.records: dict[str, dict[int, Table]] = {}
        self.quotas: dict[bytes, Table] = {}
        self.subscriptions: dict[bytes, None] = {}
        self.seen: dict[bytes, Table] = {}
        self.is_changed = False

    def find(self, name: bytes) -> dict[str, Any] | None:
        """A mailbox by its internal name."""
        return next((each for each in self.mailboxes.values() if each["MBOXNAME"] == name), None)


@implementer(ISyncFile)
class SyncFile:
    """A message that comes."""

    def __init__(self, path: str, guid: str) -> None:
        """@raise OSError: It cannot be written."""
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        self._path = path
        self._guid = guid
        self._fd = files.open_file(f"{path}~", flags, files.PRIVATE)
        self._digest = hashlib.sha1(usedforsecurity=False)
        self._size = 0

    def write(self, data: bytes) -> None:
        """See L{ISyncFile.write}."""
        try:
            files.write_all(self._fd, data, self._size)
        except OSError as error:
            raise store_error(error, "a message cannot come in") from error
        self._digest.update(data)
        self._size += len(data)

    def finish(self) -> None:
        """See L{ISyncFile.finish}."""
        files.close(self._fd)
        if self._digest.hexdigest() != self._guid:
            raise TransferFailed(f"message {self._guid} is another one")
        try:
            files.rename(f"{self._path}~", self._path)
        except OSError as error:
            raise store_error(error, "a message cannot come in") from error


@implementer(ISyncIntake)
class SyncIntake:
    """
    One connection.

    @param publisher: None where there is no Murder.
    @param is_here: Whether a mailbox of that name is this server's.
    """

    log = Logger()

    def __init__(
        self,
        arrivals: Arrivals,
        publisher: IMailboxPublisher | None,
        is_here: Callable[[MailboxName], bool],
        reactor: StoreReactor,
        *,
        default_domain: str = "",
        deleted_prefix: str = "DELETED",
    ) -> None:
        self._arrivals = arrivals
        self._publisher = publisher
        self._is_here = is_here
        self._reactor = reactor
        self._default_domain = default_domain
        self._deleted_prefix = deleted_prefix
        self._held: Held | None = None

    # --- what comes -----------------------------------------------------

    async def file(self, guid: str, size: int) -> ISyncFile:
        """See L{ISyncIntake.file}."""
        held = await self._begun(None)
        assert held.transfer is not None
        loose = held.transfer.files.loose
        try:
            files.makedirs(loose, files.PRIVATE_DIRECTORY, exist_ok=True)
            return SyncFile(f"{loose}/{guid}", guid)
        except OSError as error:
            raise store_error(error, "a message cannot come in") from error

    async def _begun(self, partition: str | None) -> Held:
        """Have a place for what comes."""
        held = self._held
        if held is None:
            raise TransferFailed("nobody said what is to come")
        if held.transfer is None:
            transfer_id = (KNOWN_PREFIX if await self._is_known(held.root) else SYNC_PREFIX) + secrets.token_hex(16)
            try:
                held.transfer = await self._arrivals.begin(transfer_id, held.root, partition)
            except UnknownPartition:
                held.transfer = await self._arrivals.begin(transfer_id, held.root, None)
        return held

    async def _is_known(self, root: MailboxName) -> bool:
        try:
            return self._publisher is not None and not await self._publisher.are_nowhere([root])
        except StoreUnavailable:
            return False

    async def _take(self, steps: dict[str, _Step], kind: str, value: Any) -> Answer:
        step = steps.get(kind)
        if step is None:
            raise OperationNotSupported(kind)
        try:
            return await step(self, value)
        except (ValueError, TypeError, AttributeError) as error:
            raise TransferFailed(f"{kind} is not understood") from error

    async def apply(self, kind: str, value: Any) -> Answer:
        """See L{ISyncIntake.apply}."""
        return await self._take(_APPLY, kind, value)

    async def _capabilities(self, value: Any) -> Answer:
        # Sieve scripts come as messages of a mailbox.
        return [("ENABLED", [each for each in value if each == b"SIEVE-MAILBOX"])]

    async def _reserve(self, value: Any) -> Answer:
        held = await self._begun(None)
        assert held.transfer is not None
        loose = held.transfer.files.loose
        missing = [guid for guid in value["GUID"] if not _path(loose, guid).exists()]
        return [("MISSING", missing)] if missing else []

    async def _message(self, value: Any) -> Answer:
        # The files were taken as they came.
        return []

    async def _mailbox(self, value: Any) -> Answer:
        unique_id = text(value, "UNIQUEID")
        name = name_of(octets(value, "MBOXNAME"), self._deleted_prefix)
        held = await self._begun(text(value, "PARTITION", b"") or None)
        if (name.domain, name.owner) != (held.root.domain, held.root.owner):
            raise InvalidMailboxName("a mailbox of somebody else")
        assert held.transfer is not None
        held.transfer.files.place(unique_id)
        known = held.records.setdefault(unique_id, {})
        known |= await in_thread(self._reactor, _by_uid, value)
        told = {key: each for key, each in value.items() if key != "RECORD" and not key.startswith("SINCE_")}
        held.mailboxes[unique_id] = told
        held.is_changed = True
        return []

    async def _expunge(self, value: Any) -> Answer:
        held = await self._begun(None)
        mailbox = held.find(octets(value, "MBOXNAME"))
        if mailbox is None:
            raise MailboxNotFound("no such mailbox")
        records = held.records[text(mailbox, "UNIQUEID")]
        for uid in value["UID"]:
            record = dict(records[int(uid)])
            record["FLAGS"] = [*(record.get("FLAGS") or []), b"\\Expunged"]
            records[int(uid)] = record
        held.is_changed = True
        return []

    async def _unmailbox(self, value: Any) -> Answer:
        held = await self._begun(None)
        mailbox = held.find(value)
        if mailbox is not None:
            unique_id = text(mailbox, "UNIQUEID")
            del held.mailboxes[unique_id], held.records[unique_id]
            held.is_changed = True
        return []

    async def _annotation(self, value: Any) -> Answer:
        """One value more, or, without a value, one less."""
        held = await self._begun(None)
        mailbox = held.find(octets(value, "MBOXNAME", b""))
        if mailbox is None:
            # The server's own do not move.
            return []
        key = value["ENTRY"], value.get("USERID")
        known = tables(mailbox.get("ANNOTATIONS"))
        others = [each for each in known if (each.get("ENTRY"), each.get("USERID")) != key]
        if value.get("VALUE") is not None:
            others.append({"ENTRY": key[0], "USERID": key[1], "MODSEQ": b"0", "VALUE": value["VALUE"]})
        mailbox["ANNOTATIONS"] = others
        held.is_changed = True
        return []

    async def _quota(self, value: Any) -> Answer:
        held = await self._begun(None)
        held.quotas[octets(value, "ROOT")] = value
        held.is_changed = True
        return []

    async def _unquota(self, value: Any) -> Answer:
        held = await self._begun(None)
        held.quotas.pop(value, None)
        return []

    async def _sub(self, value: Any) -> Answer:
        held = await self._begun(None)
        held.subscriptions[octets(value, "MBOXNAME")] = None
        held.is_changed = True
        return []

    async def _unsub(self, value: Any) -> Answer:
        held = await self._begun(None)
        held.subscriptions.pop(octets(value, "MBOXNAME"), None)
        return []

    async def _seen(self, value: Any) -> Answer:
        # Of mailboxes that are elsewhere: the user's own have it in their flags.
        held = await self._begun(None)
        held.seen[octets(value, "UNIQUEID")] = value
        return []

    # --- what is told ---------------------------------------------------

    async def get(self, kind: str, value: Any) -> Answer:
        """See L{ISyncIntake.get}."""
        return await self._take(_GET, kind, value)

    async def _get_user(self, value: Any) -> Answer:
        local, _, domain = value.decode("utf-8").partition("@")
        held = await self._hold(user_inbox(local, "" if domain == self._default_domain else domain))
        answer: Answer = [("MAILBOX", each) for each in held.mailboxes.values()]
        answer += [("QUOTA", each) for each in held.quotas.values()]
        answer += [("SEEN", each) for each in held.seen.values()]
        return [*answer, ("LSUB", list(held.subscriptions))] if held.subscriptions else answer

    async def _get_meta(self, value: Any) -> Answer:
        return [each for each in await self._get_user(value) if each[0] in ("SEEN", "LSUB")]

    async def _get_mailboxes(self, value: Any) -> Answer:
        names = [value] if isinstance(value, bytes) else list(value)
        held = self._held
        if held is None or not any(held.find(name) for name in names):
            held = await self._hold(name_of(names[0], self._deleted_prefix))
        else:
            await self._settle(held)
        return [("MAILBOX", each) for each in map(held.find, names) if each is not None]

    async def _get_fullmailbox(self, value: Any) -> Answer:
        mailbox = None if self._held is None else self._held.find(value)
        if mailbox is None or self._held is None:
            raise MailboxNotFound("no such mailbox")
        records = self._held.records[text(mailbox, "UNIQUEID")]
        return [("MAILBOX", {**mailbox, "RECORD": list(records.values())})]

    async def _get_quota(self, value: Any) -> Answer:
        found = None if self._held is None else self._held.quotas.get(value)
        return [] if found is None else [("QUOTA", found)]

    async def _get_nothing(self, value: Any) -> Answer:
        # Annotations come with their mailboxes.
        return []

    async def _hold(self, root: MailboxName) -> Held:
        """Go on with a user or a mailbox, or begin with another."""
        if self._held is None or self._held.root != root:
            await self._drop()
            self._held = Held(root)
        await self._settle(self._held)
        return self._held

    # --- what becomes of it ---------------------------------------------

    async def _settle(self, held: Held) -> None:
        """Make all that came durable: when the other server hears that it is here it may remove what it has."""
        transfer = held.transfer
        if transfer is None or not held.is_changed:
            return
        manifest = await in_thread(self._reactor, self._manifest, held)
        await keep(self._arrivals, transfer, manifest, lambda: self._build(held, transfer), self._reactor)
        held.is_changed = False
        for other in self._before(held, transfer):
            await self._arrivals.give_up(other)

    def _before(self, held: Held, transfer: IncomingTransfer, *, is_more: bool = False) -> list[str]:
        """
        What came in attempts before.

        @param is_more: Only with a mailbox that did not come again, as Cyrus may have died while it removed them;
            else only without.
        @return: Ids of transfers.
        """
        return [
            other
            for other, manifest in self._arrivals.prepared(held.root).items()
            if other.startswith(SYNC_PREFIX) and other != transfer.transfer_id
            if is_more is not all(each.unique_id in held.mailboxes for each in manifest.mailboxes)
        ]

    def _manifest(self, held: Held) -> Manifest:
        return Manifest(
            held.root,
            tuple(
                sorted(
                    (moved_mailbox(each, self._deleted_prefix) for each in held.mailboxes.values()),
                    key=lambda mailbox: mailbox.name,
                )
            ),
            tuple(self._names(held.subscriptions)),
            tuple(moved_root(each, self._deleted_prefix) for each in held.quotas.values()),
        )

    def _names(self, subscriptions: dict[bytes, None]) -> Iterator[MailboxName]:
        for each in subscriptions:
            with suppress(InvalidMailboxName):
                yield name_of(each, self._deleted_prefix)

    def _build(self, held: Held, transfer: IncomingTransfer) -> None:
        loose = transfer.files.loose

        def find(guid: bytes) -> str | None:
            path = _path(loose, guid.hex().encode("ascii"))
            return str(path) if path.exists() else None

        owner = str(held.root.owner_id or "")
        mailboxes = [
            imported_mailbox(mailbox, held.records[unique_id], owner) for unique_id, mailbox in held.mailboxes.items()
        ]
        make_files(transfer, mailboxes, find)

    async def push(self, name: MailboxName) -> None:
        """See L{ISyncIntake.push}."""
        held = self._held
        if held is not None and held.transfer is not None and not self._is_here(name):
            names = [name_of(each["MBOXNAME"], self._deleted_prefix) for each in held.mailboxes.values()]
            if name in names:
                # The same connection may be used again, when the user has long gone elsewhere.
                self._held = None
                # Cyrus has removed what it had: nobody else has it, whatever becomes of the connection.
                await shielded(self._activate(held, held.transfer, name))
                return
        if not self._is_here(name):
            raise MailboxNotFound("no such mailbox")
        if self._publisher is not None:
            await self._publisher.push([name])

    async def _activate(self, held: Held, transfer: IncomingTransfer, name: MailboxName) -> None:
        try:
            await self._settle(held)
        finally:
            await self._arrivals.leave(transfer)
        try:
            await self._arrivals.activate(transfer.transfer_id)
        except MailStoreError:
            # Cyrus takes no notice, and removes what it has.
            self.log.error(
                "{mailbox} came here, and is not listed: pycyrus xfer accept {transfer}",
                mailbox=internal(held.root, self._deleted_prefix),
                transfer=transfer.transfer_id,
            )
            raise
        await self._arrivals.forget(transfer.transfer_id)
        self.log.info("{mailbox} was moved here", mailbox=internal(held.root, self._deleted_prefix))
        for other in self._before(held, transfer, is_more=True):
            self.log.error(
                "{mailbox} came before with more mailboxes, which are kept: pycyrus xfer status tells of {transfer}",
                mailbox=internal(held.root, self._deleted_prefix),
                transfer=other,
            )
        if self._publisher is not None:
            await self._publisher.push([name])

    async def _drop(self) -> None:
        held, self._held = self._held, None
        if held is not None and held.transfer is not None:
            await self._arrivals.leave(held.transfer)

    def leave(self) -> None:
        """See L{ISyncIntake.leave}."""
        if self._held is not None:
            abandon(self._drop(), self.log)


def _by_uid(mailbox: Table) -> dict[int, Table]:
    """A mailbox's records."""
    return {number(record, "UID"): record for record in tables(mailbox.get("RECORD"))}


def _path(loose: Path, guid: bytes) -> Path:
    found = guid.decode("ascii")
    if len(found) != 40 or not found.isalnum():
        raise TransferFailed("a GUID that is none")
    return loose / found.lower()


_Step = Callable[[SyncIntake, Any], Awaitable[Answer]]
_APPLY: dict[str, _Step] = {
    "CAPABILITIES": SyncIntake._capabilities,
    "RESERVE": SyncIntake._reserve,
    "MESSAGE": SyncIntake._message,
    "MAILBOX": SyncIntake._mailbox,
    "LOCAL_MAILBOX": SyncIntake._mailbox,
    "EXPUNGE": SyncIntake._expunge,
    "UNMAILBOX": SyncIntake._unmailbox,
    "LOCAL_UNMAILBOX": SyncIntake._unmailbox,
    "QUOTA": SyncIntake._quota,
    "ANNOTATION": SyncIntake._annotation,
    "UNANNOTATION": SyncIntake._annotation,
    "UNQUOTA": SyncIntake._unquota,
    "SUB": SyncIntake._sub,
    "UNSUB": SyncIntake._unsub,
    "SEEN": SyncIntake._seen,
}
_GET: dict[str, _Step] = {
    "USER": SyncIntake._get_user,
    "META": SyncIntake._get_meta,
    "MAILBOXES": SyncIntake._get_mailboxes,
    "FULLMAILBOX": SyncIntake._get_fullmailbox,
    "QUOTA": SyncIntake._get_quota,
    "ANNOTATION": SyncIntake._get_nothing,
}
