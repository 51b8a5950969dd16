"""
Searches whose results are kept up to date for the client (RFC 5267 section 4.3).

Before the client is told of changes in the selected mailbox it is told what has
left a result, and behind them what has come: so message numbers are always those
that it knows.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pycyrus.errors import MailboxNotFound, MailStoreError
from pycyrus.imap.selection import NO_UIDS
from pycyrus.imap.wire.esearch import Placed, encode_change
from pycyrus.model.search import MessageNumbers, Recent, SavedResult, SearchKey, UidSet, rewritten
from pycyrus.model.uids import SequenceSet, number_ranges

if TYPE_CHECKING:
    from pycyrus.imap.ordering import Orders
    from pycyrus.imap.selected import SelectedMailbox
    from pycyrus.imap.session import Session
    from pycyrus.imap.wire.fetch import FetchItem
    from pycyrus.model.sorting import SortCriterion
    from pycyrus.model.uids import UidArray

MAX_CONTEXTS = 16
"""Of one session."""
FEW = 2048
"""Changes of a result that are written on the reactor thread."""


@dataclass(slots=True)
class Context:
    """
    One search that goes on.

    @ivar tag: Of its command.
    @ivar criteria: Of a SORT; None for a SEARCH.
    @ivar uids: What the client knows of the result, in its order.
    @ivar counter: What C{refresh} gave when it was last looked at; None to look again.
    @ivar items: What to tell of messages that come (RFC 5465 section 7).
    @ivar last: The highest UID of those of which that was told.
    """

    tag: bytes
    by_uid: bool
    key: SearchKey
    criteria: tuple[SortCriterion, ...] | None
    uids: UidArray
    counter: int | None = None
    items: tuple[FetchItem, ...] = ()
    last: int = 0


def frozen(key: SearchKey, selected: SelectedMailbox) -> SearchKey:
    """Say by UIDs what means something else soon: message numbers, and the saved result."""

    def leaf(each: SearchKey) -> SearchKey:
        return with_uids(each, selected) if isinstance(each, (MessageNumbers, SavedResult)) else each

    return rewritten(key, leaf)


def with_uids(key: SearchKey, selected: SelectedMailbox) -> SearchKey:
    r"""
    Say by UIDs what only the session knows: message numbers, C{$}, C{\Recent}, and C{*}.

    @raise Bad: Message numbers are not allowed.
    """

    def leaf(each: SearchKey) -> SearchKey:
        if isinstance(each, MessageNumbers):
            return UidSet(selected.uid_bounds(each.numbers, by_uid=False))
        if isinstance(each, UidSet):
            return UidSet(selected.uid_bounds(each.uids, by_uid=True))
        if isinstance(each, SavedResult):
            return UidSet(SequenceSet(tuple(number_ranges(selected.saved))))
        if isinstance(each, Recent):
            return UidSet(SequenceSet(tuple(selected.recent_ranges())))
        return each

    return rewritten(key, leaf)


async def tell_updates(session: Session, selected: SelectedMailbox, may_expunge: bool, orders: Orders) -> bool:
    """
    Tell what changed in the selected mailbox, and in the results.

    @return: Whether there is more to tell, as for C{Telling.tell_updates}.
    """
    changed: list[tuple[Context, UidArray]] = []
    for context in list(selected.contexts.values()):
        try:
            now = await _result(session, selected, context, orders)
        except MailStoreError as error:
            session.log.warn("no update of a search of {session}: {error}", session=session.session_id, error=error)
            continue
        if now is not None:
            await _tell_gone(session, selected, context, now)
            changed.append((context, now))
    is_cut = session.telling.tell_updates(may_expunge)
    for context, now in changed:
        if context.items:
            await _tell_items(session, selected, context, now)
        await _tell_new(session, selected, context, now)
    return is_cut


async def _result(session: Session, selected: SelectedMailbox, context: Context, orders: Orders) -> UidArray | None:
    """What is found now; None if nothing happened since."""
    mailbox = selected.mailbox
    try:
        counter = mailbox.refresh()
        if counter == context.counter:
            return None
        found = await mailbox.search(with_uids(context.key, selected))
        context.counter = counter
        if context.criteria is None:
            return found
        view = mailbox.view()
        positions = np.flatnonzero(np.isin(view.uids, found, assume_unique=True))
        return view.uids[
            await orders.sort(mailbox, view, positions, context.criteria, session.pause, session.in_thread)
        ]
    except MailboxNotFound:
        context.counter = None
        return NO_UIDS


async def _tell_gone(session: Session, selected: SelectedMailbox, context: Context, now: UidArray) -> None:
    """Tell what is no longer in the result, or is elsewhere in it."""
    stays = np.isin(context.uids, now, assume_unique=True)
    if context.criteria is not None:
        kept = context.uids[stays]
        order = now[np.isin(now, kept, assume_unique=True)]
        if not np.array_equal(kept, order):
            moved = await session.in_thread(lambda: out_of_order(kept.tolist(), order.tolist()))
            stays &= ~np.isin(context.uids, moved)
    places = np.flatnonzero(~stays)
    # From the last: so each position is still right when the client comes to it.
    await _tell(session, selected, context, b"REMOVEFROM", places[::-1], context.uids[places[::-1]])
    context.uids = context.uids[stays]


async def _tell_items(session: Session, selected: SelectedMailbox, context: Context, now: UidArray) -> None:
    """Tell of messages that came: behind EXISTS, and before it is told that they are in the result."""
    came = np.intersect1d(now[now > context.last], selected.view.uids)
    context.last = max(context.last, selected.last_uid)
    if len(came):
        await session.telling.fetch(came, context.items)


async def _tell_new(session: Session, selected: SelectedMailbox, context: Context, now: UidArray) -> None:
    """Tell what is new in the result, as far as the client knows the messages."""
    is_known = np.isin(now, selected.view.uids, assume_unique=True)
    if not is_known.all():
        # The others follow when they were told.
        context.counter = None
        now = now[is_known]
    places = np.flatnonzero(~np.isin(now, context.uids, assume_unique=True))
    await _tell(session, selected, context, b"ADDTO", places, now[places])
    context.uids = now


async def _tell(
    session: Session,
    selected: SelectedMailbox,
    context: Context,
    what: bytes,
    places: NDArray[np.intp],
    uids: UidArray,
) -> None:
    numbers: NDArray[np.integer] = uids
    if not context.by_uid:
        told = selected.view.uids
        is_told = np.isin(uids, told)
        places, uids = places[is_told], uids[is_told]
        numbers = np.searchsorted(told, uids) + 1
    if len(numbers):
        placed: Placed = None if context.criteria is None else places + 1

        def encode() -> bytes:
            ordered = np.sort(numbers) if placed is None else numbers
            return encode_change(context.tag, what, placed, ordered, by_uid=context.by_uid)

        session.write(encode() if len(numbers) <= FEW else await session.in_thread(encode))


def out_of_order(old: Sequence[int], new: Sequence[int]) -> list[int]:
    """The fewest members that must move to make one order of the other."""
    place = {uid: number for number, uid in enumerate(new)}
    # The longest ascending subsequence stays: ends holds, by length, the lowest last place of one.
    ends: list[int] = []
    lengths: list[int] = []
    for uid in old:
        length = bisect_left(ends, place[uid])
        ends[length : length + 1] = [place[uid]]
        lengths.append(length)
    wanted, limit = len(ends) - 1, len(new)
    moved: list[int] = []
    for uid, length in zip(reversed(old), reversed(lengths), strict=True):
        if length == wanted and place[uid] < limit:
            wanted, limit = wanted - 1, place[uid]
        else:
            moved.append(uid)
    return moved
