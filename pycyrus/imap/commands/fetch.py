"""FETCH and UID FETCH."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from twisted.logger import Logger

from pycyrus.errors import MessageGone, StoreUnavailable
from pycyrus.imap.commands.annotate import annotation_format
from pycyrus.imap.commands.condstore import use_condstore
from pycyrus.imap.message_limit import Taken
from pycyrus.imap.octets import (
    LARGE,
    Piece,
    Region,
    UndecodablePart,
    field_selector,
    header_fields,
    is_cacheable,
    is_whole_message,
    needs_structure,
    nothing,
    write_item,
)
from pycyrus.imap.pace import FEWEST, FIRST, Pace
from pycyrus.imap.replies import Bad, No
from pycyrus.imap.selection import BLOCK
from pycyrus.imap.wire.annotations import Annotation
from pycyrus.imap.wire.fetch import Binary, Column, Section
from pycyrus.imap.wire.fetch_lines import COLUMN_FORMATS, ItemFormat, LineFormat, cached_literal, line_format
from pycyrus.mime.header import HEADERS_NOT_CACHED
from pycyrus.mime.sections import SectionText, locate
from pycyrus.model.acl import KEEP_SEEN, READ
from pycyrus.model.flags import SEEN, FlagAction, FlagChange, Flags
from pycyrus.model.uids import Positions, encode_numbers, positions_of_ranges
from pycyrus.model.view import CachedItem

if TYPE_CHECKING:
    from pycyrus.imap.selected import SelectedMailbox
    from pycyrus.imap.session import Session
    from pycyrus.imap.wire.fetch import Fetch
    from pycyrus.interfaces import IMessageFile

LONG_BLOCK = 512
"""Lines with cached items written in one operation: about a megabyte."""
BODY_BLOCK = 128
"""Messages whose files are read between two looks at the columns."""
FEW_MISSING = 8
"""Messages whose cached items are made within a millisecond, when they are asked for."""
FEW_OCTETS = 16_384
"""Octets of such messages."""
BLOCK_OCTETS = 4_194_304
"""Octets of cached items that a block may have; few messages have so many that this is what counts."""
MAX_CACHED_SECTIONS = 16
"""Header subsets of one command that are made from the cache; more are made one by one, with pauses."""
WRITE_SIZE = 262_144
"""Octets joined into one write."""

_SET_SEEN = FlagChange(FlagAction.ADD, Flags(SEEN))

log = Logger()


@dataclass(slots=True)
class Troubles:
    """
    What could not be answered, to be told when all else was.

    @ivar gone: A message's file is not there any more.
    @ivar undecodable: A part has an encoding that is not known.
    @ivar unavailable: The first message that could not be read.
    """

    gone: bool = False
    undecodable: bool = False
    unavailable: StoreUnavailable | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """
    A FETCH, compiled.

    @ivar lines: What comes from the columns and the cache.
    @ivar lines_with_flags: The same with FLAGS, for messages whose seen flag is set by it.
    @ivar files: What needs the message.
    @ivar block: Messages at a time.
    @ivar is_whole: That is the whole message, once.
    @ivar selects_headers: The lines hold header subsets, which come from the
        message where its header was too large to cache.
    """

    lines: LineFormat
    lines_with_flags: LineFormat
    files: tuple[Section | Binary, ...]
    block: int
    is_whole: bool
    selects_headers: bool = False

    @property
    def uses_cache(self) -> bool:
        """Whether cached items are read."""
        return self.lines.uses_cache or needs_structure(self.files)


async def fetch(session: Session, command: Fetch) -> bytes | None:
    """
    Answer FETCH: one untagged response for each message (RFC 9051 section 6.4.5).

    @raise No: A message is gone, or could not be decoded; the others were answered.
    @raise StoreUnavailable: A message could not be read; likewise.
    """
    assert session.selected is not None
    selected = session.selected
    selected.demand(READ)
    if command.vanished and not selected.is_qresync:
        raise Bad(b"VANISHED needs QRESYNC")
    if command.changed_since is not None or Column.MODSEQ in command.items:
        use_condstore(session)
    positions = selected.positions(command.sequence, by_uid=command.by_uid)
    if command.changed_since is not None:
        positions = _changed_since(session, selected, command, positions)
    if command.partial is not None:
        positions = positions[command.partial.slice_of(len(positions))]
    troubles = Troubles()
    taken = Taken(session, selected, positions)
    positions = taken.positions
    if len(positions):
        if Column.FLAGS in command.items:
            selected.tell_keywords(session)
        await _answer(session, selected, command, positions, troubles)
    if troubles.unavailable is not None:
        raise troubles.unavailable
    if troubles.undecodable:
        raise No(b"Can not process the binary data", b"UNKNOWN-CTE")
    if troubles.gone and not command.by_uid:
        # RFC 2180 section 4.1.2
        raise No(b"Some of the messages no longer exist", b"EXPUNGEISSUED")
    return taken.reply()


def _changed_since(session: Session, selected: SelectedMailbox, command: Fetch, positions: Positions) -> Positions:
    """Narrow to what changed, and tell what vanished (RFC 7162 sections 3.1.4.1 and 3.2.6)."""
    since = command.changed_since
    assert since is not None
    if command.vanished:
        vanished = selected.mailbox.vanished_since(since)
        if command.sequence is not None:
            # "*" may be a message that vanished.
            wanted = command.sequence.resolve(selected.mailbox.uidnext() - 1)
            vanished = vanished[positions_of_ranges(wanted, vanished)]
        else:
            vanished = vanished[np.isin(vanished, selected.saved)]
        # What the client still counts is told to have gone at its time.
        vanished = vanished[~np.isin(vanished, selected.view.uids, assume_unique=True)]
        if len(vanished):
            session.write(b"* VANISHED (EARLIER) %b\r\n" % encode_numbers(vanished))
    return positions[selected.live_flags(positions).modseqs > np.uint64(since)]


async def _answer(
    session: Session, selected: SelectedMailbox, command: Fetch, positions: Positions, troubles: Troubles
) -> None:
    plan = _compile(selected, command, troubles)
    sets_seen = command.sets_seen and not selected.read_only and KEEP_SEEN in selected.mailbox.rights()
    if plan.uses_cache and _misses_many(selected, positions):
        await selected.mailbox.complete()
    pace = Pace(session, plan.block, FEWEST if plan.files else FIRST)
    for block in _blocks(selected, plan, positions, pace):
        lines = plan.lines
        if sets_seen and await _set_seen(selected, block):
            selected.tell_keywords(session)
            lines = plan.lines_with_flags
        if plan.is_whole:
            await _answer_whole(session, selected, plan, lines, block, troubles, pace)
        elif plan.files:
            await _answer_from_files(session, selected, plan, lines, block, troubles)
        else:
            await _answer_from_cache(session, selected, plan, lines, block)
        await session.drain()
        await pace.did(len(block), is_last=bool(block[-1] == positions[-1]))


def _misses_many(selected: SelectedMailbox, positions: Positions) -> bool:
    """Whether making what is not cached yet would take long."""
    cached = selected.view.cached_sizes
    if cached is None:
        return False
    missing = positions[cached[positions] == 0]
    return len(missing) > FEW_MISSING or int(selected.view.sizes[missing].sum()) > FEW_OCTETS


def _blocks(selected: SelectedMailbox, plan: Plan, positions: Positions, pace: Pace) -> Iterator[Positions]:
    """Cut into blocks of so many messages, and of so many octets of cached items."""
    sizes = selected.view.cached_sizes if plan.uses_cache else None
    sums = None if sizes is None or len(positions) == 1 else np.cumsum(sizes[positions], dtype=np.int64)
    start = 0
    while start < len(positions):
        stop = start + pace.size
        if sums is not None:
            most = BLOCK_OCTETS + (int(sums[start - 1]) if start else 0)
            stop = min(stop, max(int(sums.searchsorted(most, "right")), start + 1))
        yield positions[start:stop]
        start = stop


async def _answer_from_cache(
    session: Session, selected: SelectedMailbox, plan: Plan, lines: LineFormat, block: Positions
) -> None:
    """Answer for a block of messages that need not be opened, but for headers too large to cache."""
    rows = selected.rows(block)
    if not plan.selects_headers:
        session.write(lines.encode(rows))
        return
    items = lines.cached
    texts = rows.cached(items)
    if len(block) > 1 and HEADERS_NOT_CACHED in texts[items.index(CachedItem.HEADERS)]:
        # Some of them must be opened, and read at length: each by itself, then.
        pace = Pace(session)
        for position in range(len(block)):
            await _answer_from_cache(session, selected, plan, lines, block[position : position + 1])
            await session.drain()
            await pace.breathe()
        return
    session.write(lines.encode(replace(rows, cached=lambda _: texts)))


def _compile(selected: SelectedMailbox, command: Fetch, troubles: Troubles) -> Plan:
    columns = tuple(item for item in command.items if isinstance(item, Column))
    if len(columns) == len(command.items):
        lines = line_format(columns)
        return Plan(lines, lines, (), LONG_BLOCK if lines.uses_cache else BLOCK, False)
    formats: list[ItemFormat] = []
    files: list[Section | Binary] = []
    notes = sum(isinstance(item, Annotation) for item in command.items)
    selectors = 0
    for item in command.items:
        if isinstance(item, Column):
            formats.append(COLUMN_FORMATS[item])
        elif isinstance(item, Annotation):
            formats.append(annotation_format(selected, item))
        elif isinstance(item, Section) and is_cacheable(item) and selectors < MAX_CACHED_SECTIONS:
            selectors += 1
            select = _field_selector(selected, item, troubles)
            formats.append(cached_literal(item.label, CachedItem.HEADERS, select))
        else:
            files.append(item)
    lines = LineFormat(formats)
    extra = [COLUMN_FORMATS[Column.FLAGS]] if Column.FLAGS not in columns else []
    if selected.is_condstore and Column.MODSEQ not in columns:
        extra.append(COLUMN_FORMATS[Column.MODSEQ])
    block = BODY_BLOCK if files or notes else LONG_BLOCK
    is_whole = len(files) == 1 and isinstance(files[0], Section) and is_whole_message(files[0])
    return Plan(lines, LineFormat(formats + extra), tuple(files), block, is_whole, selectors > 0)


def _field_selector(selected: SelectedMailbox, item: Section, troubles: Troubles) -> Callable[[int, bytes], bytes]:
    """Make HEADER.FIELDS from the cached header, or from the message where that was too large to cache."""
    choose = field_selector(item)

    def select(uid: int, cached: bytes) -> bytes:
        fields = choose(cached)
        if fields is not None:
            return fields
        file = _open(selected, uid, troubles)
        if file is None:
            return header_fields(item, b"")
        try:
            [structure] = selected.view.cached(selected.positions_of_uids(np.array([uid])), (CachedItem.SECTIONS,))
            place = locate(structure[0], (), SectionText.HEADER) or (0, 0)
            return header_fields(item, file.read(*place))
        finally:
            file.close()

    return select


async def _set_seen(selected: SelectedMailbox, block: Positions) -> bool:
    """
    Set the seen flag on messages that lack it.

    @return: Whether any flag changed, so that the client must be told.
    """
    unseen = block[selected.live_flags(block).flags & np.uint32(SEEN) == 0]
    if not len(unseen):
        return False
    try:
        stored = await selected.mailbox.store(selected.view.uids[unseen], _SET_SEEN)
    except StoreUnavailable as error:
        # Mail can be read on a full disk, too.
        log.warn("could not set the seen flag: {error}", error=error)
        return False
    selected.was_told(stored.modseq)
    return stored.modseq is not None


def _open(selected: SelectedMailbox, uid: int, troubles: Troubles) -> IMessageFile | None:
    try:
        return selected.mailbox.message(uid)
    except MessageGone:
        troubles.gone = True
    except StoreUnavailable as error:
        log.error("message {uid} cannot be read: {error}", uid=uid, error=error)
        troubles.unavailable = troubles.unavailable or error
    return None


async def _answer_whole(
    session: Session,
    selected: SelectedMailbox,
    plan: Plan,
    lines: LineFormat,
    block: Positions,
    troubles: Troubles,
    pace: Pace,
) -> None:
    """Answer for a block of messages with all their octets: what clients fetch most, so the shortest way."""
    rows = selected.rows(block)
    label = plan.files[0].label
    held: list[bytes] = []
    size = 0
    for begin, uid, length in zip(lines.encode_open(rows), rows.uids.tolist(), rows.sizes.tolist(), strict=True):
        file = _open(selected, uid, troubles)
        if file is None:
            held.extend(_without_octets(begin))
            continue
        gap = b"" if begin.endswith(b"(") else b" "
        try:
            if length < LARGE:
                data = _read(file, length, troubles)
                if data is None:
                    held.extend(_without_octets(begin))
                    continue
                held += (begin, b"%b%b {%d}\r\n" % (gap, label, len(data)), data, b")\r\n")
                size += len(data)
            else:
                length = file.size
                held += (begin, b"%b%b {%d}\r\n" % (gap, label, length))
                session.write(b"".join(held))
                held = [b")\r\n"]
                size = 0
                await session.write_file(file, 0, length)
        finally:
            file.close()
        if size >= WRITE_SIZE:
            session.write(b"".join(held))
            held = []
            size = 0
            await session.drain()
            await pace.breathe()
    if held:
        session.write(b"".join(held))


def _read(file: IMessageFile, length: int, troubles: Troubles) -> bytes | None:
    try:
        return file.read(0, length)
    except StoreUnavailable as error:
        log.error("a message cannot be read: {error}", error=error)
        troubles.unavailable = troubles.unavailable or error
        return None


class _Pieces:
    """
    Pieces of responses, joined into large writes.

    The response of a message appears as a whole or not at all, unless it is too
    large to be held.

    @ivar is_partly_sent: The current response is: it cannot be taken back.
    """

    __slots__ = ("_held", "_mark", "_pace", "_session", "_size", "is_partly_sent")

    def __init__(self, session: Session) -> None:
        self.is_partly_sent = False
        self._session = session
        self._held: list[Piece] = []
        self._size = 0
        self._mark = 0
        self._pace = Pace(session)

    def begin(self, piece: bytes) -> None:
        """Begin the response of a message."""
        self._mark = len(self._held)
        self.is_partly_sent = False
        self.add(piece)

    def add(self, *pieces: Piece) -> None:
        """Go on with it."""
        self._held += pieces
        for piece in pieces:
            if not isinstance(piece, Region):
                self._size += len(piece)

    def take_back(self) -> None:
        """Do without it."""
        del self._held[self._mark :]

    async def breathe(self, file: IMessageFile) -> None:
        """Send what is too much to be held, and let other sessions have their turn."""
        if self._size >= WRITE_SIZE:
            self.is_partly_sent = True
            await self.send(file)
        await self._pace.breathe()

    async def end(self, file: IMessageFile) -> None:
        """The response is complete; send what needs its file, or is enough."""
        if self._size >= WRITE_SIZE or any(isinstance(piece, Region) for piece in self._held[self._mark :]):
            await self.send(file)

    async def send(self, file: IMessageFile | None) -> None:
        """
        Send all that is held.

        @param file: Of the current message; no other has regions in what is held.
        """
        held, self._held = self._held, []
        self._size = self._mark = 0
        session = self._session
        octets: list[bytes] = []
        for piece in held:
            if not isinstance(piece, Region):
                octets.append(piece)
                continue
            assert file is not None
            session.write(b"".join(octets))
            octets.clear()
            await session.write_file(file, piece.offset, piece.length)
        if octets:
            session.write(b"".join(octets))
            await session.drain()


async def _answer_from_files(
    session: Session,
    selected: SelectedMailbox,
    plan: Plan,
    lines: LineFormat,
    block: Positions,
    troubles: Troubles,
) -> None:
    """Answer for a block of messages that must be opened."""
    rows = selected.rows(block)
    structures = rows.cached((CachedItem.SECTIONS,))[0] if needs_structure(plan.files) else [b""] * len(rows)
    out = _Pieces(session)
    for begin, uid, structure in zip(lines.encode_open(rows), rows.uids.tolist(), structures, strict=True):
        file = _open(selected, uid, troubles)
        if file is None:
            out.add(*_without_octets(begin))
            continue
        try:
            await _answer_message(plan.files, begin, file, structure, troubles, out)
            await out.end(file)
        finally:
            file.close()
    await out.send(None)


async def _answer_message(
    items: tuple[Section | Binary, ...],
    begin: bytes,
    file: IMessageFile,
    structure: bytes,
    troubles: Troubles,
    out: _Pieces,
) -> None:
    """
    Answer for one message: if something cannot be read, without all that needs its file.

    Where half of the response is with the client already, NIL stands for what cannot be read.
    """
    out.begin(begin)
    gap = b"" if begin.endswith(b"(") else b" "
    for item in items:
        pieces = _octets(item, file, structure, troubles)
        if pieces is None:
            if not out.is_partly_sent:
                out.take_back()
                out.add(*_without_octets(begin))
                return
            pieces = [nothing(item)]
        out.add(gap, *pieces)
        gap = b" "
        await out.breathe(file)
    out.add(b")\r\n")


def _octets(item: Section | Binary, file: IMessageFile, structure: bytes, troubles: Troubles) -> list[Piece] | None:
    """One item; None if it cannot be had."""
    try:
        return write_item(item, file, structure)
    except UndecodablePart:
        troubles.undecodable = True
    except StoreUnavailable as error:
        log.error("a message cannot be read: {error}", error=error)
        troubles.unavailable = troubles.unavailable or error
    return None


def _without_octets(begin: bytes) -> list[bytes]:
    """A response with what needs no file, such as the flags that were changed by asking."""
    return [] if begin.endswith(b"(") else [begin, b")\r\n"]
