"""
A server of Cyrus's, while mailboxes go there: SYNCAPPLY and SYNCGET over IMAP (X-REPLICATION).

Messages go first, by their digests; then each mailbox with all its records.  What is
there afterwards is asked, and compared.  With MUPDATEPUSH the other server tells the
Murder's master that it has them.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pycyrus.errors import MailboxCorrupted, MailboxNotFound, StoreUnavailable, TransferFailed
from pycyrus.imap.wire.dlist import File, Reader, Value, Word, announced, encode
from pycyrus.imap.wire.grammar import BadSyntax
from pycyrus.model.acl_text import tell_rights
from pycyrus.model.internal_names import DELETED_PREFIX, internal
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.model.quota import RESOURCES, Resource
from pycyrus.model.transfers import Manifest, MovedMailbox
from pycyrus.murder.batches import batches
from pycyrus.murder.moving.sync_records import name_of, options
from pycyrus.murder.moving.transfer_link import STEP_WITHIN, always, demand
from pycyrus.murder.servers.imap_link import ImapLink
from pycyrus.store import files
from pycyrus.store.outgoing_files import FilesOfMailbox
from pycyrus.store.outgoing_records import OutgoingMessage, OutgoingRecords, read_records
from pycyrus.store.own_annotations import OWNER
from pycyrus.store.threads import in_thread

_BATCH = 1 << 20
"""Octets of messages that go with one command, if not one is larger."""
_MOST = 200
_PIECE = 65_536
"""Octets of a mailbox's records that are sent at once."""
_ANNOTATIONS_FROM = 12_345_678
"""What the check number of annotations begins with."""
_SAVEDATE = b"/vendor/cmu/cyrus-imapd/savedate"
_SIEVE, _SIEVE_TYPE = ("#sieve",), b"f"
"""Where Cyrus has a user's Sieve scripts, and what it calls a mailbox of that kind."""
_RESOURCES = {Resource.ANNOTATION_STORAGE: "X-ANNOTATION-STORAGE", Resource.MAILBOX: "X-NUM-FOLDERS"}
"""What Cyrus calls them."""


