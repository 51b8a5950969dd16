"""ManageSieve of a frontend: after the login, octets go to and fro between the client and its backend (RFC 5804)."""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pycyrus.auth.client import ClientExchange
from pycyrus.errors import AuthenticationFailed, MalformedExchange, MechanismUnavailable, StoreUnavailable
from pycyrus.interfaces import Authenticated, IMailboxDirectory
from pycyrus.managesieve.parts import Referral
from pycyrus.murder.pipe import PipeLink, home_of
from pycyrus.murder.servers.backends import DEFAULT_PORTS, Backends
from pycyrus.wire.words import BadLine, Word, quoted, split_words

_MOST_LINES = 100
_LONGEST_LITERAL = 16_384
_MAX_ROUNDS = 10
_LITERAL = re.compile(rb"\{([0-9]{1,10})\+?\}\Z")
_STATUS = re.compile(rb"(OK|NO|BYE)(?![^ ])", re.IGNORECASE)
_SASL_CODE = re.compile(rb'OK \(SASL (?:"([^"]*)"|\Z)', re.IGNORECASE)

Part = tuple[bytes, bytes | None]


class SieveLink(PipeLink):
    """A connection to a backend's ManageSieve."""

    async def parts(self) -> list[Part]:
        """
        Take a line: what it is made of, each piece with the literal that follows it.

        @raise MalformedExchange: It is more than anybody would say.
        @raise StoreUnavailable: There is none.
        """
        parts: list[Part] = []
        while len(parts) < _MOST_LINES:
            line = await self.line()
            found = _LITERAL.search(line)
            if found is None:
                return [*parts, (line, None)]
            if int(found[1]) > _LONGEST_LITERAL:
                break
            parts.append((line[: found.start()], await self.octets(int(found[1]))))
        raise MalformedExchange("a response that is too long")

    async def capabilities(self) -> Mapping[bytes, bytes]:
        """
        Take what a server tells of itself (RFC 5804 section 1.7).

        @raise MalformedExchange: This is no such server.
        @raise StoreUnavailable: It will not have us.
        """
        told: dict[bytes, bytes] = {}
        for _ in range(_MOST_LINES):
            parts = await self.parts()
            if _STATUS.match(parts[0][0]):
                _check_ok(self.server, parts)
                return told
            try:
                words = split_words(parts)
            except BadLine as error:
                raise MalformedExchange(str(error)) from None
            if words and not words[0].is_string:
                raise MalformedExchange("this is no ManageSieve")
            if words:
                told[words[0].value.upper()] = words[1].value if len(words) > 1 else b""
        raise MalformedExchange("no end of capabilities")

    async def log_in(self, exchange: ClientExchange) -> None:
        """
        Log in (RFC 5804 section 2.1).

        @raise AuthenticationFailed: One side did not accept the other.
        @raise MalformedExchange: This is no such exchange.
        @raise StoreUnavailable: The connection went.
        """
        command = b"AUTHENTICATE " + quoted(exchange.mechanism.encode("ascii"))
        first = await self.first_message(exchange)
        if first is not None:
            command += b" " + _string(b2a_base64(first, newline=False))
        self.send(command + b"\r\n")
        for _ in range(_MAX_ROUNDS):
            parts = await self.parts()
            if _STATUS.match(parts[0][0]):
                self._end_login(parts, exchange)
                return
            challenge = _only_string(parts)
            answer = await self.next_message(exchange, challenge)
            self.send(_string(b2a_base64(answer, newline=False)) + b"\r\n")
        raise MalformedExchange("no end of challenges")

    def _end_login(self, parts: list[Part], exchange: ClientExchange) -> None:
        line, literal = parts[0]
        if line[:2].upper() != b"OK":
            raise AuthenticationFailed(line.decode("utf-8", "replace")[:200])
        found = _SASL_CODE.match(line)
        if found is not None:
            data = found[1] if found[1] is not None else literal or b""
            exchange.finished(self.decoded(data))
        else:
            exchange.finished(None)


