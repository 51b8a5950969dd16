"""ESEARCH on a frontend: each server searches the mailboxes that it has (RFC 7377)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pycyrus.errors import StoreUnavailable
from pycyrus.imap.commands.multisearch import esearch
from pycyrus.imap.commands.search import demand_charset
from pycyrus.imap.replies import Bad, No
from pycyrus.imap.scopes import mailboxes_of
from pycyrus.imap.wire.grammar import BadSyntax, Cursor, astring
from pycyrus.imap.wire.mailbox_filters import MAX_MAILBOXES, MailboxFilter, Where, parse_filter
from pycyrus.imap.wire.multisearch import MultiSearch, parse_multisearch
from pycyrus.interfaces import LocationState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pycyrus.imap.wire.frames import Frame, Literal
    from pycyrus.murder.imap.routes import SessionRoutes

_SELECTED = MailboxFilter(Where.SELECTED)


async def search_everywhere(routes: SessionRoutes, frame: Frame) -> bytes | None:
    """
    Have all servers search that have one of the mailboxes.

    @return: The tagged line; None if it is this server's affair alone.
    @raise No: A server cannot.
    @raise StoreUnavailable: One is away; the others have searched.
    """
    session = routes.session
    try:
        command = parse_multisearch(Cursor(frame.args, utf8=session.is_utf8))
    except BadSyntax:
        return None
    if not command.is_elsewhere:
        return await routes.pass_selected(frame)
    selected_server = None if routes.link is None else routes.link.server
    if command.is_in_selected and selected_server is None and session.selected is None:
        raise Bad(b"Please select a mailbox first")
    demand_charset(session, command.search)
    servers = await _by_server(routes, command)
    if command.is_in_selected:
        servers.setdefault(selected_server or "", [])
    rest = _behind_sources(frame, utf8=session.is_utf8)
    trouble: Exception | None = None
    for server, wires in servers.items():
        is_in_selected = command.is_in_selected and server == (selected_server or "")
        try:
            if server:
                await _search_at(routes, server, frame, [_sources(wires, is_in_selected), *rest])
            else:
                mailboxes = MailboxFilter(Where.MAILBOXES, tuple(wires))
                filters = (_SELECTED, mailboxes) if is_in_selected else (mailboxes,)
                await esearch(session, replace(command, filters=filters))
        except (StoreUnavailable, No) as error:
            trouble = trouble or error
        await session.drain()
    if trouble is not None:
        raise trouble
    return b"%b OK Completed\r\n" % frame.tag


async def _by_server(routes: SessionRoutes, command: MultiSearch) -> dict[str, list[bytes]]:
    """The names of the mailboxes that are to be searched, as the client knows them, by their server."""
    session = routes.session
    servers: dict[str, list[bytes]] = {}
    for name in await mailboxes_of(session, command.filters):
        location = await routes.find(name)
        if location is not None and location.state is LocationState.ACTIVE:
            servers.setdefault(location.server, []).append(session.names.encode(name, utf8=session.is_utf8))
    return servers


async def _search_at(routes: SessionRoutes, server: str, frame: Frame, args: list[bytes | Literal]) -> None:
    line = await routes.pass_to(server, frame, args)
    status, _, text = line[len(frame.tag) + 1 :].rstrip(b"\r\n").partition(b" ")
    if status.upper() == b"BAD":
        # Servers that do not know the command, such as Cyrus's.
        raise No(b"Not all servers can search in several mailboxes", b"CANNOT")
    if status.upper() != b"OK":
        code = text[1 : text.find(b"]")] if text.startswith(b"[") else None
        raise No(text.partition(b"]")[2].strip() if code else text, code)


def _sources(wires: Sequence[bytes], is_in_selected: bool) -> bytes:
    filters = [b"selected"] if is_in_selected else []
    for begin in range(0, len(wires), MAX_MAILBOXES):
        names = b" ".join(astring(wire, utf8=True) for wire in wires[begin : begin + MAX_MAILBOXES])
        filters.append(b"mailboxes (%b)" % names)
    return b" IN (%b)" % b" ".join(filters)


def _behind_sources(frame: Frame, *, utf8: bool) -> list[bytes | Literal]:
    cursor = Cursor(frame.args, utf8=utf8)
    cursor.space()
    cursor.expect(b"IN")
    cursor.space()
    cursor.paren_list(parse_filter)
    return cursor.remaining()