class SyncLink:
    """
    A connection to a server of Cyrus's, for one transfer; its methods are those of L{TransferLink}.

    @ivar octets: Of messages, sent so far.
    @ivar may_go_on: As there.
    """

    sends_deleted = False
    keeps_record = False

    def __init__(
        self, link: ImapLink, root: MailboxName, partition: str, reactor: Any, external: Callable[[MailboxName], bytes]
    ) -> None:
        """
        @param partition: There; empty for C{default}.
        @param external: How that server's administrators call a mailbox.
        """
        self.octets = 0
        self.may_go_on: Callable[[], bool] = always
        self._link = link
        self._root = root
        self._partition = (partition or "default").encode("ascii")
        self._reactor = reactor
        self._external = external
        self._own: Mapping[str, MailboxName] = {}
        self._sent: set[str] = set()
        self._records: dict[str, OutgoingRecords] = {}

    # --- steps ----------------------------------------------------------

    def expect(self, own: Mapping[str, MailboxName]) -> None:
        """Have mailboxes with these ids removed there, which an attempt left that broke off, and no others."""
        self._own = own

    async def begin(self, root: MailboxName, partition: str) -> None:
        """
        Make sure that nothing of it is there.

        @raise TransferFailed: It is, and is not ours.
        """
        await self._apply("CAPABILITIES", [Word(b"SIEVE-MAILBOX")])
        if not self._own.keys() >= (await self._there()).keys():
            raise TransferFailed("the other server has mailboxes of that name; remove or rename them there")
        await self._bring_back()
        await self.give_up()

    async def send_messages(self, mailboxes: Sequence[FilesOfMailbox]) -> None:
        """Send messages that were not sent yet, while the mailboxes are in use."""
        for mailbox in mailboxes:
            try:
                records = await in_thread(self._reactor, read_records, mailbox.paths)
            except MailboxNotFound:
                # It was removed or renamed meanwhile.
                continue
            await self._send(records.messages, needed=False)

    async def sync(self) -> None:
        """Cyrus makes durable what it is sent."""

    async def send_rest(self, mailboxes: Sequence[FilesOfMailbox]) -> None:
        """Send what is lacking, while nobody writes to them."""
        for mailbox in mailboxes:
            records = await in_thread(self._reactor, read_records, mailbox.paths)
            await self._send(records.messages, needed=True)
            # Of what was expunged long ago there may be no file any more.
            self._records[mailbox.unique_id] = await in_thread(self._reactor, self._known, records)

    def _known(self, records: OutgoingRecords) -> OutgoingRecords:
        return replace(records, messages=tuple(each for each in records.messages if each.guid in self._sent))

    async def prepare(self, manifest: Manifest, mailboxes: Sequence[FilesOfMailbox]) -> None:
        """
        Have the other server make the mailboxes, and compare them.

        @raise TransferFailed: It does not, or has others.
        """
        roots = [each.root for each in manifest.quotas]
        told = {}
        for mailbox in manifest.mailboxes:
            table, encoded = await in_thread(self._reactor, self._encode, mailbox, roots)
            await self._submit("LOCAL_MAILBOX", encoded)
            told[mailbox.unique_id] = table
        for root in manifest.quotas:
            limits = {_RESOURCES.get(RESOURCES[name], name): b"%d" % value for name, value in root.limits}
            first = {"LIMIT": limits["STORAGE"]} if "STORAGE" in limits else {}
            name = internal(root.root).encode("utf-8")
            await self._apply("QUOTA", {"ROOT": name, **first, **limits, "MODSEQ": b"1"})
        for subscribed in manifest.subscriptions:
            name = internal(subscribed).encode("utf-8")
            await self._apply("SUB", {"USERID": self._user, "MBOXNAME": name})
        for mailbox in manifest.mailboxes:
            for seen in mailbox.seen:
                await self._apply(
                    "SEEN",
                    {
                        "USERID": seen.user_id.encode("utf-8"),
                        "UNIQUEID": mailbox.unique_id.encode("ascii"),
                        "LASTREAD": b"0",
                        "LASTUID": b"%d" % seen.recent,
                        "LASTCHANGE": b"0",
                        "SEENUIDS": seen.uids.encode("ascii"),
                    },
                )
        self._compare(told, await self._there())

    def _compare(self, told: dict[str, dict[str, Value]], there: dict[str, dict[str, Value]]) -> None:
        for unique_id, table in told.items():
            found = there.get(unique_id)
            if found is None:
                raise TransferFailed(f"{unique_id} is not there")
            for key in ("MBOXNAME", "UIDVALIDITY", "LAST_UID", "HIGHESTMODSEQ", "SYNC_CRC", "SYNC_CRC_ANNOT"):
                if found.get(key) != table[key]:
                    raise TransferFailed(f"{key} of {unique_id} is not what was sent")

    async def activate(self, root: MailboxName, names: Sequence[MailboxName]) -> None:
        """
        Have the other server tell the master of its mailboxes.

        @raise TransferFailed: It does not.
        """
        # Those below first, as Cyrus does.
        for name in sorted(names, reverse=True):
            await self._push(name)

    async def publish(self, root: MailboxName, names: Sequence[MailboxName]) -> None:
        """The same once more."""
        await self.activate(root, names)

    async def _push(self, name: MailboxName) -> None:
        octets = self._external(name)
        await self._command(b"MUPDATEPUSH {%d+}\r\n%b" % (len(octets), octets))

    async def state(self) -> str:
        """What is there is not active before the master says so, which whoever asks finds out there."""
        return "prepared" if await self._there() else ""

    async def give_up(self) -> None:
        """Have the other server remove what it was sent; not what others have put there."""
        there = await self._there()
        if not there or not self._own.keys() >= there.keys():
            return
        if self._root.is_inbox:
            await self._apply("LOCAL_UNUSER", self._user)
        else:
            await self._apply("LOCAL_UNMAILBOX", internal(self._root).encode("utf-8"))

    async def _bring_back(self) -> None:
        """
        Give its name back to what Cyrus itself has put away of an attempt that broke off.

        It takes no second mailbox with an id, also not one whose first one was removed under another name.
        """
        ids: Value = [each.encode("ascii") for each in sorted(self._own)]
        for each in await self._mailboxes(b"UNIQUEIDS", ids):
            old, unique_id = each.get("MBOXNAME"), each.get("UNIQUEID")
            if not isinstance(old, bytes) or not isinstance(unique_id, bytes) or not _is_deleted(old):
                continue
            new = self._own[unique_id.decode("ascii", "replace")]
            if new.deleted is None:
                table: Value = {
                    "OLDMBOXNAME": old,
                    "NEWMBOXNAME": internal(new).encode("utf-8"),
                    "PARTITION": each.get("PARTITION"),
                    "UIDVALIDITY": each.get("UIDVALIDITY"),
                }
                await self._apply("LOCAL_RENAME", table)

    async def forget(self) -> None:
        """It keeps no record."""
        await self._command(b"SYNCRESTART")

    def close(self) -> None:
        """End the connection."""
        self._link.log_out()

    @property
    def _user(self) -> bytes:
        """Whose it is; empty if it is shared."""
        return str(self._root.owner_id or "").encode("utf-8")

    # --- lists ----------------------------------------------------------

    def _describe(
        self, mailbox: MovedMailbox, records: OutgoingRecords, roots: Sequence[MailboxName]
    ) -> dict[str, Value]:
        acl = "".join(f"{who}\t{tell_rights(rights)}\t" for who, rights in mailbox.acl.entries)
        letters, others = options(mailbox.notes)
        notes: list[Value] = [
            _note(note.entry.encode("utf-8"), note.user_id.encode("utf-8"), note.value) for note in others
        ]
        if mailbox.special_use:
            notes.append(_note(b"/specialuse", self._user, " ".join(mailbox.special_use).encode("ascii")))
        nearest = max(
            (root for root in roots if mailbox.name == root or mailbox.name.is_below(root)),
            key=lambda root: len(root.path),
            default=None,
        )
        live = [each for each in records.messages if each.expunged is None]
        table: dict[str, Value] = {
            "UNIQUEID": mailbox.unique_id.encode("ascii"),
            "MBOXNAME": internal(mailbox.name).encode("utf-8"),
            "SYNC_CRC": b"%d" % _check_number(live),
            "SYNC_CRC_ANNOT": b"%d" % _annotations_number(live, self._user),
            "LAST_UID": b"%d" % (records.uidnext - 1),
            "HIGHESTMODSEQ": b"%d" % records.highest_modseq,
            "RECENTUID": b"%d" % records.recent,
            "RECENTTIME": b"0",
            "LAST_APPENDDATE": b"%d" % max((each.savedate for each in live), default=0),
            "POP3_LAST_LOGIN": b"0",
            "POP3_SHOW_AFTER": b"0",
            "UIDVALIDITY": b"%d" % mailbox.uidvalidity,
            "PARTITION": self._partition,
            "ACL": acl.encode("utf-8"),
            "OPTIONS": letters.encode("ascii"),
        }
        if mailbox.name.owner is not None and mailbox.name.path == _SIEVE:
            table["MBOXTYPE"] = _SIEVE_TYPE
        if nearest is not None:
            table["QUOTAROOT"] = internal(nearest).encode("utf-8")
        table |= {"CREATEDMODSEQ": b"1", "FOLDERMODSEQ": b"%d" % records.highest_modseq}
        if notes:
            table["ANNOTATIONS"] = notes
        return table

    def _encode(self, mailbox: MovedMailbox, roots: Sequence[MailboxName]) -> tuple[dict[str, Value], bytes]:
        """A mailbox, and how it is sent with all its records; takes long if they are many."""
        records = self._records[mailbox.unique_id]
        table = self._describe(mailbox, records, roots)
        return table, encode({**table, "RECORD": [self._record(each) for each in records.messages]}, plus=True)

    def _record(self, message: OutgoingMessage) -> Value:
        flags: list[Value] = [Word(name) for name in message.flags]
        if message.expunged is not None:
            flags.append(Word(b"\\Expunged"))
        return {
            "UID": b"%d" % message.uid,
            "MODSEQ": b"%d" % message.modseq,
            "LAST_UPDATED": b"%d" % _updated(message),
            "FLAGS": flags,
            "INTERNALDATE": b"%d" % message.internaldate,
            "SIZE": b"%d" % message.size,
            "GUID": message.guid.encode("ascii"),
            "ANNOTATIONS": [_note(*each) for each in _annotations(message, self._user)],
        }

    # --- the wire -------------------------------------------------------

    async def _command(self, text: bytes) -> bytes:
        tag = self._link.next_tag()
        self._link.send(b"%b %b\r\n" % (tag, text))
        return await self._demand_ok(tag)

    async def _apply(self, kind: str, value: Value) -> None:
        await self._submit(kind, encode(value, plus=True))

    async def _submit(self, kind: str, encoded: bytes) -> None:
        link = self._link
        tag = link.next_tag()
        link.send(b"%b SYNCAPPLY %b " % (tag, kind.encode("ascii")))
        for begin in range(0, len(encoded), _PIECE):
            link.send(encoded[begin : begin + _PIECE])
            await link.drain(STEP_WITHIN)
        link.send(b"\r\n")
        await self._demand_ok(tag)

    async def _demand_ok(self, tag: bytes) -> bytes:
        untagged, status, said = await self._link.answer(tag, STEP_WITHIN)
        if status != b"OK":
            raise TransferFailed(said.decode("ascii", "replace")[:300])
        return untagged

    async def _there(self) -> dict[str, dict[str, Value]]:
        """What moves at once, as it is there: mailboxes by unique id."""
        name: Value = [internal(self._root).encode("utf-8")]
        kind, what = (b"USER", self._user) if self._root.is_inbox else (b"MAILBOXES", name)
        found = {}
        for each in await self._mailboxes(kind, what):
            unique_id, named = each.get("UNIQUEID"), each.get("MBOXNAME")
            # Of a user also what was deleted there is told.
            if isinstance(unique_id, bytes) and isinstance(named, bytes) and not _is_deleted(named):
                found[unique_id.decode("ascii", "replace")] = each
        return found

    async def _mailboxes(self, kind: bytes, what: Value) -> list[dict[str, Value]]:
        """What the other server says of some mailboxes."""
        answer = await self._command(b"SYNCGET %b %b" % (kind, encode(what, plus=True)))
        return [value for word, value in _responses(answer) if word == b"MAILBOX" and isinstance(value, dict)]

    def _waiting(self, messages: Sequence[OutgoingMessage]) -> dict[str, OutgoingMessage]:
        """Those that were not sent yet, by their digests."""
        return {each.guid: each for each in messages if each.guid not in self._sent}

    async def _send(self, messages: Sequence[OutgoingMessage], *, needed: bool) -> None:
        """
        Send messages that were not sent yet.

        @param needed: The mailbox would not be whole without those that are there.
        @raise MailboxCorrupted: One is missing, or is not what it was when it came.
        """
        waiting = await in_thread(self._reactor, self._waiting, messages)
        for batch in batches(waiting.values(), octets=_BATCH, most=_MOST):
            read = await in_thread(self._reactor, _read, batch, needed)
            if not read:
                continue
            tag = self._link.next_tag()
            begin = b"%b SYNCAPPLY MESSAGE (" % tag
            for message, octets in read:
                head = File(message.guid.encode("ascii"), len(octets))
                self._link.send(begin + encode(head, plus=True).replace(b"default", self._partition, 1) + octets)
                begin = b" "
                self._sent.add(message.guid)
                self.octets += len(octets)
                await self._link.drain(STEP_WITHIN)
            self._link.send(b")\r\n")
            await self._demand_ok(tag)
            demand(self.may_go_on)


