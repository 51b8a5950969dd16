"""STORE and UID STORE."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pycyrus.imap.commands.annotate import store_annotations
from pycyrus.imap.commands.condstore import use_condstore
from pycyrus.imap.commands.expunge import writable
from pycyrus.imap.message_limit import Taken, demand_within_limit
from pycyrus.imap.replies import GONE
from pycyrus.imap.selection import BLOCK
from pycyrus.imap.wire.fetch import Column
from pycyrus.imap.wire.fetch_lines import line_format
from pycyrus.imap.wire.store import StoreAnnotations
from pycyrus.model.acl import DELETE_MESSAGES, KEEP_SEEN, WRITE
from pycyrus.model.flags import FlagAction, FlagChange
from pycyrus.model.uids import Positions, encode_numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pycyrus.imap.selected import SelectedMailbox
    from pycyrus.imap.selection import FlagColumns
    from pycyrus.imap.session import Session
    from pycyrus.imap.wire.store import Store
    from pycyrus.interfaces import Stored


FEW = 16
"""Messages that are rather told of once too often than compared."""
MANY = 8192
"""Messages changed in one operation: a millisecond's work."""
MANY_TOLD = 4096
"""The same, where as much time is needed to tell of them."""
_ALL_FLAGS = frozenset((WRITE, DELETE_MESSAGES, KEEP_SEEN))
"""Rights without which some flags of a STORE may be passed over."""


async def store(session: Session, command: Store | StoreAnnotations) -> bytes | None:
    """
    Change flags (RFC 9051 section 6.4.6, RFC 7162 section 3.1.3), or annotations.

    @raise PermissionDenied: None of the flags may be changed.
    @raise TooManyKeywords: Nothing was changed.
    """
    if isinstance(command, StoreAnnotations):
        return await store_annotations(session, command)
    selected = writable(session)
    if command.unchanged_since is not None:
        use_condstore(session)
    positions = selected.positions(command.sequence, by_uid=command.by_uid)
    if not len(positions):
        return None
    if command.unchanged_since is not None:
        # The reply has a code already.
        demand_within_limit(session, len(positions))
    taken = Taken(session, selected, positions)
    if len(taken.positions) > MANY_TOLD and command.unchanged_since is None:
        reply = await _store_many(session, selected, command, taken.positions)
        return taken.reply() or reply
    reply = await _store(session, selected, command, taken.positions)
    return reply or taken.reply()


async def _store_many(
    session: Session, selected: SelectedMailbox, command: Store, positions: Positions
) -> bytes | None:
    """In blocks, each of which is a change of its own, so that other sessions have their turn."""
    reply: bytes | None = None
    many = MANY if command.is_silent and not selected.is_condstore else MANY_TOLD
    for start in range(0, len(positions), many):
        reply = await _store(session, selected, command, positions[start : start + many]) or reply
        await session.pause()
    return reply


async def _store(session: Session, selected: SelectedMailbox, command: Store, positions: Positions) -> bytes | None:
    uids = selected.view.uids[positions]
    if command.is_silent and len(positions) <= FEW and selected.has_been_told_all():
        return await _store_few(session, selected, command, positions)
    before = selected.live_flags(positions) if command.is_silent else None
    unknown = selected.untold(positions) if command.is_silent else None
    stored = await selected.mailbox.store(uids, command.change, command.unchanged_since)
    changed = positions if len(stored.changed) == len(positions) else selected.positions_of_uids(stored.changed)
    if before is None or unknown is None:
        await _tell(session, selected, changed, _columns(selected, command, Column.FLAGS))
    else:
        after = selected.live_flags(positions)
        names = selected.mailbox.keyword_names()
        is_surprise = unknown | ~_is_as_expected(before, after, command.change, names)
        is_changed = np.isin(positions, changed, assume_unique=True)
        # A client that asked for silence assumes what the flags are now: where
        # somebody else had a hand in it, it must be told.
        await _tell(session, selected, positions[is_changed & is_surprise], _columns(selected, command, Column.FLAGS))
        if selected.is_condstore and stored.modseq is not None:
            is_bumped = after.modseqs == np.uint64(stored.modseq)
            # RFC 7162 section 3.1.3: the modseq is told even then.
            await _tell(
                session, selected, positions[is_changed & is_bumped & ~is_surprise], _columns(selected, command)
            )
    selected.was_told(stored.modseq)
    return _reply(selected, command, stored, len(positions))


