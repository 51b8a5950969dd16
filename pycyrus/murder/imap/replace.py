"""REPLACE into a mailbox of another server than the selected one's."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from pycyrus.imap.replies import Bad, No
from pycyrus.imap.wire.frames import Literal
from pycyrus.imap.wire.grammar import BadSyntax, Cursor
from pycyrus.murder.imap.copy_sources import RemoteSource
from pycyrus.murder.imap.frames import is_ok

if TYPE_CHECKING:
    from pycyrus.imap.wire.frames import Frame
    from pycyrus.murder.imap.routes import SessionRoutes

_APPENDED = re.compile(rb"\[APPENDUID [0-9]+ [0-9]+\]", re.IGNORECASE)


async def replace_anywhere(routes: SessionRoutes, frame: Frame) -> bytes | None:
    """
    Put a message in the place of another, which goes when the new one is safe (RFC 8508 section 3.1).

    @return: The tagged line; None if it is this server's affair.
    @raise Bad: More than one message is meant.
    @raise No: There is none, or it may not go; nothing was changed.  Or it did not go, though the new one is there.
    @raise StoreUnavailable: A server went.
    """
    link = routes.link
    if link is None:
        return None
    cursor = Cursor(frame.args, utf8=routes.session.is_utf8)
    try:
        cursor.space()
        cursor.sequence_set_or_saved()
        cursor.space()
        wire = cursor.astring()
        message = cursor.remaining()
    except BadSyntax:
        return await routes.pass_selected(frame)
    location = await routes.locate(wire)
    if location is None or location.server == link.server or link.lost_reason is not None:
        return await routes.pass_selected(frame)
    if not location.server:
        raise No(b"Message cannot be replaced by one on another server", b"CANNOT")
    source = RemoteSource(routes.session, link, frame, routes.selected_wire)
    await source.check_may_remove()
    messages = await source.look_up()
    if len(messages) > 1:
        raise Bad(b"Only one message can be replaced")
    if not messages:
        raise No(b"No such message", b"EXPUNGEISSUED")
    appending = replace(frame, name=b"APPEND")
    name = Literal(wire, size=len(wire))
    line = await routes.pass_to(location.server, appending, [b" ", name, *message])
    if not is_ok(line):
        return line
    if (code := _APPENDED.search(line)) is not None:
        routes.session.write(b"* OK %b Replacement message ready\r\n" % code[0])
    await source.remove(messages)
    return b"%b OK Completed\r\n" % frame.tag
