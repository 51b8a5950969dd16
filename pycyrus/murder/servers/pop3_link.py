"""A frontend's connection to a backend's POP3, and such connections kept for the next user who needs one."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from typing_extensions import override

from pycyrus.auth.client import ClientExchange
from pycyrus.errors import AuthenticationFailed, MechanismUnavailable, StoreUnavailable
from pycyrus.murder.servers.pipe_link import PipeLink
from pycyrus.murder.servers.pop3_ahead import ReadAhead
from pycyrus.pop3.replies import Err

KEEP_FOR = 20.0
"""Seconds for which one that nobody uses is kept; a backend waits longer for a login."""
_MOST_KEPT = 16
"""For each server."""
_SERVES_FOR = 60.0
"""Seconds after which one is not used again, so that the workers of a backend share the work anew."""
_QUITS = frozenset((b"QUIT\r\n", b"QUIT\n"))
_MOST_CAPABILITIES = 100
_BUSY = re.compile(rb"-ERR (\[(?:IN-USE|LOGIN-DELAY)\].*|\[SYS/PERM\] Unable to locate maildrop.*)", re.IGNORECASE)
"""What a server that lets the user in says of the maildrop (RFC 2449 section 8.1)."""
_STAT = re.compile(rb" STAT=([0-9]{1,10})/([0-9]{1,20})$")
_SHORT = 512
"""Octets that may be an answer to the last command, and wait for the rest of it."""


class Pop3Link(PipeLink):
    """
    A connection that may serve one user after another.

    The client's QUIT is told as C{XDONE} then, with a word that nobody can have put into a
    message: the answer that repeats it is the end of all that was said to this user.

    @ivar capabilities: With their parameters, in upper case.
    @ivar give_back: Takes it when its user is done; None if it serves one only.
    """

    service = "pop3"

    def __init__(self, server: str, reactor: Any) -> None:
        super().__init__(server, reactor)
        self.capabilities: Mapping[bytes, list[bytes]] = {}
        self.give_back: Callable[[Pop3Link], None] | None = None
        self._word = b""
        self._ahead: ReadAhead | None = None
        self._began = self.used
        self._is_at_line = True
        self._end: bytes | None = None
        self._tail = b""
        self._is_free = False

    async def ask_capabilities(self) -> Mapping[bytes, list[bytes]]:
        """
        Ask what the server can (RFC 2449 section 5).

        @raise StoreUnavailable: The connection went.
        """
        self.send(b"CAPA\r\n")
        found: dict[bytes, list[bytes]] = {}
        if not (await self.line()).startswith(b"+OK"):
            return found
        for _ in range(_MOST_CAPABILITIES):
            line = await self.line()
            if line == b".":
                return found
            words = line.upper().split()
            if words:
                found[words[0]] = words[1:]
        raise StoreUnavailable(f"{self.server}: no end of capabilities")

    @property
    def mechanisms(self) -> list[str]:
        """SASL mechanisms that are offered."""
        return [word.decode("ascii", "replace") for word in self.capabilities.get(b"SASL", [])]

    @property
    def can_start_tls(self) -> bool:
        """Whether the server offers TLS."""
        return b"STLS" in self.capabilities

    async def start_tls(self, context: object) -> None:
        """
        Go over to TLS (RFC 2595 section 4).

        @param context: What the transport's C{startTLS} takes.
        @raise MechanismUnavailable: The server will not.
        @raise StoreUnavailable: The connection went.
        """
        self.send(b"STLS\r\n")
        if not (await self.line()).startswith(b"+OK"):
            raise MechanismUnavailable("no TLS")
        self.begin_tls(context)
        self.capabilities = await self.ask_capabilities()

    async def authenticate(self, exchange: ClientExchange) -> None:
        """
        Log in (RFC 5034).

        @raise AuthenticationFailed: One side did not accept the other.
        @raise Err: The maildrop is not to be had now.
        @raise MalformedExchange: This is no such exchange.
        @raise StoreUnavailable: The connection went.
        """
        if b"XDONE" in self.capabilities:
            # Before there is a client, who could say it as well.
            word = secrets.token_hex(16).encode("ascii")
            self.send(b"XLINK %b\r\n" % word)
            if (await self.line()).startswith(b"+OK"):
                self._word = word
        try:
            await self.exchange_lines(b"AUTH", exchange, b"+ ", lambda line: line.startswith(b"+OK"))
        except AuthenticationFailed as error:
            _check_busy(str(error).encode("utf-8", "replace"))
            raise

    def begin(self, stat: bytes = b"") -> None:
        """
        A user is in, whose dialogue follows.

        @param stat: What STAT is answered; empty if that is not known.
        """
        self._ahead = ReadAhead(stat) if b"XAHEAD" in self.capabilities else None

    async def act_for(self, user: str) -> bool:
        """
        Serve the next user.

        @return: Whether the backend has let that one in.
        @raise Err: The maildrop is not to be had now; the connection may serve others.
        @raise StoreUnavailable: The connection went.
        """
        self._is_at_line, self._is_free = True, False
        self.send(b"XUSER %b %b\r\n" % (self._word, user.encode("utf-8")))
        answer = await self.line()
        if not answer.startswith(b"+OK"):
            _check_busy(answer)
            return False
        found = _STAT.search(answer)
        self.begin(b"" if found is None else b"+OK %b %b\r\n" % found.groups())
        return True

    @property
    def serves_others(self) -> bool:
        """Whether the server will let another user in after this one."""
        return bool(self._word)

    @property
    def is_quiet(self) -> bool:
        """Whether it can be used: it is there, and nothing was said that nobody asked for."""
        return self.lost_reason is None and not self._buffer and not self._is_full

    @override
    def pass_on(self, data: bytes) -> None:
        if self._end is not None or not data:
            # Nothing follows a QUIT.
            return
        ahead = self._ahead
        if self._is_at_line and data.upper() in _QUITS and self._may_stay():
            word = secrets.token_hex(8).encode("ascii")
            self._end = b"+OK %b\r\n" % word
            data = (b"" if ahead is None else ahead.given()) + b"XDONE %b %b\r\n" % (self._word, word)
        else:
            self._is_at_line = data.endswith(b"\n")
            if ahead is not None:
                data, said = ahead.asked(data)
                if said and self._session is not None:
                    self._session.take_piped(said)
        if data:
            super().pass_on(data)

    def _may_stay(self) -> bool:
        """Whether there may be another user after this one."""
        now: float = self._reactor.seconds()
        return self.give_back is not None and now < self._began + _SERVES_FOR

    @override
    def dataReceived(self, data: bytes) -> None:
        if self._session is not None:
            self.answered(data)
        if self._ahead is not None:
            try:
                data = self._ahead.answered(data)
            except StoreUnavailable as error:
                self.abort(str(error))
                return
            if not data:
                return
        if self._end is None:
            super().dataReceived(data)
            return
        self._tail += data
        if self._tail.endswith(self._end):
            self._done(self._tail[: -len(self._end)])
        else:
            waiting = len(self._tail) - _SHORT
            if waiting > 0:
                said, self._tail = self._tail[:waiting], self._tail[waiting:]
                super().dataReceived(said)

    def _done(self, said: bytes) -> None:
        """@param said: What else was said to the user."""
        session, self._session = self._session, None
        self._end, self._tail, self._ahead = None, b"", None
        self._is_free = True
        self._expect_nothing()
        if session is not None:
            session.take_piped(said + b"+OK\r\n")
            session.pipe_ended()
        if self.give_back is not None:
            self.give_back(self)

    @override
    def connectionLost(self, reason: Any = None) -> None:
        tail, self._tail = self._tail, b""
        if tail:
            # It refused, and that was its last word.
            super().dataReceived(tail)
        super().connectionLost(reason)

    @override
    def close(self) -> None:
        if not self._is_free:
            super().close()


def _check_busy(line: bytes) -> None:
    """@raise Err: A maildrop is not to be had now, in its server's words."""
    found = _BUSY.match(line)
    if found is not None:
        raise Err(found[1])


