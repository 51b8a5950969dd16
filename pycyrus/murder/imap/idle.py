"""IDLE on a frontend: what the server of the selected mailbox tells is passed on as it comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycyrus.errors import StoreUnavailable

if TYPE_CHECKING:
    from pycyrus.imap.session import Session
    from pycyrus.imap.wire.frames import Frame
    from pycyrus.murder.imap.routes import SessionRoutes
    from pycyrus.murder.servers.imap_link import ImapLink


async def idle_anywhere(routes: SessionRoutes, frame: Frame) -> bytes | None:
    """
    Idle where the selected mailbox is until the client ends it (RFC 9051 section 6.3.13).

    @return: The tagged line; None if this server does it.
    @raise StoreUnavailable: The connection went.
    """
    link = routes.link
    if link is None or b"IDLE" not in link.capabilities:
        return None
    link.check()
    try:
        return await _idle_at(routes.session, link, frame)
    except StoreUnavailable:
        routes.lose(link)
        raise


async def _idle_at(session: Session, link: ImapLink, frame: Frame) -> bytes:
    link.send(b"%b IDLE\r\n" % frame.tag)
    link.listener = session.wake
    session.is_idling = True
    has_begun = False
    line = None
    try:
        while line is None:
            data, line = link.take_news(frame.tag)
            if data:
                has_begun = has_begun or data.startswith(b"+") or b"\n+" in data
                session.write(data)
                await session.drain()
            if session.telling.notices is not None:
                await session.telling.tell_notices()
            if line is None and (said := await session.read_line_or_wake()) is not None:
                if not has_begun:
                    # Cyrus does not notice what came before it begins.
                    line = await _begun(session, link, frame)
                if line is None:
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


async def _begun(session: Session, link: ImapLink, frame: Frame) -> bytes | None:
    """Wait until the server idles; @return: The tagged line if it will not."""
    line = await link.go_ahead(frame.tag, session)
    if line is None:
        session.write(b"+ idling\r\n")
    return line
