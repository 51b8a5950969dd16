"""
NOTIFY on a frontend: each server tells of the mailboxes that it has (RFC 5465).

A connection to each of them is there for nothing else; what it tells is passed on as it
comes, between commands and in IDLE.  Of the selected mailbox its own connection tells.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from twisted.logger import Logger
from typing_extensions import override

from pycyrus.errors import StoreUnavailable
from pycyrus.imap.notices import Notices, beginning
from pycyrus.imap.replies import No
from pycyrus.imap.scopes import mailboxes_of
from pycyrus.imap.wire.grammar import BadSyntax, Cursor, astring
from pycyrus.imap.wire.mailbox_filters import Where
from pycyrus.imap.wire.notify import OF_SELECTED, EventGroup, Notify, parse_notify

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pycyrus.imap.wire.frames import Frame
    from pycyrus.model.mailbox_name import MailboxName
    from pycyrus.murder.imap.routes import SessionRoutes
    from pycyrus.murder.servers.imap_link import ImapLink

_OVERFLOWN = re.compile(rb"^\* OK \[NOTIFICATIONOVERFLOW\]", re.IGNORECASE | re.MULTILINE)
_STATUS = b"* STATUS "
_NO_TAG = b"-"
"""Of no command: all that comes is untagged."""
_SUBSCRIBED = re.compile(rb"\(subscribed(?= )", re.IGNORECASE)
_PART = re.compile(rb'"(?:[^"\\]|\\.)*+"|[()]|[^"()]++')


class MurderNotices(Notices):
    """
    What one session is told of mailboxes of all servers.

    This server's own are watched as on any server.
    """

    log = Logger()

    def __init__(self, routes: SessionRoutes, groups: Sequence[EventGroup], texts: Sequence[bytes]) -> None:
        """@param texts: The groups, as they are sent to other servers."""
        has_own = routes.routes.settings.has_own
        super().__init__(routes.session, [each for each in groups if has_own or each.where.where in OF_SELECTED])
        self._routes = routes
        self._groups = groups
        self._texts = texts
        self._links: list[ImapLink] = []
        self._watched_link: ImapLink | None = None

    # --- beginning ------------------------------------------------------

    async def begin_everywhere(self, *, wants_status: bool) -> None:
        """
        Have all servers tell.

        @raise No: One of them cannot.
        @raise StoreUnavailable: One of them is away.
        @raise TooMany: The client asks for more mailboxes than can be watched.
        """
        await self.begin()
        if wants_status:
            await self.tell_status()
        head = b"NOTIFY SET STATUS " if wants_status else b"NOTIFY SET "
        servers = await self._servers()
        for server in servers:
            texts = await self._texts_for(server)
            if texts:
                await self._ask(server, head + b" ".join(texts))
        link = self._routes.link
        if link is not None:
            await self.watch_selected(link)

    async def _servers(self) -> set[str]:
        """Those that have a mailbox of which there is something to tell."""
        routes = self._routes
        others = [group.where for group in self._groups if group.where.where not in OF_SELECTED and group.events]
        servers = {await routes.home()} if others else set()
        for name in await mailboxes_of(routes.session, others):
            location = await routes.find(name)
            if location is not None:
                servers.add(location.server)
        return servers - {""}

    async def _texts_for(self, server: str) -> list[bytes]:
        """The groups as one server is asked; only the INBOX's knows what is subscribed to."""
        routes = self._routes
        session = routes.session
        texts = []
        for group, text in zip(self._groups, self._texts, strict=True):
            if group.where.where in OF_SELECTED:
                continue
            if group.where.where is Where.SUBSCRIBED and server != await routes.home():
                found = [(name, await routes.find(name)) for name in await mailboxes_of(session, [group.where])]
                wires = [
                    astring(session.names.encode(name, utf8=session.is_utf8), utf8=True)
                    for name, location in found
                    if location is not None and location.server == server
                ]
                if not wires:
                    continue
                text = _SUBSCRIBED.sub(lambda _: b"(mailboxes (%b)" % b" ".join(wires), text, count=1)  # noqa: B023
            texts.append(text)
        return texts

    async def _ask(self, server: str, command: bytes) -> None:
        session = self._session
        link = await self._routes.routes.backends.link(server, session.user)
        # It goes on telling, and so is nobody else's.
        link.is_clean = False
        link.tells_unasked = True
        self._links.append(link)
        if b"NOTIFY" not in link.capabilities:
            raise No(b"Not all servers can tell of these events", b"CANNOT")
        await self._routes.switch_on(link)
        untagged, status, text = await link.ask(command)
        session.write(self._without_selected(untagged))
        if status != b"OK":
            code = text[1 : text.find(b"]")] if text.startswith(b"[") else None
            raise No(text.partition(b"]")[2].strip() if code else text, code)
        link.listener = session.telling.notice

    async def watch_selected(self, link: ImapLink) -> None:
        """
        Have the server of the selected mailbox tell of it, from when it opens that: what SELECT tells is as of then.

        @raise StoreUnavailable: It cannot be asked.
        """
        text = next(
            (text for group, text in zip(self._groups, self._texts, strict=True) if group.where.where in OF_SELECTED),
            None,
        )
        if text is None or b"NOTIFY" not in link.capabilities or link is self._watched_link:
            return
        self._watched_link = link
        link.is_clean = False
        untagged, _, _ = await link.ask(b"NOTIFY SET " + text)
        self._session.write(untagged)
        link.listener = self._session.telling.notice

    @override
    def close(self) -> None:
        """Tell no more."""
        super().close()
        for link in self._links:
            link.listener = None
            link.log_out()
        self._links.clear()

    # --- telling --------------------------------------------------------

    @override
    async def tell(self) -> None:
        """Pass on what servers told."""
        await super().tell()
        session = self._session
        try:
            for link in self._links:
                if _OVERFLOWN.search(self._pass_on(link, is_others=True)):
                    # One of them ends it for all: the client looks for itself, and asks again.
                    session.telling.begin(None)
                    return
                await session.drain()
        except StoreUnavailable as error:
            self.log.info("no notices for {session}: {error}", session=session.session_id, error=str(error))
            self._overflow(b"A server cannot be asked any more")

    @override
    async def tell_selected(self) -> None:
        """Pass on what is told of the selected mailbox; in IDLE that comes by itself."""
        link = self._routes.link
        if link is None:
            await super().tell_selected()
        elif not self._session.is_idling and link.listener is not None:
            try:
                self._pass_on(link)
            except StoreUnavailable as error:
                # The next command is told so.
                self.log.info("no notices for {session}: {error}", session=self._session.session_id, error=str(error))

    def _pass_on(self, link: ImapLink, *, is_others: bool = False) -> bytes:
        """
        @param is_others: That server does not know what is selected.
        @return: What was passed on.
        """
        told, (data, _) = b"", link.take_news(_NO_TAG)
        while data:
            told += data
            self._session.write(self._without_selected(data) if is_others else data)
            data, _ = link.take_news(_NO_TAG) if link.lost_reason is None else (b"", None)
        if not link.is_whole:
            link.abort("half a notice")
            self._session.abort()
        return told

    def _without_selected(self, told: bytes) -> bytes:
        """Of the selected mailbox nobody is told by STATUS (RFC 5465 section 6)."""
        selected = self._routes.selected_mailbox
        if selected is None or _STATUS not in told.upper():
            return told
        return b"".join(line for line in told.splitlines(keepends=True) if not self._is_status_of(line, selected))

    def _is_status_of(self, line: bytes, selected: MailboxName) -> bool:
        if line[: len(_STATUS)].upper() != _STATUS:
            return False
        try:
            return self._routes.decode(Cursor([line[len(_STATUS) :]], utf8=True).astring()) == selected
        except BadSyntax:
            # A name as a literal, which no server of ours sends.
            return False


