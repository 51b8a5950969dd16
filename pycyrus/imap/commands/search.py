"""SEARCH and UID SEARCH."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pycyrus.imap.commands.condstore import use_condstore
from pycyrus.imap.replies import No
from pycyrus.imap.selected import IMAP4REV2
from pycyrus.imap.wire.esearch import Result, encode_esearch, encode_search
from pycyrus.imap.wire.search import Return
from pycyrus.model.acl import READ
from pycyrus.model.search import And, MessageNumbers, Not, Or, Recent, SavedResult, SearchKey, UidSet
from pycyrus.model.uids import Positions, SequenceSet, number_ranges

if TYPE_CHECKING:
    from pycyrus.imap.selected import SelectedMailbox
    from pycyrus.imap.session import Session
    from pycyrus.imap.wire.search import Search

BAD_CHARSET = b"BADCHARSET (US-ASCII UTF-8)"


async def search(session: Session, command: Search) -> None:
    """
    Find messages (RFC 9051 section 6.4.4).

    @raise No: The charset is unknown.
    @raise LimitExceeded: It would cost too much.
    """
    assert session.selected is not None
    selected = session.selected
    returns = command.returns
    saves = returns is not None and Return.SAVE in returns
    try:
        selected.demand(READ)
        if command.key is None:
            raise No(b"Unrecognized character set", BAD_CHARSET)
        if command.uses_modseq:
            use_condstore(session)
        key = with_uids(command.key, selected)
        found = selected.positions_of_uids(await selected.mailbox.search(key))
    except Exception:
        if saves:
            # RFC 5182 section 2.1: a search that fails leaves nothing saved.
            selected.save()
        raise
    if returns is None and IMAP4REV2 in session.enabled:
        returns = frozenset((Return.ALL,))
    told = found if returns is None or returns & {Return.ALL, Return.COUNT} else _ends(found, returns)
    modseq = None
    if command.uses_modseq and len(told):
        modseq = int(selected.live_flags(told).modseqs.max())
    uids = selected.view.uids[found]
    numbers: NDArray[np.integer] = uids if command.by_uid else found + 1
    if returns is None:
        for piece in encode_search(Result(numbers, modseq)):
            session.write(piece)
            await session.drain()
        return
    if saves:
        selected.save(uids if told is found else selected.view.uids[told])
    if returns != {Return.SAVE}:
        # RFC 5182 section 2: SAVE alone is answered by the tagged OK only.
        session.write(encode_esearch(session.tag, Result(numbers, modseq), returns, by_uid=command.by_uid))
        await session.drain()


def _ends(found: Positions, returns: frozenset[Return]) -> Positions:
    """What MIN and MAX alone tell (RFC 4731 section 3.2), and save (RFC 5182 section 2.4); all, for SAVE alone."""
    if not returns & {Return.MIN, Return.MAX} or not len(found):
        return found
    ends = ([0] if Return.MIN in returns else []) + ([-1] if Return.MAX in returns else [])
    return np.unique(found[ends])


def with_uids(key: SearchKey, selected: SelectedMailbox) -> SearchKey:
    r"""
    Say by UIDs what only the session knows: message numbers, C{$}, C{\Recent}, and C{*}.

    @raise Bad: A message number that the client was not told of.
    """
    if isinstance(key, MessageNumbers):
        return UidSet(selected.uid_bounds(key.numbers, by_uid=False))
    if isinstance(key, UidSet):
        return UidSet(selected.uid_bounds(key.uids, by_uid=True))
    if isinstance(key, SavedResult):
        return UidSet(SequenceSet(tuple(number_ranges(selected.saved))))
    if isinstance(key, Recent):
        return UidSet(SequenceSet(tuple(selected.recent_ranges())))
    if isinstance(key, And):
        return And(tuple(with_uids(each, selected) for each in key.keys))
    if isinstance(key, Or):
        return Or(with_uids(key.left, selected), with_uids(key.right, selected))
    if isinstance(key, Not):
        return Not(with_uids(key.key, selected))
    return key
