"""The state of one ManageSieve connection, without its socket (RFC 5804)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.logger import Logger
from typing_extensions import override

from pycyrus.errors import MailStoreError, StoreUnavailable
from pycyrus.interfaces import Authenticated, Channel
from pycyrus.logins import log_login
from pycyrus.managesieve import replies
from pycyrus.managesieve.parts import Parts, Referral
from pycyrus.managesieve.replies import Refused
from pycyrus.net.line_session import Goodbye
from pycyrus.net.piping import PipedSession
from pycyrus.net.server_protocol import Link
from pycyrus.wire.words import BadLine, LineReader, LineTooLong, Word, quoted

MAX_COMMAND = 32_768
"""Octets before the login: there is nothing long to be said then but a ticket."""

Run = Callable[["SieveSession", list[Word]], Coroutine[Any, Any, None]]


class SieveSession(PipedSession):
    """
    One connection.

    @ivar user_id: Empty before the login.
    @ivar referral: Where the client is to go with its next command; empty if it may stay.
    """

    log = Logger()
    farewells = replies.FAREWELLS
    unavailable = replies.UNAVAILABLE

    def __init__(self, link: Link, parts: Parts, run: Run, *, peer: str, local_address: str, session_id: str) -> None:
        """@param run: Finds and runs the command of a line."""
        super().__init__(link, parts.clock, parts.settings, session_id)
        self.settings = parts.settings
        self.authenticator = parts.authenticator
        self.peer = peer
        self.local_address = local_address
        self.user_id = ""
        self.referral = ""
        self._parts = parts
        self._run = run
        self._reader = self._new_reader()

    @staticmethod
    def _new_reader() -> LineReader:
        return LineReader(max_command=MAX_COMMAND, max_literal=MAX_COMMAND)

    # --- for commands ---------------------------------------------------

    def reply(self, status: bytes, text: bytes = b"", code: bytes = b"") -> None:
        """End a command (RFC 5804 section 1.2)."""
        words = [status, b"(%b)" % code if code else b"", quoted(text) if text else b""]
        self.write(b" ".join(filter(None, words)) + b"\r\n")

    @property
    def can_start_tls(self) -> bool:
        """Whether STARTTLS is configured, and makes sense now."""
        return self._parts.has_tls and not self.is_secure and not self.user_id

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
        )

    async def ask(self, challenge: bytes) -> bytes:
        """
        Send a challenge, and take the string that answers it (RFC 5804 section 2.1).

        @raise Goodbye: It is too long.
        @raise Refused: It is no string.
        """
        self.write(b"{%d}\r\n%b\r\n" % (len(challenge), challenge))
        while True:
            words = self._next_line()
            if words is not None:
                break
            await self.more()
        if len(words) != 1 or not words[0].is_string:
            raise Refused(b"Expected a string")
        return words[0].value

    def start_tls(self) -> None:
        """Begin TLS, forgetting what came before, and tell what is possible (RFC 5804 section 2.2)."""
        self.flush()
        self._reader = self._new_reader()
        self.is_secure = True
        self._link.start_tls()
        self.tell_capabilities()
        self.reply(b"OK", b"TLS negotiation successful.")

    async def log_in(self, authenticated: Authenticated, mechanism: str) -> None:
        """
        Somebody has proved who it is: go where the scripts are.

        @raise MailStoreError: There is no way there, or the user has too many connections.
        """
        user_id = authenticated.identity.user_id
        self._link.logged_in(user_id)
        found = None
        if self._parts.elsewhere is not None:
            found = await self._parts.elsewhere.open(authenticated)
        log_login(
            self.log,
            authenticated,
            mechanism,
            peer=self.peer,
            is_secure=self.is_secure,
            session_id=self.session_id,
        )
        self.user_id = user_id
        if isinstance(found, Referral):
            self.referral = found.url
        else:
            self._pipe = found

    def refer(self) -> None:
        """Send the client where its scripts are (RFC 5804 section 1.3)."""
        self.write(b"BYE (REFERRAL %b) %b\r\n" % (quoted(self.referral.encode("utf-8")), quoted(b"Try Remote.")))
        self.end()

    def tell_capabilities(self) -> None:
        """Tell what is possible (RFC 5804 section 1.7)."""
        settings = self.settings
        told = {"IMPLEMENTATION": settings.implementation, "VERSION": "1.0"}
        if not self.user_id:
            told["SASL"] = " ".join(self.authenticator.mechanisms(self.channel()))
        told["SIEVE"] = settings.extensions
        if settings.extensions:
            told["NOTIFY"] = "mailto"
        if self.user_id:
            told["OWNER"] = self.user_id
        for name, value in told.items():
            self.write(b"%b %b\r\n" % (quoted(name.encode("ascii")), quoted(value.encode("utf-8"))))
        if self.can_start_tls:
            self.write(b'"STARTTLS"\r\n')

    # --- for the protocol -----------------------------------------------

    @override
    def greet(self) -> None:
        """Say what this is (RFC 5804 section 1.7)."""
        self.tell_capabilities()
        self.reply(b"OK")
        self.flush()

    @override
    def last_line(self, text: bytes) -> bytes:
        """RFC 5804 section 1.2: BYE; section 1.3 wants to know whether it is worth coming again."""
        temporary = (self.farewells.shutting_down, self.farewells.too_many_connections, self.unavailable)
        code = b"(TRYLATER) " if text in temporary else b""
        return b"BYE %b%b\r\n" % (code, quoted(text))

    @override
    def due(self, now: float) -> float:
        if not self.user_id:
            return self._opened + self.settings.login_timeout
        return (self._heard if self._waits_for_client else now) + self.settings.timeout

    @override
    def expire(self) -> None:
        if self._pipe is None:
            super().expire()
        else:
            # In the middle of an answer nothing can be said.
            self.end()

    # --- the work -------------------------------------------------------

    @override
    def keep(self, data: bytes) -> None:
        self._reader.feed(data)

    @override
    def kept(self) -> int:
        return len(self._reader)

    @override
    def take_kept(self) -> bytes:
        return self._reader.take_rest()

    @override
    async def step(self) -> bool:
        if self._pipe is not None:
            return False
        words = self._next_line()
        if words is None:
            return False
        try:
            await self._run(self, words)
        except Refused as refused:
            self.reply(b"NO", refused.text, refused.code)
        except MailStoreError as error:
            if isinstance(error, StoreUnavailable):
                self.log.warn("a command of {session} failed: {error}", session=self.session_id, error=error)
            code, text = replies.reply_of(error)
            self.reply(b"NO", text, code)
        return True

    def _next_line(self) -> list[Word] | None:
        while True:
            try:
                words = self._reader.next_line()
            except LineTooLong as error:
                raise Goodbye(str(error).encode("ascii")) from error
            except BadLine:
                self.reply(b"NO", replies.NO_COMMAND)
                self.count_error()
                if self._errors > self.settings.max_errors:
                    raise Goodbye(self.farewells.too_many_errors) from None
                continue
            # Older clients write {5} for {5+}; nobody waits for leave in this protocol.
            self._reader.wants_literal = None
            return words
