"""A frontend's connection to a backend's ManageSieve (RFC 5804)."""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Mapping
from typing import Any

from pycyrus.auth.client import ClientExchange
from pycyrus.errors import AuthenticationFailed, MalformedExchange, StoreUnavailable
from pycyrus.murder.servers.pipe_link import PipeLink
from pycyrus.wire.words import BadLine, Word, quoted, split_words

_MOST_LINES = 100
_LONGEST_LITERAL = 16_384
_MAX_ROUNDS = 10
_LITERAL = re.compile(rb"\{([0-9]{1,10})\+?\}\Z")
_STATUS = re.compile(rb"(OK|NO|BYE)(?![^ ])", re.IGNORECASE)
_SASL_CODE = re.compile(rb'OK \(SASL (?:"([^"]*)"|\Z)', re.IGNORECASE)

Part = tuple[bytes, bytes | None]


class SieveLink(PipeLink):
    """
    A connection to a backend's ManageSieve.

    @ivar told: What it said of itself, by words in upper case.
    """

    service = "sieve"

    def __init__(self, server: str, reactor: Any) -> None:
        super().__init__(server, reactor)
        self.told: Mapping[bytes, bytes] = {}

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

    async def hear_capabilities(self) -> None:
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
                self.told = told
                return
            try:
                words = split_words(parts)
            except BadLine as error:
                raise MalformedExchange(str(error)) from None
            if words and not words[0].is_string:
                raise MalformedExchange("this is no ManageSieve")
            if words:
                told[words[0].value.upper()] = words[1].value if len(words) > 1 else b""
        raise MalformedExchange("no end of capabilities")

    @property
    def mechanisms(self) -> list[str]:
        """SASL mechanisms that are offered."""
        return self.told.get(b"SASL", b"").decode("ascii", "replace").upper().split()

    @property
    def can_start_tls(self) -> bool:
        """Whether the server offers TLS."""
        return b"STARTTLS" in self.told

    async def start_tls(self, context: object) -> None:
        """
        Go over to TLS (RFC 5804 section 2.2).

        @param context: What the transport's C{startTLS} takes.
        @raise StoreUnavailable: The server will not.
        """
        self.send(b"STARTTLS\r\n")
        _check_ok(self.server, await self.parts())
        self.begin_tls(context)
        await self.hear_capabilities()

    async def authenticate(self, exchange: ClientExchange) -> None:
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


def _check_ok(server: str, parts: list[Part]) -> None:
    line = parts[0][0]
    if line[:2].upper() != b"OK":
        raise StoreUnavailable(f"{server}: {line[:100]!r}")


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