class SieveRoutes:
    """Finds a user's scripts on another server."""

    def __init__(self, directory: IMailboxDirectory, backends: Backends, reactor: Any, *, refers: bool = False) -> None:
        """@param refers: Clients are sent there, instead of being brought (C{sieve_allowreferrals})."""
        self._directory = directory
        self._backends = backends
        self._reactor = reactor
        self._refers = refers

    async def open(self, authenticated: Authenticated) -> SieveLink | Referral | None:
        """
        Log in for a user where the INBOX is.

        @return: None if it is here.
        @raise MailboxNotFound: There is none.
        @raise StoreUnavailable: That server cannot be reached, or does not let us in.
        """
        server = await home_of(authenticated, self._directory, self._backends)
        if not server:
            return None
        if self._refers:
            return Referral(self._url(server, authenticated))
        link = SieveLink(server, self._reactor)
        await self._backends.connect(server, "sieve", link)
        try:
            await self._log_in(link, authenticated.identity.user_id)
        except (AuthenticationFailed, MalformedExchange, MechanismUnavailable) as error:
            link.abort("cannot log in")
            raise StoreUnavailable(f"{server}: cannot log in: {error}") from error
        except BaseException:
            link.abort("given up")
            raise
        return link

    def _url(self, server: str, authenticated: Authenticated) -> str:
        """Where a client is sent (RFC 5804 section 3)."""
        address = self._backends.settings.address(server, "sieve")
        host = f"[{address.host}]" if ":" in address.host else address.host
        port = "" if address.port == DEFAULT_PORTS["sieve"] else f":{address.port}"
        user, came_by = authenticated.identity.user_id, authenticated.authenticated_as
        # Who acts for another says so there again.
        acting = f"{quote(came_by)};{quote(user)}@" if user != came_by else ""
        return f"sieve://{acting}{host}{port}"

    async def _log_in(self, link: SieveLink, user: str) -> None:
        settings = self._backends.settings
        told = await link.capabilities()
        address = settings.address(link.server, "sieve")
        if address.skips_login:
            raise MechanismUnavailable("nobody says who the user is, where there is no login")
        is_secure = False
        can_tls = settings.tls is not None and b"STARTTLS" in told
        wants_tls = address.wants_tls
        if can_tls and not wants_tls:
            try:
                settings.exchange(link.server, user, _mechanisms(told), tls=False, may_be_clear=False, service="sieve")
            except MechanismUnavailable:
                wants_tls = True
        if wants_tls:
            if settings.tls is None or not can_tls:
                raise MechanismUnavailable("no TLS, which its name demands")
            link.send(b"STARTTLS\r\n")
            _check_ok(link.server, await link.parts())
            link.start_tls(settings.tls(address.host))
            is_secure = True
            told = await link.capabilities()
        exchange = settings.exchange(
            link.server,
            user,
            _mechanisms(told),
            tls=is_secure,
            may_be_clear=is_secure or settings.allow_plaintext,
            service="sieve",
        )
        await link.log_in(exchange)


def _check_ok(server: str, parts: list[Part]) -> None:
    line = parts[0][0]
    if line[:2].upper() != b"OK":
        raise StoreUnavailable(f"{server}: {line[:100]!r}")


def _mechanisms(told: Mapping[bytes, bytes]) -> list[str]:
    return told.get(b"SASL", b"").decode("ascii", "replace").upper().split()


def _string(value: bytes) -> bytes:
    """RFC 5804 section 4: what is long is no quoted string."""
    return quoted(value) if len(value) <= 1024 else b"{%d+}\r\n%b" % (len(value), value)


def _only_string(parts: list[Part]) -> bytes:
    try:
        words: list[Word] = split_words(parts)
    except BadLine as error:
        raise MalformedExchange(str(error)) from None
    if len(words) != 1 or not words[0].is_string:
        raise MalformedExchange("this is no challenge")
    return words[0].value
