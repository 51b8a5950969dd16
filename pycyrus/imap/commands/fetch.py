"""FETCH and UID FETCH."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from twisted.logger import Logger

from pycyrus.errors import MessageGone, StoreUnavailable
from pycyrus.imap.commands.condstore import use_condstore
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
    write_item,
)
from pycyrus.imap.replies import Bad, No
from pycyrus.imap.selected import BLOCK
from pycyrus.imap.wire.fetch import Binary, Column, Section
from pycyrus.imap.wire.fetch_lines import COLUMN_FORMATS, ItemFormat, LineFormat, cached_literal, line_format
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
WRITE_SIZE = 262_144
"""Octets joined into one write."""
STRETCH = 0.002
"""Seconds of work after which other sessions get their turn."""

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
    """

    lines: LineFormat
    lines_with_flags: LineFormat
    files: tuple[Section | Binary, ...]
    block: int
    is_whole: bool


async def fetch(session: Session, command: Fetch) -> None:
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
    troubles = Troubles()
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
    clock = session.clock
    begun = clock.seconds()
    for start in range(0, len(positions), plan.block):
        block = positions[start : start + plan.block]
        lines = plan.lines
        if sets_seen and await _set_seen(selected, block):
            selected.tell_keywords(session)
            lines = plan.lines_with_flags
        if plan.is_whole:
            await _answer_whole(session, selected, plan, lines, block, troubles)
        elif plan.files:
            await _answer_from_files(session, selected, plan, lines, block, troubles)
        else:
            session.write(lines.encode(selected.rows(block)))
        await session.drain()
        if clock.seconds() - begun > STRETCH and start + plan.block < len(positions):
            await session.pause()
            begun = clock.seconds()


def _compile(selected: SelectedMailbox, command: Fetch, troubles: Troubles) -> Plan:
    columns = tuple(item for item in command.items if isinstance(item, Column))
    if len(columns) == len(command.items):
        lines = line_format(columns)
        return Plan(lines, lines, (), LONG_BLOCK if lines.uses_cache else BLOCK, False)
    formats: list[ItemFormat] = []
    files: list[Section | Binary] = []
    for item in command.items:
        if isinstance(item, Column):
            formats.append(COLUMN_FORMATS[item])
        elif isinstance(item, Section) and is_cacheable(item):
            select = _field_selector(selected, item, troubles)
            formats.append(cached_literal(item.label, CachedItem.HEADERS, select))
        else:
            files.append(item)
    lines = LineFormat(formats)
    extra = [COLUMN_FORMATS[Column.FLAGS]] if Column.FLAGS not in columns else []
    if selected.is_condstore and Column.MODSEQ not in columns:
        extra.append(COLUMN_FORMATS[Column.MODSEQ])
    block = BODY_BLOCK if files else LONG_BLOCK
    is_whole = len(files) == 1 and isinstance(files[0], Section) and is_whole_message(files[0])
    return Plan(lines, LineFormat(formats + extra), tuple(files), block, is_whole)


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
                session.write_file(file, 0, length)
                await session.drain()
        finally:
            file.close()
        if size >= WRITE_SIZE:
            session.write(b"".join(held))
            held = []
            size = 0
            await session.drain()
    if held:
        session.write(b"".join(held))


def _read(file: IMessageFile, length: int, troubles: Troubles) -> bytes | None:
    try:
        return file.read(0, length)
    except StoreUnavailable as error:
        log.error("a message cannot be read: {error}", error=error)
        troubles.unavailable = troubles.unavailable or error
        return None


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
    held: list[bytes] = []
    size = 0
    for begin, uid, structure in zip(lines.encode_open(rows), rows.uids.tolist(), structures, strict=True):
        file = _open(selected, uid, troubles)
        if file is None:
            held.extend(_without_octets(begin))
            continue
        try:
            pieces = _message(plan.files, begin, file, structure, troubles)
            for piece in pieces:
                if isinstance(piece, Region):
                    session.write(b"".join(held))
                    held.clear()
                    size = 0
                    session.write_file(file, piece.offset, piece.length)
                    await session.drain()
                else:
                    held.append(piece)
                    size += len(piece)
        finally:
            file.close()
        if size >= WRITE_SIZE:
            session.write(b"".join(held))
            held.clear()
            size = 0
            await session.drain()
    if held:
        session.write(b"".join(held))


def _message(
    items: tuple[Section | Binary, ...], begin: bytes, file: IMessageFile, structure: bytes, troubles: Troubles
) -> list[Piece]:
    """One complete response; without what cannot be read."""
    pieces: list[Piece] = [begin]
    gap = b"" if begin.endswith(b"(") else b" "
    try:
        for item in items:
            pieces.append(gap)
            pieces += write_item(item, file, structure)
            gap = b" "
    except UndecodablePart:
        troubles.undecodable = True
        return [*_without_octets(begin)]
    except StoreUnavailable as error:
        log.error("a message cannot be read: {error}", error=error)
        troubles.unavailable = troubles.unavailable or error
        return [*_without_octets(begin)]
    pieces.append(b")\r\n")
    return pieces


def _without_octets(begin: bytes) -> list[bytes]:
    """A response with what needs no file, such as the flags that were changed by asking."""
    return [] if begin.endswith(b"(") else [begin, b")\r\n"]
