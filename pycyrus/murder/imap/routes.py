"""
Where each IMAP command of a frontend goes.

What the frontend knows itself it answers.  A command about one mailbox goes, as the client
wrote it, to the server that has the mailbox; while a mailbox of another server is selected,
so does every command about the selected mailbox, and what that server answers comes back
octet for octet.  So the client gets the backend's semantics, whole, with no second
implementation of them here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from twisted.logger import Logger

from pycyrus.errors import InvalidMailboxName, MessageTooLarge, StoreUnavailable
from pycyrus.imap.commands.command import Command, State
from pycyrus.imap.commands.select import deselect
from pycyrus.imap.replies import Bye, No
from pycyrus.imap.wire.frames import Announced, Frame, Literal, Staged
from pycyrus.imap.wire.grammar import BadSyntax, Cursor
from pycyrus.interfaces import IMailboxDirectory, Location, LocationState
from pycyrus.model.mailbox_name import MailboxName, inbox_of
from pycyrus.model.view import LARGEST_MESSAGE
from pycyrus.murder.imap.copy import LocalSource, RemoteSource, copy_across
from pycyrus.murder.imap.create import ServerChoice, creation
from pycyrus.murder.imap.enabling import enable_everywhere, switch_on
from pycyrus.murder.imap.frames import first_name, has_word, is_ok, pass_on
from pycyrus.murder.imap.idle import idle_anywhere
from pycyrus.murder.imap.moved import goodbye
from pycyrus.murder.imap.multisearch import search_everywhere
from pycyrus.murder.imap.notices import MurderNotices, notify_everywhere
from pycyrus.murder.imap.referral import RouteSettings, refer
from pycyrus.murder.imap.rename import check_renaming
from pycyrus.murder.imap.replace import replace_anywhere
from pycyrus.murder.imap.store import SessionStore
from pycyrus.murder.imap.visibility import unless_hidden
from pycyrus.murder.servers.backends import Backends
from pycyrus.murder.servers.imap_link import ImapLink
from pycyrus.murder.spool import Spool

if TYPE_CHECKING:
    from pycyrus.imap.session import Session

UNAVAILABLE = No(b"Server(s) unavailable to complete operation", b"UNAVAILABLE")
_SILENCE = 300.0
"""Seconds for which a backend may think about a command of a client."""
_SHARED_STATE = (b"MODSEQ", b"CONDSTORE", b"QRESYNC", b"CHANGEDSINCE", b"UNCHANGEDSINCE", b"VANISHED")
"""Words that change what a server tells from then on (RFC 7162 section 3.1)."""


class ImapRoutes:
    """
    The routes that all sessions of a service share.

    @ivar catch_up: Has this server learn of what was just changed elsewhere.
    """

    def __init__(
        self,
        directory: IMailboxDirectory,
        backends: Backends,
        choice: ServerChoice,
        settings: RouteSettings,
        catch_up: Callable[[], Awaitable[None]],
        deleted_prefix: str,
    ) -> None:
        self.directory = directory
        self.backends = backends
        self.choice = choice
        self.settings = settings
        self.catch_up = catch_up
        self.deleted_prefix = deleted_prefix

    def visit(self, session: Session) -> SessionRoutes:
        """The routes of one session."""
        return SessionRoutes(self, session)


class SessionRoutes:
    """
    The routes of one session.

    @ivar link: Where the selected mailbox is, if it is elsewhere.
    """

    log = Logger()

    def __init__(self, routes: ImapRoutes, session: Session) -> None:
        self.routes = routes
        self.session = session
        self.link: ImapLink | None = None
        self._is_referred = False
        self._is_lost = False
        self._selected_name = b""
        self._store = SessionStore(session, self)
        session.store = self._store  # type: ignore[assignment] # all that it lacks it takes from the local one

    # --- for the session --------------------------------------------------------------

    @property
    def has_selected(self) -> bool:
        """Whether a mailbox of another server is selected."""
        return self.link is not None

    @property
    def selected_wire(self) -> bytes:
        """Its name, as the client wrote it."""
        return self._selected_name

    @property
    def selected_mailbox(self) -> MailboxName | None:
        """What is selected of another server."""
        return None if self.link is None else self.decode(self._selected_name)

    async def execute(self, row: Command, frame: Frame) -> bytes | None:
        """
        Have another server do a command.

        @return: The tagged line; None if the command is this server's.
        @raise No: That server cannot be asked.
        @raise Bye: The selected mailbox is on another server by now, or nowhere: who goes on with it would be told so
            for ever.
        """
        route = _ROUTES.get(frame.name)
        if route is None:
            is_for_selected = self.link is not None and not row.states & State.AUTHENTICATED
            route = SessionRoutes.pass_selected if is_for_selected else None
        if route is None or self.session.identity is None:
            return None
        try:
            return await route(self, frame)
        except StoreUnavailable as error:
            self.log.warn("{command} of {session}: {error}", command=frame.name.decode("ascii", "replace"),
                          session=self.session.session_id, error=str(error))  # fmt: skip
            if (link := self.link) is not None and self._is_lost:
                text = await goodbye(self.routes, link, self.selected_mailbox)
                if text is not None:
                    raise Bye(text) from error
            raise UNAVAILABLE from error

    async def stage(self, announced: Announced) -> Staged | None:
        """
        Where a literal of APPEND goes if its mailbox is elsewhere.

        @raise MessageTooLarge: It is too large here.
        @raise StoreUnavailable: Nobody knows where the mailbox is.
        """
        if announced.frame.name in (b"APPEND", b"LOCALAPPEND"):
            location = await self.locate(first_name(announced.frame, utf8=self.session.is_utf8))
            if location is None or not location.server:
                return None
        elif self.link is None:
            return None
        if announced.size > (self.session.settings.max_message_size or LARGEST_MESSAGE):
            raise MessageTooLarge
        return Spool()

    def leave(self) -> None:
        """The user goes, or the client."""
        link, self.link = self.link, None
        self._is_referred = self._is_lost = False
        if link is None:
            return
        link.listener = None
        if self.session.tag and self.session.is_busy:
            link.abort("the client has gone")
        else:
            self.routes.backends.leave(link, self.session.user)

    # --- finding out --------------------------------------------------------------------

    def decode(self, wire: bytes) -> MailboxName | None:
        """A mailbox's name; None if it is none, which the local command will tell."""
        try:
            return self.session.names.decode(wire, utf8=self.session.is_utf8)
        except InvalidMailboxName:
            return None

    async def locate(self, wire: bytes | None) -> Location | None:
        """
        Where a mailbox is.

        @param wire: As the client wrote it.
        @return: None if it does not exist, or is hidden; without a server if it is here.
        @raise No: Somebody is about to create or move it.
        """
        name = self.decode(wire) if wire else None
        return None if name is None else await unless_hidden(self, name, await self.locate_name(name))

    async def locate_name(self, name: MailboxName) -> Location | None:
        """As L{locate}, also of what is hidden."""
        location = await self.find(name)
        if location is not None and location.state is LocationState.RESERVED:
            raise No(b"Mailbox is currently reserved", b"INUSE")
        return location

    async def find(self, name: MailboxName) -> Location | None:
        """
        As L{IMailboxDirectory.locate}.

        @raise StoreUnavailable: Or it is elsewhere, and a server passed the command on to us.
        """
        location = await self.routes.directory.locate(name)
        if location is not None and location.server:
            self.routes.backends.check_first(self.session.came_by, location.server)
        return location

    async def home(self) -> str:
        """The server of the user's INBOX; empty if that is here, or nowhere."""
        location = await self.find(inbox_of(self.session.user))
        return "" if location is None else location.server

    def _refer(self, frame: Frame, location: Location, wire: bytes) -> None:
        if self._is_referred:
            refer(self.routes.settings, self.session.user, frame.name, location.server, wire)

    # --- passing on -----------------------------------------------------------------------

    async def pass_to(self, server: str, frame: Frame, args: list[bytes | Literal] | None = None) -> bytes:
        """
        Have a server do a command that is about no selected mailbox.

        @raise StoreUnavailable: It cannot be asked, or the connection went meanwhile.
        """
        if self.link is not None and self.link.server == server and not self._is_lost:
            return await self._pass_selected(self.link, frame, args)
        async with self.routes.backends.borrowed(server, self.session.user) as link:
            try:
                await self.switch_on(link)
                self._note_state(link, frame)
                return await pass_on(link, frame, self.session, _SILENCE, args=args)
            except BaseException:
                self.break_off(link)
                raise

    def break_off(self, link: ImapLink) -> None:
        """The connection to a backend went: if in the middle of a response, the client's has to go, too."""
        if not link.is_whole:
            self.session.abort()

    def _note_state(self, link: ImapLink, frame: Frame) -> None:
        if has_word(frame, *_SHARED_STATE):
            link.is_clean = False

    async def switch_on(self, link: ImapLink) -> None:
        """Have a server tell what the client enabled here (RFC 9051 section 6.3.1)."""
        await switch_on(self.session, link, is_selected=link is self.link)

    def lose(self, link: ImapLink) -> None:
        """The connection to the server of the selected mailbox went: the client has to select it again."""
        self._is_lost = True
        self.break_off(link)

    async def _pass_selected(self, link: ImapLink, frame: Frame, args: list[bytes | Literal] | None = None) -> bytes:
        self._note_state(link, frame)
        try:
            await self.switch_on(link)
            return await pass_on(link, frame, self.session, _SILENCE, args=args)
        except StoreUnavailable:
            # The client may go on with other mailboxes; this one it has to select again.
            link.abort("broken off")
            self.lose(link)
            raise
        except BaseException:
            link.abort("broken off")
            self.lose(link)
            raise

    # --- routes -----------------------------------------------------------------------------

    async def pass_selected(self, frame: Frame) -> bytes | None:
        """A command about the selected mailbox, or any while one is selected."""
        link = self.link
        if link is None:
            return None
        if self._is_lost:
            if frame.name in (b"CLOSE", b"UNSELECT"):
                self._drop()
                return b"%b OK Completed\r\n" % frame.tag
            raise StoreUnavailable(f"{link.server}: {link.lost_reason}")
        line = await self._pass_selected(link, frame)
        if frame.name in (b"CLOSE", b"UNSELECT") and is_ok(line):
            self.link = None
            self.routes.backends.give_back(link, self.session.user)
        return line

    def _drop(self) -> None:
        """Leave the selected mailbox, where the server that has it need not be asked."""
        link, self.link = self.link, None
        self._is_lost = False
        if link is not None:
            self.routes.backends.leave(link, self.session.user)

    async def _select(self, frame: Frame) -> bytes | None:
        wire = first_name(frame, utf8=self.session.is_utf8)
        location = await self.locate(wire)
        if location is None or not location.server:
            self._close_selected()
            return None
        assert wire is not None
        self._refer(frame, location, wire)
        link = self.link
        if link is None or link.server != location.server or self._is_lost:
            self._close_selected()
            await deselect(self.session)
            link = await self.routes.backends.link(location.server, self.session.user)
        was_selected, self.link = self.link is link, link
        line = b""
        try:
            if isinstance(notices := self.session.telling.notices, MurderNotices):
                await notices.watch_selected(link)
            line = await self._pass_selected(link, frame)
        finally:
            # What was not understood has changed nothing; what was refused has (RFC 9051 section 6.3.2).
            if not is_ok(line) and not (was_selected and line[len(frame.tag) :].upper().startswith(b" BAD ")):
                self.link = None
                self._is_lost = False
                self.routes.backends.give_back(link, self.session.user)
        if is_ok(line):
            self._selected_name = wire
        return line

    def _close_selected(self) -> None:
        """Leave what is selected elsewhere for something else (RFC 9051 section 7.1)."""
        if self.link is not None:
            self._drop()
            self.session.write(b"* OK [CLOSED] Ok\r\n")

    async def _owner(self, frame: Frame) -> bytes | None:
        """A command about a mailbox: to the server that has it."""
        wire = first_name(frame, utf8=self.session.is_utf8)
        location = await self.locate(wire)
        if location is None or not location.server or wire is None:
            return None
        self._refer(frame, location, wire)
        return await self.pass_to(location.server, frame)

    async def _change(self, frame: Frame) -> bytes | None:
        """Likewise, and the directory will know something new."""
        line = await self._owner(frame)
        return await self._changed(line)

    async def _changed(self, line: bytes | None) -> bytes | None:
        if line is not None and is_ok(line):
            try:
                await self.routes.catch_up()
            except StoreUnavailable as error:
                # It is done; when the directory is there again this server learns of it.
                self.log.info("the directory cannot be asked for what changed: {error}", error=str(error))
        return line

    async def _create(self, frame: Frame) -> bytes | None:
        wire = first_name(frame, utf8=self.session.is_utf8)
        name = self.decode(wire) if wire else None
        if name is None:
            return None
        planned = await creation(self, frame, name)
        if planned is None:
            return None
        server, args = planned
        self._refer(frame, Location("", server, ""), wire or b"")
        return await self._changed(await self.pass_to(server, frame, args))

    async def _rename(self, frame: Frame) -> bytes | None:
        cursor = Cursor(frame.args, utf8=self.session.is_utf8)
        try:
            cursor.space()
            wire = cursor.astring()
            cursor.space()
            new = self.decode(cursor.astring())
        except BadSyntax:
            return None
        location = await self.locate(wire)
        old = self.decode(wire)
        if location is None or not location.server or old is None:
            return None
        self._refer(frame, location, wire)
        if new is not None:
            await check_renaming(self, old, location, new)
        return await self._changed(await self.pass_to(location.server, frame))

    async def _metadata(self, frame: Frame) -> bytes | None:
        cursor = Cursor(frame.args, utf8=self.session.is_utf8)
        try:
            cursor.space()
            if cursor.peek() == 0x28:
                # GETMETADATA's options (RFC 5464 section 4.2).
                cursor.paren_list(Cursor.astring)
                cursor.space()
            wire = cursor.astring()
        except BadSyntax:
            return None
        location = await self.locate(wire)
        if location is None or not location.server:
            return None
        return await self.pass_to(location.server, frame)

    async def _subscribe(self, frame: Frame) -> bytes | None:
        """
        To where the user's subscriptions are, which does not know what others have.

        @raise MailboxNotFound: There is nothing to subscribe to.
        """
        wire = first_name(frame, utf8=self.session.is_utf8)
        name = self.decode(wire) if wire else None
        if name is not None:
            await self._store.check_visible(self.session.user, name)
        return await self._home(frame)

    async def _home(self, frame: Frame) -> bytes | None:
        """To where the user's subscriptions are."""
        server = await self.home()
        return await self.pass_to(server, frame) if server else None

    async def _list(self, frame: Frame) -> None:
        """Answered here; only what the directory does not know is asked."""
        if frame.name in (b"RLIST", b"RLSUB") or has_word(frame, b"REMOTE"):
            self._is_referred = True
        # What was subscribed to is told with its special use, as the backend would itself.
        self._store.wants_uses = frame.name in _WITH_USES or has_word(
            frame, b"SPECIAL-USE", b"SUBSCRIBED", b"STATUS", b"METADATA"
        )

    async def _copy(self, frame: Frame) -> bytes | None:
        """COPY and MOVE: within a server as they are, and message by message to another."""
        cursor = Cursor(frame.args, utf8=self.session.is_utf8)
        try:
            cursor.space()
            sequence = cursor.sequence_set_or_saved()
            cursor.space()
            wire = cursor.astring()
        except BadSyntax:
            return await self.pass_selected(frame)
        location = await self.locate(wire)
        link = self.link
        if link is None:
            if self.session.selected is None or location is None or not location.server:
                return None
            local = LocalSource(self.session, sequence, by_uid=frame.name.startswith(b"UID "))
            return await copy_across(self, local, frame, sequence, location.server, wire)
        if location is None or location.server == link.server or self._is_lost:
            return await self.pass_selected(frame)
        source = RemoteSource(self.session, link, frame, self._selected_name)
        try:
            return await copy_across(self, source, frame, sequence, location.server, wire)
        except BaseException:
            self._is_lost = link.lost_reason is not None
            raise


