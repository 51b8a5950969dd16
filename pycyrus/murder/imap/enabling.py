"""ENABLE on a frontend: what a client switched on here is switched on at a server before it is used."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pycyrus.errors import StoreUnavailable
from pycyrus.imap.commands.enable import enable, parse_enable
from pycyrus.imap.replies import No
from pycyrus.imap.wire.grammar import BadSyntax, Cursor

if TYPE_CHECKING:
    from collections.abc import Collection

    from pycyrus.imap.session import Session
    from pycyrus.imap.wire.frames import Frame
    from pycyrus.murder.imap.routes import SessionRoutes
    from pycyrus.murder.servers.imap_link import ImapLink

_THERE = (b"CONDSTORE", b"QRESYNC", b"IMAP4REV2", b"UTF8=ACCEPT", b"UIDONLY")
_TOLD = re.compile(rb"^\* ENABLED[^\r\n]*\r\n", re.IGNORECASE | re.MULTILINE)


async def switch_on(session: Session, link: ImapLink, *, is_selected: bool) -> None:
    """
    Have a server tell what the client enabled here (RFC 9051 section 6.3.1).

    @param is_selected: The client's selected mailbox is there: what is told of it meanwhile is for the client.
    @raise No: The server could only break what the client was promised.
    @raise StoreUnavailable: The connection went.
    """
    if is_selected:
        _check(session.enabled, link)
    wanted = [word for word in _THERE if word in session.enabled and word not in link.enabled]
    if not wanted or b"ENABLE" not in link.capabilities:
        return
    link.enabled.update(wanted)
    untagged, _, _ = await link.ask(b"ENABLE " + b" ".join(wanted))
    if is_selected:
        session.write(_TOLD.sub(b"", untagged))


def _check(enabled: Collection[bytes], link: ImapLink) -> None:
    """@raise No: The server would tell message numbers, which the client must not be told (RFC 9586 section 3)."""
    if b"UIDONLY" in enabled and b"UIDONLY" not in link.capabilities:
        raise No(b"The server of the mailbox cannot do without message numbers", b"CANNOT")


async def enable_everywhere(routes: SessionRoutes, frame: Frame) -> bytes | None:
    """
    Switch extensions on, at the server of the selected mailbox at once, as a client is told where it stands
    (RFC 7162 section 3.1).

    @return: The tagged line; None if it is this server's affair alone.
    @raise No: That server cannot do without which nothing would be right.
    """
    link = routes.link
    if link is None:
        return None
    try:
        names = parse_enable(Cursor(frame.args))
    except BadSyntax:
        return None
    _check(names, link)
    await enable(routes.session, names)
    try:
        await routes.switch_on(link)
    except StoreUnavailable as error:
        # It is enabled; the next command is told what became of the mailbox.
        routes.log.info("nothing is enabled at a server: {error}", error=str(error))
        routes.lose(link)
    return b"%b OK Completed\r\n" % frame.tag
