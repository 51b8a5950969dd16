"""Messages that a frontend copies to another server, or from there: where they come from."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from pycyrus.errors import StoreUnavailable
from pycyrus.imap.commands.expunge import writable
from pycyrus.imap.message_limit import demand_within_limit
from pycyrus.imap.replies import Bad, No
from pycyrus.imap.wire.copy import encode_uid_set
from pycyrus.imap.wire.dates import encode_date_times
from pycyrus.imap.wire.flags import flag_lists
from pycyrus.imap.wire.frames import Frame, Literal
from pycyrus.imap.wire.grammar import BadSyntax, Cursor, quoted
from pycyrus.model.acl import DELETE_MESSAGES, EXPUNGE, READ
from pycyrus.model.flags import DELETED, SYSTEM_FLAGS_BY_NAME, FlagAction, FlagChange, Flags
from pycyrus.murder.batches import batches
from pycyrus.murder.servers.responses import BadResponse, split_responses

if TYPE_CHECKING:
    from pycyrus.imap.session import Session
    from pycyrus.model.uids import SequenceSet, UidArray
    from pycyrus.murder.servers.imap_link import ImapLink

FAILED = No(b"inter-server COPY failed", b"UNAVAILABLE")
PIECE = 1 << 20
"""Octets that are here at a time: of a large message, or of several small ones."""
_MOST_AT_ONCE = 100
_FETCHED = re.compile(
    rb"\* [0-9]+ FETCH \((?=[^\r\n]*\bUID ([0-9]+))(?=[^\r\n]*\bFLAGS \(([^()]*)\))"
    rb'(?=[^\r\n]*\bINTERNALDATE ("[^"\r\n]{20,30}"))(?=[^\r\n]*\bRFC822\.SIZE ([0-9]+))',
    re.IGNORECASE,
)
_UID = re.compile(rb"[ (]UID ([0-9]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class CopiedMessage:
    """
    A message of the selected mailbox.

    @ivar flags: Names with spaces between, of those that can be set.
    @ivar date: The internal date, as IMAP has it, with its quotes.
    """

    uid: int
    flags: bytes
    date: bytes
    size: int


class Source(Protocol):
    """The selected mailbox, wherever it is."""

    async def check_may_remove(self) -> None:
        """
        See whether messages can be removed, before they are copied.

        @raise MailStoreError: They cannot; or L{No}.
        """

    async def look_up(self) -> list[CopiedMessage]:
        """What the client means, by ascending UID."""

    def pieces(self, messages: Sequence[CopiedMessage]) -> AsyncGenerator[tuple[CopiedMessage, int, bytes], None]:
        """
        The octets of messages, one after the other.

        @return: Which, from where in it on, and no more than L{PIECE} octets.
        @raise No: A message went meanwhile.
        @raise StoreUnavailable: The connection went.
        """

    async def remove(self, messages: Sequence[CopiedMessage]) -> None:
        """Remove what was copied."""


def uids_of(messages: Sequence[CopiedMessage]) -> UidArray:
    """Their UIDs."""
    return np.array([message.uid for message in messages], dtype=np.uint32)


class RemoteSource:
    """A selected mailbox of another server."""

    def __init__(self, session: Session, link: ImapLink, frame: Frame, selected: bytes) -> None:
        """
        @param frame: COPY or MOVE, as the client wrote it.
        @param selected: The mailbox, as the client wrote its name.
        """
        self._session = session
        self._link = link
        self._frame = frame
        self._selected = selected

    async def check_may_remove(self) -> None:
        """See L{Source}."""
        name = quoted(self._selected, utf8=True).replace(b"}\r\n", b"+}\r\n")
        untagged, status, _ = await self._link.ask(b"MYRIGHTS " + name)
        rights = untagged.rstrip(b"\r\n").rpartition(b" ")[2] if status == b"OK" else b"te"
        if not {0x74, 0x65} <= set(rights):
            raise No(b"Permission denied", b"NOPERM")

    async def look_up(self) -> list[CopiedMessage]:
        """See L{Source}."""
        text = self._frame.args[0] if self._frame.args else b""
        assert isinstance(text, bytes)
        # Within FETCH no message gets another number (RFC 9051 section 7.5.1), so all is told of what is copied.
        numbers = text.split()[0]
        verb = b"UID FETCH" if self._frame.name.startswith(b"UID ") else b"FETCH"
        messages: list[CopiedMessage] = []
        for response in await self._ask(
            b"%b %b (UID FLAGS INTERNALDATE RFC822.SIZE)" % (verb, numbers), is_clients=True
        ):
            found = _FETCHED.match(response[0]) if response and isinstance(response[0], bytes) else None
            if found is None:
                self._tell(response)
                continue
            uid, flags, date, size = found.groups()
            # Others, recent among them, cannot be set.
            kept = b" ".join(
                flag for flag in flags.split() if flag[:1] != b"\\" or flag.lower() in SYSTEM_FLAGS_BY_NAME
            )
            messages.append(CopiedMessage(int(uid), kept, date, int(size)))
        return sorted(messages, key=lambda message: message.uid)

    async def pieces(self, messages: Sequence[CopiedMessage]) -> AsyncGenerator[tuple[CopiedMessage, int, bytes], None]:
        """See L{Source}."""
        for batch in batches(messages, octets=PIECE, most=_MOST_AT_ONCE):
            if batch[0].size > PIECE:
                async for offset, piece in self._large(batch[0]):
                    yield batch[0], offset, piece
                continue
            bodies = await self._bodies(b"UID FETCH %b (BODY.PEEK[])" % encode_uid_set(uids_of(batch)))
            for message in batch:
                body = bodies.get(message.uid)
                if body is None or len(body) != message.size:
                    raise FAILED
                yield message, 0, body

    async def _large(self, message: CopiedMessage) -> AsyncIterator[tuple[int, bytes]]:
        offset = 0
        while offset < message.size:
            count = min(PIECE, message.size - offset)
            bodies = await self._bodies(b"UID FETCH %d (BODY.PEEK[]<%d.%d>)" % (message.uid, offset, count))
            piece = bodies.get(message.uid)
            if not piece or len(piece) > count:
                raise FAILED
            yield offset, piece
            offset += len(piece)

    async def _bodies(self, command: bytes) -> dict[int, bytes]:
        bodies = {}
        for response in await self._ask(command):
            found = _body_of(response)
            if found is None:
                self._tell(response)
            else:
                bodies[found[0]] = found[1]
        return bodies

    async def remove(self, messages: Sequence[CopiedMessage]) -> None:
        """See L{Source}."""
        uids = encode_uid_set(uids_of(messages))
        for command in (rb"UID STORE %b +FLAGS.SILENT (\Deleted)", b"UID EXPUNGE %b"):
            untagged, status, text = await self._link.ask(command % uids)
            self._session.write(untagged)
            if status != b"OK":
                raise No(b"Messages were copied, and not removed: " + _words(text))

    async def _ask(self, command: bytes, *, is_clients: bool = False) -> list[list[bytes | Literal]]:
        """@param is_clients: The client wrote what may be wrong with it."""
        untagged, status, text = await self._link.ask(command)
        if status != b"OK":
            self._session.write(untagged)
            if status == b"BAD" and is_clients:
                raise Bad(_words(text))
            raise No(b"inter-server COPY failed: " + _words(text))
        try:
            return split_responses(untagged)
        except BadResponse as error:
            self._link.abort(str(error))
            raise StoreUnavailable(f"{self._link.server}: {error}") from None

    def _tell(self, response: list[bytes | Literal]) -> None:
        """Pass on what was not asked for: what others did to the selected mailbox."""
        for piece in response:
            if isinstance(piece, Literal):
                self._session.write(b"{%d}\r\n" % len(piece.data) + piece.data)
            else:
                self._session.write(piece)
        self._session.write(b"\r\n")


def _words(text: bytes) -> bytes:
    """What a tagged reply says to people, without its response code."""
    said = text.partition(b"]")[2] if text.startswith(b"[") else text
    return said.strip()[:100]


def _body_of(response: list[bytes | Literal]) -> tuple[int, bytes] | None:
    """The UID and the octets asked for, if the response has them; they are a literal, or short and quoted."""
    head = response[0] if response else b""
    if not isinstance(head, bytes) or b" FETCH (" not in head.upper():
        return None
    text = b"".join(piece for piece in response if isinstance(piece, bytes))
    begin = head.upper().find(b"BODY[]")
    uid = _UID.search(text)
    if begin < 0 or uid is None:
        return None
    for piece in response:
        if isinstance(piece, Literal):
            return int(uid[1]), piece.data
    try:
        return int(uid[1]), Cursor([head[head.find(b" ", begin) + 1 :]]).string()
    except BadSyntax:
        return None


class LocalSource:
    """A selected mailbox of this server."""

    def __init__(self, session: Session, sequence: SequenceSet | None, *, by_uid: bool) -> None:
        """@param sequence: What the client means; None for the saved search result."""
        assert session.selected is not None
        self._session = session
        self._selected = session.selected
        self._sequence = sequence
        self._by_uid = by_uid

    async def check_may_remove(self) -> None:
        """See L{Source}."""
        selected = writable(self._session)
        selected.demand(DELETE_MESSAGES)
        selected.demand(EXPUNGE)

    async def look_up(self) -> list[CopiedMessage]:
        """See L{Source}."""
        selected = self._selected
        selected.demand(READ)
        view = selected.view
        positions = selected.positions(self._sequence, by_uid=self._by_uid)
        demand_within_limit(self._session, len(positions))
        lists = flag_lists(selected.mailbox.keyword_names())
        flags = lists.encode(view.flags[positions], view.keywords[positions], None)
        dates = encode_date_times(view.internaldates[positions])
        rows = zip(view.uids[positions].tolist(), flags, dates, view.sizes[positions].tolist(), strict=True)
        return [CopiedMessage(uid, names[1:-1], date, size) for uid, names, date, size in rows]

    async def pieces(self, messages: Sequence[CopiedMessage]) -> AsyncGenerator[tuple[CopiedMessage, int, bytes], None]:
        """See L{Source}."""
        for message in messages:
            file = self._selected.mailbox.message(message.uid)
            try:
                offset = 0
                while offset < message.size:
                    piece = await self._session.in_thread(lambda: file.read(offset, PIECE))  # noqa: B023 # awaited here
                    if not piece:
                        raise FAILED
                    yield message, offset, piece
                    offset += len(piece)
            finally:
                file.close()

    async def remove(self, messages: Sequence[CopiedMessage]) -> None:
        """See L{Source}."""
        uids = uids_of(messages)
        await self._selected.mailbox.store(uids, FlagChange(FlagAction.ADD, Flags(DELETED)))
        await self._selected.mailbox.expunge(uids)
