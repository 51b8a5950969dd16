"""A connection to another server: what all protocols do with its transport."""

from __future__ import annotations

from binascii import Error, a2b_base64
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from typing_extensions import override

from pycyrus.auth.client import ClientExchange
from pycyrus.errors import MalformedExchange, StoreUnavailable

T = TypeVar("T")


class ServerConnection(Protocol):
    """
    Has one reader and one writer that wait.

    @ivar server: Whom it is connected to, as the directory calls it.
    @ivar lost_reason: None while the connection is there.
    @ivar used: When it was last of use, by the reactor's clock.
    @ivar on_silence: Called when somebody has waited for long, which is so many seconds.
    """

    def __init__(self, server: str, reactor: Any) -> None:
        self.server = server
        self.lost_reason: str | None = None
        self.used = reactor.seconds()
        self.on_silence: tuple[float, Callable[[], None]] | None = None
        self._reactor = reactor
        self._waiter: Deferred[None] | None = None
        self._writable: Deferred[None] | None = None
        self._is_full = False

    @override
    def connectionMade(self) -> None:
        transport: Any = self.transport
        # A command and what follows are several writes: none may wait for an acknowledgement.
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)
        transport.registerProducer(self, True)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.lost_reason is None:
            self.lost_reason = reason.getErrorMessage()
        self._wake()
        self.resumeProducing()

    def pauseProducing(self) -> None:  # noqa: N802 - IPushProducer
        """The server reads too slowly."""
        self._is_full = True

    def resumeProducing(self) -> None:  # noqa: N802 - IPushProducer
        """It has caught up."""
        self._is_full = False
        waiter, self._writable = self._writable, None
        if waiter is not None:
            waiter.callback(None)

    def stopProducing(self) -> None:  # noqa: N802 - IPushProducer
        """The connection is lost, as C{connectionLost} tells as well."""

    def _wake(self) -> None:
        """Something came, or the connection went."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.callback(None)

    def abort(self, reason: str) -> None:
        """Cut the connection."""
        if self.lost_reason is None:
            self.lost_reason = reason
            transport: Any = self.transport
            if transport is not None:
                transport.abortConnection()

    def end(self, word: bytes, reason: str = "ended") -> None:
        """End it politely."""
        if self.lost_reason is None:
            self.send(word)
            self.lost_reason = reason
            transport: Any = self.transport
            transport.unregisterProducer()
            transport.loseConnection()

    def check(self) -> None:
        """@raise StoreUnavailable: The connection is gone."""
        if self.lost_reason is not None:
            raise StoreUnavailable(f"{self.server}: {self.lost_reason}")

    def send(self, data: bytes) -> None:
        """
        Send octets.

        @raise StoreUnavailable: The connection is gone.
        """
        self.check()
        transport: Any = self.transport
        transport.write(data)

    async def drain(self, within: float) -> None:
        """
        Wait until the server has read most of what was sent.

        @raise StoreUnavailable: It does not.
        """
        if self._is_full:
            self._writable = Deferred()
            await self._within(within, self._writable)
            self.check()

    # --- logins -------------------------------------------------------------------

    async def first_message(self, exchange: ClientExchange) -> bytes | None:
        """
        What an exchange begins with; None if the server begins.

        @raise AuthenticationFailed: There is no ticket.
        """
        if exchange.is_slow(None):
            return await self._in_thread(exchange.initial)
        return exchange.initial()

    async def next_message(self, exchange: ClientExchange, text: bytes) -> bytes:
        """
        Answer a challenge.

        @param text: In base64.
        @raise AuthenticationFailed: The server could not prove itself.
        @raise MalformedExchange: It is none.
        """
        challenge = self.decoded(text)
        if exchange.is_slow(challenge):
            return await self._in_thread(lambda: exchange.step(challenge))
        return exchange.step(challenge)

    @staticmethod
    def decoded(text: bytes) -> bytes:
        """
        What a challenge in base64 says.

        @raise MalformedExchange: It is none.
        """
        try:
            return a2b_base64(text, strict_mode=True) if text else b""
        except Error:
            raise MalformedExchange("a challenge is no base64") from None

    async def _in_thread(self, work: Callable[[], T]) -> T:
        pool = getattr(self._reactor, "getThreadPool", None)
        return work() if pool is None else await deferToThreadPool(self._reactor, pool(), work)

    # --- waiting ------------------------------------------------------------------

    async def _within(self, seconds: float, waiter: Deferred[None]) -> None:
        first = seconds if self.on_silence is None else min(seconds, self.on_silence[0])
        timers: list[IDelayedCall] = []
        timers.append(self._reactor.callLater(first, self._was_silent, timers, seconds - first))
        try:
            await waiter
        except CancelledError:
            self._waiter = self._writable = None
            self.abort("given up")
            raise
        finally:
            if timers[0].active():
                timers[0].cancel()

    def _was_silent(self, timers: list[IDelayedCall], left: float) -> None:
        """@param left: Seconds that it still has."""
        if left <= 0 or self.on_silence is None:
            self.abort("no answer")
            return
        timers[0] = self._reactor.callLater(left, self._was_silent, timers, 0.0)
        self.on_silence[1]()