async def notify_everywhere(routes: SessionRoutes, frame: Frame) -> bytes | None:
    """
    Have all servers tell from now on what the client asks for (RFC 5465 section 3).

    @return: The tagged line; None if it is this server's affair.
    @raise No: A server cannot, and nothing changes.
    @raise StoreUnavailable: One is away; likewise.
    """
    session = routes.session
    try:
        command = parse_notify(Cursor(frame.args, utf8=session.is_utf8))
    except BadSyntax:
        return None
    if command.unknown:
        return None
    was_selected = session.telling.notices is not None and session.telling.notices.selected_group is not None
    if not command.groups:
        if routes.link is not None and was_selected:
            routes.link.listener = None
            await routes.link.ask(b"NOTIFY NONE")
        return None
    notices = MurderNotices(routes, command.groups, _texts(frame, command))
    with beginning(notices):
        await notices.begin_everywhere(wants_status=command.wants_status)
    if routes.link is not None and was_selected and notices.selected_group is None:
        routes.link.listener = None
        await routes.link.ask(b"NOTIFY NONE")
    session.telling.begin(notices)
    return b"%b OK Completed\r\n" % frame.tag


def _texts(frame: Frame, command: Notify) -> list[bytes]:
    """The groups of a command, each as it stands there."""
    text = b"".join(piece if isinstance(piece, bytes) else astring(piece.data, utf8=True) for piece in frame.args)
    texts: list[bytes] = []
    depth = begin = 0
    for part in _PART.finditer(text):
        if part[0] == b"(":
            begin = part.start() if not depth else begin
            depth += 1
        elif part[0] == b")":
            depth -= 1
            if not depth:
                texts.append(text[begin : part.end()])
    if len(texts) != len(command.groups):
        raise No(b"Not understood", b"CANNOT")
    return texts