def _is_deleted(name: bytes) -> bool:
    return name_of(name, DELETED_PREFIX).deleted is not None


def _note(entry: bytes, user: bytes, value: bytes) -> Value:
    return {"ENTRY": entry, "USERID": user, "MODSEQ": b"0", "VALUE": value}


def _read(batch: Sequence[OutgoingMessage], needed: bool) -> list[tuple[OutgoingMessage, bytes]]:
    found = []
    for message in batch:
        try:
            fd = files.open_file(message.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except (FileNotFoundError, NotADirectoryError):
            if needed and message.expunged is None:
                raise MailboxCorrupted(f"{message.path} is missing") from None
            continue
        try:
            octets = files.read_all(fd, message.size + 1, 0)
        finally:
            files.close(fd)
        if hashlib.sha1(octets, usedforsecurity=False).hexdigest() == message.guid:
            found.append((message, octets))
        elif needed and message.expunged is None:
            raise MailboxCorrupted(f"{message.path} is not what it was when it came")
    return found


def _updated(message: OutgoingMessage) -> int:
    return message.savedate if message.expunged is None else message.expunged


def _check_number(messages: Sequence[OutgoingMessage]) -> int:
    """What both sides compute of the messages that are there."""
    number = 0
    for message in messages:
        flags = 0
        for name in message.flags:
            flags ^= zlib.crc32(name.lower())
        number ^= zlib.crc32(
            b"%d %d %d (%d) %d %b"
            % (
                message.uid, message.modseq, _updated(message), flags, message.internaldate,
                message.guid.encode("ascii"),
            )
        )  # fmt: skip
    return number


def _annotations_number(messages: Sequence[OutgoingMessage], owner: bytes) -> int:
    number = _ANNOTATIONS_FROM
    for message in messages:
        for entry, user, value in _annotations(message, owner):
            number ^= zlib.crc32(b"%d %b %b %b" % (message.uid, entry, user, value))
    return number


def _annotations(message: OutgoingMessage, owner: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Entry, user and value of each; what is a column here is an annotation there."""
    yield _SAVEDATE, b"", b"%d" % message.savedate
    for user, entry, value in message.annotations:
        yield entry.encode("utf-8"), owner if user == OWNER else user.encode("utf-8"), value


def _responses(untagged: bytes) -> Iterator[tuple[bytes, Value]]:
    """
    What a server said, word by word.

    @raise StoreUnavailable: It is nothing of that kind.
    """
    parts: list[bytes | File] = []
    at = 0
    while at < len(untagged):
        end = untagged.find(b"\r\n", at)
        line = untagged[at : end if end >= 0 else len(untagged)]
        at = end + 2 if end >= 0 else len(untagged)
        follows = announced(line)
        if follows is not None:
            parts += [follows.text, untagged[at : at + follows.size]]
            at += follows.size
            continue
        parts.append(line)
        if isinstance(parts[0], bytes) and parts[0].startswith(b"* "):
            reader = Reader([parts[0][2:], *parts[1:]])
            try:
                yield reader.word(), reader.value()
            except BadSyntax as error:
                raise StoreUnavailable("an answer that is none") from error
        parts = []