_Route = Callable[[SessionRoutes, Frame], Awaitable[bytes | None]]

_ROUTES: dict[bytes, _Route] = {
    b"SELECT": SessionRoutes._select,
    b"EXAMINE": SessionRoutes._select,
    b"STATUS": SessionRoutes._owner,
    b"LISTRIGHTS": SessionRoutes._owner,
    b"SETACL": SessionRoutes._change,
    b"DELETEACL": SessionRoutes._change,
    b"DELETE": SessionRoutes._change,
    b"CREATE": SessionRoutes._create,
    b"RENAME": SessionRoutes._rename,
    b"GETQUOTA": SessionRoutes._owner,
    b"GETQUOTAROOT": SessionRoutes._owner,
    b"SETQUOTA": SessionRoutes._owner,
    b"XFER": SessionRoutes._change,
    b"GETMETADATA": SessionRoutes._metadata,
    b"SETMETADATA": SessionRoutes._metadata,
    b"APPEND": SessionRoutes._owner,
    b"LOCALAPPEND": SessionRoutes._owner,
    b"RECONSTRUCT": SessionRoutes._owner,
    b"ENABLE": enable_everywhere,
    b"SUBSCRIBE": SessionRoutes._subscribe,
    b"UNSUBSCRIBE": SessionRoutes._home,
    b"LIST": SessionRoutes._list,
    b"RLIST": SessionRoutes._list,
    b"LSUB": SessionRoutes._list,
    b"RLSUB": SessionRoutes._list,
    b"XLIST": SessionRoutes._list,
    b"COPY": SessionRoutes._copy,
    b"UID COPY": SessionRoutes._copy,
    b"MOVE": SessionRoutes._copy,
    b"UID MOVE": SessionRoutes._copy,
    b"REPLACE": replace_anywhere,
    b"UID REPLACE": replace_anywhere,
    b"IDLE": idle_anywhere,
    b"ESEARCH": search_everywhere,
    b"NOTIFY": notify_everywhere,
    b"NOOP": SessionRoutes.pass_selected,
}
"""What may be another server's, whatever is selected; all else is about the selected mailbox, or this server."""

_WITH_USES = frozenset((b"XLIST", b"LSUB", b"RLSUB"))

__all__ = ["ImapRoutes", "RouteSettings", "SessionRoutes"]
