"""The state of one POP3 connection, without its socket (RFC 1939)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import lru_cache
from typing import Any

from twisted.logger import Logger
from typing_extensions import override

from pycyrus.errors import InvalidMailboxName, MailStoreError, StoreUnavailable
from pycyrus.interfaces import Authenticated, Channel, IMailStore, ISessionWatch, LoginTooSoon
from pycyrus.logins import log_login
from pycyrus.model.acl import OWNER_RIGHTS, READ
from pycyrus.model.identity import Identity
from pycyrus.model.names import inbox_of
from pycyrus.net.line_session import Goodbye
from pycyrus.net.piping import PipedSession
from pycyrus.net.server_protocol import Link
from pycyrus.pop3 import replies
from pycyrus.pop3.maildrop import SHOW_AFTER, Maildrop, shown_after
from pycyrus.pop3.parts import Parts
from pycyrus.pop3.replies import Err

MAX_LINE = 512
"""Octets of a command with its line end: RFC 2449 section 4 says 255, and user names may be longer."""
MAX_SASL_LINE = 16_384

Run = Callable[["Pop3Session", bytes], Coroutine[Any, Any, bytes]]


@lru_cache(maxsize=1024)
def _as_owner(identity: Identity) -> Identity:
    return replace(identity, owner_rights=identity.owner_rights | OWNER_RIGHTS)


class Pop3Session(PipedSession):
    """
    One connection.

    @ivar maildrop: Open once somebody has logged in.
    @ivar name: Given by USER.
    @ivar is_utf8: C{UTF8} was said (RFC 6856).
    @ivar came_by: Who proved itself at the login, such as a frontend; empty before.
    @ivar link_word: What a frontend proves by that it is not its client who speaks; empty if nobody knows it.
    """

    log = Logger()
    farewells = replies.FAREWELLS
    unavailable = replies.UNAVAILABLE

    def __init__(
        self,
        link: Link,
        parts: Parts,
        run: Run,
        *,
        peer: str,
        local_address: str,
        session_id: str,
        watch: ISessionWatch | None = None,
    ) -> None:
        """
        @param run: Finds and runs the command of a line, and gives the reply.
        @param watch: Who is told what the session does; None for nobody.
        """
        super().__init__(link, parts.clock, parts.settings, session_id)
        self.settings = parts.settings
        self.store: IMailStore = parts.store if watch is None else watch.store
        self.authenticator = parts.authenticator
        self.peer = peer
        self.local_address = local_address
        self.is_utf8 = False
        self.identity: Identity | None = None
        self.maildrop: Maildrop | None = None
        self.name: bytes | None = None
        self.came_by = ""
        self.link_word = b""
        self.timestamp = b""
        self._parts = parts
        self._run = run
        self._watch = watch
        self._waiting = b""
        self._release: Callable[[], None] | None = None

    # --- for commands ---------------------------------------------------

    @property
    def can_start_tls(self) -> bool:
        """Whether STLS is configured and has not happened."""
        return self._parts.has_tls and not self.is_secure

    def channel(self) -> Channel:
        """How the client is connected, for authentication."""
        return Channel(
            self.settings.service,
            self.peer,
            self.is_secure,
            self.local_address,
            self.session_id,
            self._link.tls_exporter(),
            self._link.client_certificate,
            self.settings.has_subfolders,
        )

    async def read_line(self) -> bytes:
        """
        Take a line that is no command: a SASL response.

        @raise Goodbye: It is too long.
        """
        while True:
            line = self._take_line(MAX_SASL_LINE)
            if line is not None:
                return line
            await self.more()

    def start_tls(self, reply: bytes) -> None:
        """Answer, and begin TLS, forgetting what came before (RFC 2595 section 4)."""
        self.write(reply + b"\r\n")
        self.flush()
        self._waiting = b""
        self.name = None
        self.link_word = b""
        self.is_secure = True
        self._link.start_tls()

    async def log_in(self, authenticated: Authenticated, mechanism: str) -> bytes:
        """
        Open the maildrop of who has proved who it is.

        @return: The reply.
        @raise Err: Another session has it, or the last one was not long ago.
        @raise MailStoreError: It cannot be opened, or the user has too many sessions.
        """
        identity = authenticated.identity
        self._link.logged_in(identity.user_id)
        if self._parts.elsewhere is not None:
            self._pipe = await self._parts.elsewhere.open(authenticated, authenticated.folder)
        if self._pipe is None:
            await self._open_maildrop(identity, authenticated.folder)
        self.identity = identity
        if self._watch is not None:
            self._watch.logged_in(identity)
        self.came_by = authenticated.authenticated_as
        log_login(
            self.log,
            authenticated,
            mechanism,
            peer=self.peer,
            is_secure=self.is_secure,
            session_id=self.session_id,
        )
        return b"+OK Mailbox locked and ready SESSIONID=<%b>" % self.session_id.encode("ascii")

    def log_out(self) -> None:
        """Let the user's maildrop go as it is; the connection is there for another user of the same frontend."""
        self._leave_maildrop()
        self._link.logged_out()
        self.identity = None
        self.is_utf8 = False
        self._errors = 0
        self._opened = self.clock.seconds()

    def _leave_maildrop(self) -> None:
        if self._watch is not None:
            self._watch.logged_out()
        maildrop, self.maildrop = self.maildrop, None
        if maildrop is not None:
            maildrop.close()
        release, self._release = self._release, None
        if release is not None:
            release()

    async def _open_maildrop(self, identity: Identity, folder: str) -> None:
        settings = self.settings
        name = inbox_of(identity)
        for component in folder.split(settings.folder_separator) if folder else ():
            if not component:
                raise InvalidMailboxName("empty component")
            name = name.child(component)
        if not settings.uses_acl:
            # The drop is its owner's, whatever the entries say.
            identity = _as_owner(identity)
        mailbox = await self.store.open(identity, name, READ)
        try:
            self._release = self._claim(mailbox.unique_id)
            since = shown_after(await self.store.shared_annotation(identity, name, SHOW_AFTER))
            self.maildrop = Maildrop(mailbox, uses_imap_flags=settings.uses_imap_flags, shown_after=since)
        except BaseException:
            mailbox.close()
            raise

    def _claim(self, unique_id: str) -> Callable[[], None]:
        settings = self.settings
        try:
            release = self._parts.claims.claim(unique_id, settings.login_delay, settings.login_burst)
        except LoginTooSoon:
            minutes = max(1, round(settings.login_delay / 60))
            raise Err(replies.TOO_SOON % (minutes, b"" if minutes == 1 else b"s")) from None
        if release is None:
            raise Err(replies.IN_USE)
        return release

    # --- for the protocol -----------------------------------------------

    @override
    def greet(self) -> None:
        """Say what this is."""
        words = [self.settings.server_name, self.settings.product, "server ready"]
        self.timestamp = self.authenticator.apop_timestamp(self.channel())
        words.append(self.timestamp.decode("ascii"))
        self.write(b"+OK %b\r\n" % " ".join(filter(None, words)).encode("utf-8"))
        self.flush()

    @override
    def let_go(self) -> None:
        """Let the maildrop go as it is: nothing is deleted (RFC 1939 section 6)."""
        self._waiting = b""
        self._leave_maildrop()
        super().let_go()

    @override
    def due(self, now: float) -> float:
        if self.maildrop is None and self._pipe is None:
            return self._opened + self.settings.login_timeout
        # While a command runs, it is not the client who is slow.
        return (self._heard if self._waits_for_client else now) + self.settings.silence

    # --- the work -------------------------------------------------------

    @override
    def keep(self, data: bytes) -> None:
        self._waiting += data

    @override
    def kept(self) -> int:
        return len(self._waiting)

    @override
    async def step(self) -> bool:
        if not self._waiting or self._pipe is not None:
            return False
        line = self._take_line(self._longest_command())
        if line is None:
            return False
        try:
            reply = await self._run(self, line)
        except Err as error:
            reply = b"-ERR " + error.text
        except MailStoreError as error:
            if isinstance(error, StoreUnavailable):
                self.log.warn("a command of {session} failed: {error}", session=self.session_id, error=error)
            reply = b"-ERR " + replies.text_of(error)
        if reply:
            self.write(reply + b"\r\n")
        return True

    @override
    def take_kept(self) -> bytes:
        waiting, self._waiting = self._waiting, b""
        return waiting

    def _longest_command(self) -> int:
        """
        Octets of the next command.

        RFC 5034 section 4 has clients send a long initial response apart; those with
        access tokens do not always heed it.
        """
        is_sasl = self.identity is None and self._waiting[:5].upper() == b"AUTH "
        return MAX_SASL_LINE if is_sasl else MAX_LINE

    def _take_line(self, limit: int) -> bytes | None:
        end = self._waiting.find(b"\n", 0, limit)
        if end < 0:
            if len(self._waiting) >= limit:
                raise Goodbye(replies.LINE_TOO_LONG)
            return None
        line = self._waiting[:end]
        self._waiting = self._waiting[end + 1 :]
        return line.removesuffix(b"\r")
