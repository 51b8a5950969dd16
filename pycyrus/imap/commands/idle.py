"""IDLE."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycyrus.imap.replies import Bad

if TYPE_CHECKING:
    from pycyrus.imap.session import Session


async def idle(session: Session, arguments: None) -> None:
    """
    Tell what changes as it changes, until the client sends C{DONE} (RFC 9051 section 6.3.13).

    @raise Bad: It sent something else.
    """
    session.write(b"+ idling\r\n")
    stop = session.selected.mailbox.watch(session.wake) if session.selected is not None else None
    session.is_idling = True
    try:
        line = None
        while line is None:
            while await session.telling.tell_all(True):
                await session.drain()
            if session.telling.notices is not None:
                await session.telling.tell_notices()
            await session.drain()
            line = await session.read_line_or_wake()
    finally:
        session.is_idling = False
        if stop is not None:
            stop()
    if line.strip().upper() != b"DONE":
        raise Bad(b"Invalid Idle continuation")
