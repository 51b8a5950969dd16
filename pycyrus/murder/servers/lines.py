"""The client's side of line protocols between servers: POP3 and LMTP."""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from typing_extensions import override

from pycyrus.auth.client import ClientExchange
from pycyrus.errors import AuthenticationFailed, MalformedExchange
from pycyrus.murder.servers.connection import ServerConnection

LONGEST_LINE = 16_384
ANSWER_WITHIN = 30.0
"""Seconds for a line."""
_MOST_WAITING = 262_144
_MAX_ROUNDS = 10


class LineClient(ServerConnection):
    """A connection that is read line by line, one reader at a time."""

    def __init__(self, server: str, reactor: Any) -> None:
        super().__init__(server, reactor)
        self._buffer = b""

    @override
    def dataReceived(self, data: bytes) -> None:
        self.used = self._reactor.seconds()
        self._buffer += data
        if len(self._buffer) > _MOST_WAITING:
            self.abort("it says too much")
        self._wake()

    @override
    def end(self, word: bytes = b"QUIT\r\n", reason: str = "ended") -> None:
        super().end(word, reason)

    def begin_tls(self, context: object) -> None:
        """
        Speak TLS from now on.  What came before is forgotten: anybody may have sent it.

        @param context: What the transport's C{startTLS} takes.
        """
        self._buffer = b""
        transport: Any = self.transport
        transport.startTLS(context)

    @override
    async def drain(self, within: float = ANSWER_WITHIN) -> None:
        await super().drain(within)

    async def line(self, within: float = ANSWER_WITHIN) -> bytes:
        """
        Take a line, without its end.

        @raise StoreUnavailable: There is none.
        """
        while True:
            end = self._buffer.find(b"\n")
            if end > LONGEST_LINE or (end < 0 and len(self._buffer) > LONGEST_LINE):
                self.abort("a line that is too long")
            if end >= 0 and self.lost_reason != "a line that is too long":
                line, self._buffer = self._buffer[:end], self._buffer[end + 1 :]
                return line.rstrip(b"\r")
            await self.more(within)

    async def octets(self, count: int, within: float = ANSWER_WITHIN) -> bytes:
        """
        Take so many octets.

        @raise StoreUnavailable: There are not.
        """
        while len(self._buffer) < count:
            await self.more(within)
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    async def more(self, within: float) -> None:
        """
        Wait until something came.

        @raise StoreUnavailable: Nothing did.
        """
        self.check()
        self._waiter = Deferred()
        await self._within(within, self._waiter)

    async def exchange_lines(
        self, verb: bytes, exchange: ClientExchange, challenge_mark: bytes, success: Callable[[bytes], bool]
    ) -> bytes:
        """
        Log in by SASL, as POP3 (RFC 5034) and SMTP (RFC 4954) carry it.

        @param challenge_mark: What a line with a challenge begins with.
        @param success: Whether a line says that all is well.
        @return: That line.
        @raise AuthenticationFailed: One side did not accept the other.
        @raise MalformedExchange: This is no such exchange.
        @raise StoreUnavailable: The connection went.
        """
        command = verb + b" " + exchange.mechanism.encode("ascii")
        first = await self.first_message(exchange)
        if first is not None:
            encoded = b2a_base64(first, newline=False) or b"="
            if len(encoded) < 400:
                command += b" " + encoded
                first = None
        self.send(command + b"\r\n")
        for _ in range(_MAX_ROUNDS):
            line = await self.line()
            if line.startswith(challenge_mark):
                text = line[len(challenge_mark) :].strip()
                answer = await self.next_message(exchange, text) if first is None else first
                first = None
                self.send(b2a_base64(answer, newline=False) + b"\r\n")
            elif success(line):
                exchange.finished(None)
                return line
            else:
                raise AuthenticationFailed(line.decode("utf-8", "replace")[:200])
        raise MalformedExchange("no end of challenges")