class KeptLinks:
    """Connections that wait for the next user."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._kept: dict[str, list[Pop3Link]] = {}
        self._sweeper: IDelayedCall | None = None
        self._is_closed = False

    def keep(self, link: Pop3Link) -> None:
        """Take one whose user is done."""
        kept = self._kept.setdefault(link.server, [])
        if self._is_closed or not link.is_quiet or len(kept) >= _MOST_KEPT:
            link.end()
            return
        link.resume()
        link.used = self._reactor.seconds()
        kept.append(link)
        if self._sweeper is None:
            self._sweeper = self._reactor.callLater(KEEP_FOR, self._sweep)

    def take(self, server: str) -> Pop3Link | None:
        """One for the next user; None if there is none."""
        kept = self._kept.get(server, [])
        while kept:
            link = kept.pop()
            if link.is_quiet:
                return link
            link.end()
        return None

    def _sweep(self) -> None:
        self._sweeper = None
        oldest = self._reactor.seconds() - KEEP_FOR
        for server, links in list(self._kept.items()):
            good = [link for link in links if link.is_quiet and link.used > oldest]
            for link in links:
                if link not in good:
                    link.end()
            if good:
                self._kept[server] = good
            else:
                del self._kept[server]
        if self._kept:
            self._sweeper = self._reactor.callLater(KEEP_FOR, self._sweep)

    def close(self) -> None:
        """End them all, and keep none any more."""
        self._is_closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for links in self._kept.values():
            for link in links:
                link.end()
        self._kept.clear()
