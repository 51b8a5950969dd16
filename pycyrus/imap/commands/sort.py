"""SORT, THREAD and their UID forms (RFC 5256)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pycyrus.imap.commands.search import answer_esearch, find, highest_modseq, keep_up
from pycyrus.imap.ordering import FEW, Orders
from pycyrus.imap.remembered_threads import encode_line, encode_threads
from pycyrus.imap.wire.search import Return

if TYPE_CHECKING:
    from pycyrus.imap.session import Session
    from pycyrus.imap.wire.sort import Sort, Thread

_BLOCK = 4096
"""Numbers written in one operation: about a millisecond's work."""

orders = Orders()
"""Of all sessions of this process: they have the same mailboxes."""


async def sort(session: Session, command: Sort) -> None:
    """
    Find messages, and tell them in order (RFC 5256 section 3, RFC 5267 section 3).

    @raise No: The charset is unknown.
    @raise LimitExceeded: It would cost too much.
    """
    assert session.selected is not None
    selected = session.selected
    found = await find(session, command.search)
    view = selected.view
    order = await orders.sort(selected.mailbox, view, found, command.criteria, session.pause, session.in_thread)
    numbers = view.uids[order] if command.search.by_uid else order + 1
    if command.search.returns is not None:
        await answer_esearch(session, command.search, order, numbers, is_sorted=True)
        if Return.UPDATE in command.search.returns:
            keep_up(session, command.search, view.uids[order], command.criteria)
        return
    key = (command.criteria, command.search.by_uid)
    # Mod-sequences change while messages stay.
    is_lasting = len(order) == len(view) and not _uses_modseq(command)
    line = orders.remembered(selected.mailbox, view, key) if is_lasting else None
    if line is None:
        line = _encode(numbers) if len(numbers) <= FEW else await session.in_thread(lambda: _encode(numbers))
        modseq = highest_modseq(selected, command.search, order)
        # RFC 7162 section 3.1.6
        line += b"\r\n" if modseq is None else b" (MODSEQ %d)\r\n" % modseq
        if is_lasting:
            orders.remember(selected.mailbox, view, key, line)
    session.write(line)
    await session.drain()


def _encode(numbers: NDArray[np.integer]) -> bytes:
    """Write C{* SORT} without its end."""
    return b"* SORT%b" % b"".join(
        b" " + str(numbers[start : start + _BLOCK].tolist())[1:-1].replace(",", "").encode()
        for start in range(0, len(numbers), _BLOCK)
    )


def _uses_modseq(command: Sort) -> bool:
    return command.search.uses_modseq or not all(criterion.key.is_lasting for criterion in command.criteria)


async def thread(session: Session, command: Thread) -> None:
    """
    Find messages, and tell them in threads (RFC 5256 section 3).

    @raise No: The charset is unknown.
    @raise LimitExceeded: It would cost too much.
    """
    assert session.selected is not None
    selected = session.selected
    found = await find(session, command.search)
    mailbox, view, by_uid = selected.mailbox, selected.view, command.search.by_uid
    pause, in_thread = session.pause, session.in_thread
    if len(found) == len(view):
        line = await orders.thread_all(mailbox, view, command.algorithm, pause, in_thread, by_uid=by_uid)
    else:
        roots = await orders.thread(mailbox, view, found, command.algorithm, pause, in_thread)
        numbers = view.uids if by_uid else np.arange(1, len(view) + 1)
        line = await in_thread(lambda: encode_line(b"".join(encode_threads(roots, numbers.tolist()))))
    session.write(line)
    await session.drain()