async def _store_few(session: Session, selected: SelectedMailbox, command: Store, positions: Positions) -> bytes | None:
    """Change the flags of few messages whose present ones the client knows, and which it assumes afterwards."""
    stored = await selected.mailbox.store(selected.view.uids[positions], command.change, command.unchanged_since)
    changed = positions if len(stored.changed) == len(positions) else selected.positions_of_uids(stored.changed)
    if not selected.is_next(stored.modseq) or not selected.mailbox.rights() >= _ALL_FLAGS:
        # Somebody else had a hand in it, or not all was done that was asked for.
        await _tell(session, selected, changed, _columns(selected, command, Column.FLAGS))
    elif selected.is_condstore and stored.modseq is not None:
        is_bumped = selected.live_flags(changed).modseqs == np.uint64(stored.modseq)
        # RFC 7162 section 3.1.3: the modseq is told even then.
        await _tell(session, selected, changed[is_bumped], _columns(selected, command))
    selected.was_told(stored.modseq)
    return _reply(selected, command, stored, len(positions))


def _columns(selected: SelectedMailbox, command: Store, *others: Column) -> list[Column]:
    columns = list(others)
    if command.by_uid or selected.is_qresync:
        columns.insert(0, Column.UID)
    if selected.is_condstore:
        columns.append(Column.MODSEQ)
    return columns


async def _tell(session: Session, selected: SelectedMailbox, positions: Positions, columns: Sequence[Column]) -> None:
    if not len(positions):
        return
    selected.tell_keywords(session)
    lines = line_format(tuple(columns))
    for start in range(0, len(positions), BLOCK):
        session.write(lines.encode(selected.rows(positions[start : start + BLOCK])))
        await session.drain()


def _is_as_expected(
    before: FlagColumns, after: FlagColumns, change: FlagChange, names: tuple[bytes, ...]
) -> NDArray[np.bool_]:
    """Whether each message has the flags that it would have if nobody else had changed any."""
    system = np.uint32(change.flags.system)
    keywords = _keyword_bits(change.flags.keywords, names)
    if change.action is FlagAction.REPLACE:
        is_same = (after.flags == system) & (after.keywords == keywords).all(axis=1)
    elif change.action is FlagAction.ADD:
        is_same = (after.flags == before.flags | system) & (after.keywords == before.keywords | keywords).all(axis=1)
    else:
        is_same = after.flags == before.flags & ~system
        is_same &= (after.keywords == before.keywords & ~keywords).all(axis=1)
    answer: NDArray[np.bool_] = is_same
    return answer


def _keyword_bits(keywords: Sequence[bytes], names: tuple[bytes, ...]) -> NDArray[np.uint64]:
    wanted = {keyword.lower() for keyword in keywords}
    bits = sum(1 << number for number, name in enumerate(names) if name.lower() in wanted)
    return np.array([bits & 0xFFFFFFFFFFFFFFFF, bits >> 64], dtype=np.uint64)


def _reply(selected: SelectedMailbox, command: Store, stored: Stored, asked: int) -> bytes | None:
    if len(stored.modified):
        modified = stored.modified
        if not command.by_uid:
            modified = (selected.positions_of_uids(modified) + 1).astype(np.uint32)
        if len(modified):
            return b"[MODIFIED %b] Conditional STORE failed" % encode_numbers(modified)
    elif len(stored.changed) < asked and not command.by_uid:
        return GONE
    return None
