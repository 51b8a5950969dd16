"""SEARCH and UID SEARCH."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pycyrus.imap.commands.condstore import use_condstore
from pycyrus.imap.contexts import MAX_CONTEXTS, Context, frozen, with_uids
from pycyrus.imap.message_limit import Taken
from pycyrus.imap.pace import Pace
from pycyrus.imap.replies import Bad, No
from pycyrus.imap.selection import IMAP4REV2
from pycyrus.imap.wire.esearch import Result, encode_esearch, encode_search
from pycyrus.imap.wire.grammar import quoted
from pycyrus.imap.wire.search import Return
from pycyrus.model.acl import READ
from pycyrus.model.search import All
from pycyrus.model.uids import Positions, UidArray

if TYPE_CHECKING:
    from pycyrus.imap.selected import SelectedMailbox
    from pycyrus.imap.session import Session
    from pycyrus.imap.wire.esearch import Source
    from pycyrus.imap.wire.search import Search
    from pycyrus.model.sorting import SortCriterion

FEW = 4096
"""Numbers that are written on the reactor thread: that takes a millisecond."""

BAD_CHARSET = b"BADCHARSET (US-ASCII UTF-8)"


async def search(session: Session, command: Search) -> bytes | None:
    """
    Find messages (RFC 9051 section 6.4.4).

    @raise No: The charset is unknown.
    @raise LimitExceeded: It would cost too much.
    """
    assert session.selected is not None
    selected = session.selected
    taken = Taken(session, selected, await find(session, command))
    # What tells no list of messages tells of all of them.
    is_listed = command.returns is None or Return.ALL in command.returns
    found = taken.positions if is_listed else taken.all_positions
    uids = selected.view.uids[found]
    numbers: NDArray[np.integer] = uids if command.by_uid else found + 1
    if command.returns is None and IMAP4REV2 not in session.enabled:
        pace = Pace(session)
        for piece in encode_search(Result(numbers, highest_modseq(selected, command, found))):
            session.write(piece)
            await session.drain()
            await pace.breathe()
    else:
        await answer_esearch(session, command, found, numbers)
    if Return.UPDATE in (command.returns or ()):
        keep_up(session, command, uids)
    return taken.reply() if is_listed else None


def keep_up(
    session: Session, command: Search, uids: UidArray, criteria: tuple[SortCriterion, ...] | None = None
) -> None:
    """
    Keep a result up to date from now on, or tell that there are too many (RFC 5267 section 4.3).

    @param uids: The result, in its order.
    @param criteria: Of that order; None for a SEARCH.
    """
    assert session.selected is not None
    assert command.key is not None
    contexts = session.selected.contexts
    if len(contexts) >= MAX_CONTEXTS and session.tag not in contexts:
        session.write(b"* NO [NOUPDATE %b] Too many contexts\r\n" % quoted(session.tag))
        return
    key = frozen(command.key, session.selected)
    contexts[session.tag] = Context(
        session.tag, command.by_uid, key, criteria, uids, items=command.update_items, last=session.selected.last_uid
    )


async def find(session: Session, command: Search) -> Positions:
    """
    Find the messages of a SEARCH, SORT or THREAD.

    @return: Ascending positions in the told view.
    @raise No: The charset is unknown.
    @raise LimitExceeded: It would cost too much.
    """
    assert session.selected is not None
    selected = session.selected
    try:
        selected.demand(READ)
        demand_charset(session, command)
        if command.key is None:
            raise No(b"Unrecognized character set", BAD_CHARSET)
        if command.uses_modseq:
            use_condstore(session)
        if isinstance(command.key, All):
            selected.mailbox.refresh()
            if selected.mailbox.view() is selected.view:
                return np.arange(len(selected.view))
        key = with_uids(command.key, selected)
        return selected.positions_of_uids(await selected.mailbox.search(key, progress=Progress(session)))
    except Exception:
        if command.returns is not None and Return.SAVE in command.returns:
            # RFC 5182 section 2.1: a search that fails leaves nothing saved.
            selected.save()
        raise


def demand_charset(session: Session, command: Search) -> None:
    """
    Refuse a charset where strings are UTF-8 already (RFC 9755 section 3); RFC 9051 has no such rule.

    @raise Bad: There is one.
    """
    if command.contradicts_utf8 and b"UTF8=ACCEPT" in session.enabled:
        raise Bad(b"Strings are UTF-8 once UTF8=ACCEPT is enabled")


class Progress:
    """Tells a client that waits long how far its search is (RFC 9585 section 3)."""

    INTERVAL = 5.0
    """Seconds."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._told = session.clock.seconds()

    def __call__(self, done: int, total: int) -> None:
        """So much is done of so much."""
        now = self._session.clock.seconds()
        if now - self._told < self.INTERVAL:
            return
        self._told = now
        tag = quoted(self._session.tag)
        self._session.write(b"* OK [INPROGRESS (%b %d %d)] Searching\r\n" % (tag, min(done, total), total))
        self._session.flush()


async def answer_esearch(
    session: Session,
    command: Search,
    found: Positions,
    numbers: NDArray[np.integer],
    *,
    is_sorted: bool = False,
    source: Source | None = None,
) -> None:
    """
    Answer by an ESEARCH response (RFC 4731 section 3.1), and save what is to be saved.

    @param found: Positions in the told view.
    @param numbers: What the client calls them.
    @param is_sorted: They are in an order of their own (RFC 5267 section 3).
    @param source: Where they were found, for a search in several mailboxes.
    """
    assert session.selected is not None
    selected = session.selected
    returns = command.returns or frozenset((Return.ALL,))
    part = None if command.partial is None else command.partial.slice_of(len(found))
    told = told_of(found, returns, part)
    if Return.SAVE in returns:
        selected.save(np.sort(selected.view.uids[told]))
    if returns != {Return.SAVE}:
        # RFC 5182 section 2: SAVE alone is answered by the tagged OK only.
        partial = None if part is None or command.partial is None else (command.partial.encode(), numbers[part])
        result = Result(numbers, highest_modseq(selected, command, told), is_sorted, partial, source)
        tag = session.tag

        def encode() -> bytes:
            return encode_esearch(tag, result, returns, by_uid=command.by_uid)

        session.write(encode() if len(numbers) <= FEW else await session.in_thread(encode))
        await session.drain()


def told_of(found: Positions, returns: frozenset[Return], part: slice | None) -> Positions:
    """What of a result the client gets to know."""
    if returns & {Return.ALL, Return.COUNT}:
        return found
    if part is None:
        return _ends(found, returns)
    ends = returns & {Return.MIN, Return.MAX}
    return np.union1d(found[part], _ends(found, ends)) if ends else found[part]


def highest_modseq(selected: SelectedMailbox, command: Search, told: Positions) -> int | None:
    """What to tell of mod-sequences (RFC 7162 section 3.1.5); None if nothing."""
    if not command.uses_modseq or not len(told):
        return None
    return int(selected.live_flags(told).modseqs.max())


def _ends(found: Positions, returns: frozenset[Return]) -> Positions:
    """What MIN and MAX alone tell (RFC 4731 section 3.2), and save (RFC 5182 section 2.4); all, for SAVE alone."""
    if not returns & {Return.MIN, Return.MAX} or not len(found):
        return found
    ends = ([0] if Return.MIN in returns else []) + ([-1] if Return.MAX in returns else [])
    return np.unique(found[ends])
