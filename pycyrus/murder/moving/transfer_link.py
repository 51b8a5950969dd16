"""
One server with another, while mailboxes move: C{XTRANSFER} over IMAP.

Each step is a command: C{XTRANSFER <step> <id> <argument>}, with octets of files behind
the argument in C{PIECES}.  Arguments and answers are JSON.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain, islice
from typing import Any

from pycyrus.errors import MailboxNotFound, StoreUnavailable, TransferFailed
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.model.transfers import INVENTORY, MANIFEST, Manifest, encode_pieces, name_fields
from pycyrus.murder.servers.imap_link import ImapLink, Kept
from pycyrus.store.outgoing_files import FilesOfMailbox, Packet, inventory, merged, messages_of, packets_of
from pycyrus.store.threads import in_thread
from pycyrus.store.transfer_log import CANCELLED

_WINDOW = 8
"""Commands on their way at the same time."""
STEP_WITHIN = 600.0
"""Seconds that the other server may take for a step; it reads and syncs all that came."""
_ANSWER = re.compile(rb"\* XTRANSFER \{([0-9]{1,9})\}\r\n")
_CODE = re.compile(rb"\[([A-Z]+)[^]]*\] ")


class NotUnderstood(TransferFailed):
    """The other server does not know the command."""


class TransferLink:
    """
    A connection to a server of our kind, for one transfer.

    @ivar octets: Of files, sent so far.
    @ivar may_go_on: Asked now and then while files are sent.
    """

    sends_deleted = True
    """Delayed-deleted mailboxes go along."""
    keeps_record = True
    """The other server takes nothing over that it did not say was whole."""

    def __init__(self, link: ImapLink, transfer_id: str, reactor: Any) -> None:
        self.octets = 0
        self.may_go_on: Callable[[], bool] = always
        self._link = link
        self._id = transfer_id.encode("ascii")
        self._reactor = reactor
        self._root_id = ""

    async def is_understood(self) -> bool:
        """
        Whether the other server is one of our kind.

        @raise StoreUnavailable: The connection went.
        """
        try:
            await self.state()
        except NotUnderstood:
            return False
        return True

    # --- steps ----------------------------------------------------------

    def expect(self, own: Mapping[str, MailboxName]) -> None:
        """Have the root be asked for by its id; else servers of our kind know by themselves what they were sent."""
        roots = [each for each, name in own.items() if name.deleted is None and (name.is_inbox or name.owner is None)]
        self._root_id = roots[0] if roots else ""

    async def begin(self, root: MailboxName, partition: str) -> None:
        """
        Begin to send.

        @raise TransferFailed: The other server does not want it, and says why.
        @raise StoreUnavailable: The connection went.
        """
        await self._do(b"BEGIN", {"root": name_fields(root), "partition": partition})

    async def send(self, packets: Iterator[Packet]) -> None:
        """
        Send files, several commands ahead of the answers.

        @raise TransferFailed: As L{begin}.
        @raise StoreUnavailable: They cannot be read, or the connection went.
        """
        waiting: deque[bytes] = deque()
        while some := await in_thread(self._reactor, _take, packets):
            for packet in some:
                if len(waiting) >= _WINDOW:
                    await self._answer(waiting.popleft())
                waiting.append(await self._submit(b"PIECES", encode_pieces(packet.pieces), packet.data))
                self.octets += len(packet.data)
            demand(self.may_go_on)
        while waiting:
            await self._answer(waiting.popleft())

    async def send_messages(self, mailboxes: Sequence[FilesOfMailbox]) -> None:
        """Send messages that were not sent yet, while the mailboxes are in use; as L{send}."""
        await self.send(merged(messages_of(mailboxes)))

    async def sync(self) -> None:
        """Have what was sent made durable, while the mailboxes are in use: it takes long where others write, too."""
        with suppress(TransferFailed):
            await self._do(b"SYNC", {})

    async def send_rest(self, mailboxes: Sequence[FilesOfMailbox]) -> None:
        """Send what is lacking, while nobody writes to them; as L{send}."""
        await self.send(merged(chain.from_iterable(each.rest() for each in mailboxes)))

    async def prepare(self, manifest: Manifest, mailboxes: Sequence[FilesOfMailbox]) -> None:
        """
        Have all that was sent compared, and kept.

        @raise TransferFailed: It is not what was sent.
        """

        def encoded() -> tuple[bytes, bytes, str]:
            listed = inventory(mailboxes).encode()
            return manifest.encode(), listed, hashlib.sha1(listed, usedforsecurity=False).hexdigest()

        told, listed, digest = await in_thread(self._reactor, encoded)
        await self.send(packets_of(MANIFEST, told))
        await self.send(packets_of(INVENTORY, listed))
        if (await self._do(b"PREPARE", {})).get("digest") != digest:
            raise TransferFailed("the other server has other files than were sent")

    async def activate(self, root: MailboxName, names: Sequence[MailboxName]) -> None:
        """
        Have the mailboxes be the other server's.

        @raise TransferFailed: They are not, or it is not known.
        """
        await self._do(b"ACTIVATE", {})

    async def state(self) -> str:
        """How far the other server is: C{prepared}, C{active}, or nothing."""
        return str((await self._do(b"STATE", {"root": self._root_id})).get("state", ""))

    async def publish(self, root: MailboxName, names: Sequence[MailboxName]) -> None:
        """Have the other server tell the Murder's master of its mailboxes now."""
        await self._do(b"PUBLISH", {"root": name_fields(root)})

    async def give_up(self) -> None:
        """
        Have the other server forget what was prepared; it may not be activated any more then.

        @raise TransferFailed: It is active.
        """
        await self._do(b"ABORT", {})

    async def forget(self) -> None:
        """Say that nobody will ask again."""
        await self._do(b"FORGET", {})

    def close(self) -> None:
        """End the connection."""
        self._link.log_out()

    # --- the wire -------------------------------------------------------

    async def _do(self, step: bytes, argument: dict[str, Any]) -> dict[str, Any]:
        return await self._answer(await self._submit(step, json.dumps(argument).encode("ascii")))

    async def _submit(self, step: bytes, *literals: bytes) -> bytes:
        link = self._link
        tag = link.next_tag()
        held = b"%b XTRANSFER %b %b" % (tag, step, self._id)
        for octets in literals:
            if b"LITERAL+" in link.capabilities:
                held += b" {%d+}\r\n" % len(octets)
            else:
                link.send(held + b" {%d}\r\n" % len(octets))
                held = b""
                refusal = await link.go_ahead(tag, Kept())
                if refusal is not None:
                    raise _failure(refusal[len(tag) + 1 :])
            held += octets
        link.send(held + b"\r\n")
        await link.drain(STEP_WITHIN)
        return tag

    async def _answer(self, tag: bytes) -> dict[str, Any]:
        untagged, status, text = await self._link.answer(tag, STEP_WITHIN)
        if status != b"OK":
            raise _failure(status + b" " + text)
        found = _ANSWER.search(untagged)
        if found is None:
            return {}
        try:
            answer = json.loads(untagged[found.end() : found.end() + int(found[1])])
        except (ValueError, RecursionError) as error:
            raise StoreUnavailable(f"{self._link.server}: an answer that is none") from error
        return answer if isinstance(answer, dict) else {}


def always() -> bool:
    """Nobody minds."""
    return True


def demand(may_go_on: Callable[[], bool]) -> None:
    """@raise TransferFailed: Somebody does not want it to go on."""
    if not may_go_on():
        raise TransferFailed(CANCELLED)


def _take(packets: Iterator[Packet]) -> list[Packet]:
    return list(islice(packets, _WINDOW))


def _failure(line: bytes) -> MailboxNotFound | TransferFailed:
    """What a tagged NO or BAD says."""
    status, _, text = line.rstrip(b"\r\n").partition(b" ")
    code = _CODE.match(text)
    if code is not None:
        text = text[code.end() :]
        if code[1] == b"NONEXISTENT":
            return MailboxNotFound("the other server knows of no such transfer")
    reason = text.decode("ascii", "replace")[:300]
    if status.upper() == b"BAD":
        return NotUnderstood(f"the other server does not understand: {reason}")
    return TransferFailed(reason)
