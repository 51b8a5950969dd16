"""IDLE on a frontend: what the server of the selected mailbox tells is passed on as it comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycyrus.errors import StoreUnavailable

if TYPE_CHECKING:
    from pycyrus.imap.session import Session
    from pycyrus.imap.wire.frames import Frame
    from pycyrus.murder.servers.imap_link import ImapLink


async def idle_at(session: Session, link: ImapLink, frame: Frame) -> bytes:
    """
    Idle there until the client ends it (RFC 9051 section 6.3.13).

    @return: The tagged line.
    @raise StoreUnavailable: The connection went.
    """
    link.send(b"%b IDLE\r\n" % frame.tag)
    link.listener = session.wake
    session.is_idling = True
    line = None
    try:
        while line is None:
            data, line = link.take_news(frame.tag)
            if data:
                session.write(data)
                await session.drain()
            if session.telling.notices is not None:
                await session.telling.tell_notices()
            if line is None and (said := await session.read_line_or_wake()) is not None:
                link.send(said + b"\r\n")
                line = await link.relay(frame.tag, session)
    except StoreUnavailable:
        raise
    except BaseException:
        link.abort("broken off")
        raise
    finally:
        session.is_idling = False
        link.listener = None if session.telling.notices is None else session.telling.notice
    return line
