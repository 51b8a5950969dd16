"""Socket maps on a Twisted transport."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IDelayedCall, IReactorTime, ITCPTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure
from typing_extensions import override

from pycyrus.errors import LimitExceeded, MailStoreError
from pycyrus.interfaces import IRecipientVerifier, Recipient
from pycyrus.model.identity import POSTMAN
from pycyrus.net.limits import Admission, ConnectionLimits
from pycyrus.net.turns import turns_of
from pycyrus.smmap import replies
from pycyrus.smmap.wire import BadRequest, NetstringReader, netstring, parse_request
from pycyrus.tasks import Tasks

MAX_WAITING = 100
"""Requests that wait for an answer; then the client is not read from."""

ANSWERS_AT_ONCE = 20
"""Requests answered before other connections have their turn."""


@dataclass(frozen=True, slots=True)
class SmmapSettings:
    """
    Settings of a socket map.

    @ivar over_quota_permanent: A full mailbox is a permanent failure.
    @ivar idle_timeout: Seconds of silence; the clients connect again.
    """

    over_quota_permanent: bool = False
    idle_timeout: float = 3600.0


class SmmapProtocol(Protocol, TimeoutMixin):
    """One connection; requests are answered in their order."""

    factory: SmmapFactory
    log = Logger()

    def __init__(self) -> None:
        self._reader = NetstringReader()
        self._waiting: deque[bytes] = deque()
        self._tasks = Tasks()
        self._admission: Admission | None = None
        self._working = False
        self._paused = False
        self._peer = ""

    @override
    def connectionMade(self) -> None:
        self.factory.sessions.add(self)
        address = self._transport().getPeer()
        self._peer = address.host if isinstance(address, IPv4Address | IPv6Address) else ""
        try:
            self._admission = self.factory.limits.connected(self._peer)
            self._admission.logged_in(POSTMAN.user_id)
        except LimitExceeded as limit:
            self.log.info("refused a connection from {peer}: {reason}", peer=self._peer, reason=limit.reason)
            self._transport().loseConnection()
            return
        self.setTimeout(self.factory.settings.idle_timeout)  # type: ignore[no-untyped-call] # Twisted's

    @override
    def dataReceived(self, data: bytes) -> None:
        self.resetTimeout()  # type: ignore[no-untyped-call] # Twisted's
        try:
            self._waiting.extend(self._reader.feed(data))
        except BadRequest as error:
            self._refuse(error)
            return
        if not self._working and self._waiting:
            self._working = True
            self._tasks.spawn(self._work(), self._crashed)
        if self._working and len(self._waiting) >= MAX_WAITING and not self._paused:
            self._paused = True
            self._transport().pauseProducing()

    async def _work(self) -> None:
        try:
            answered = 0
            while self._waiting:
                answer = await self._answer(self._waiting.popleft())
                self._transport().write(netstring(answer))
                answered += 1
                if answered % ANSWERS_AT_ONCE == 0:
                    await turns_of(self.factory.reactor).wait()
        except BadRequest as error:
            self._refuse(error)
        finally:
            self._working = False
        if self._paused:
            self._paused = False
            self._transport().resumeProducing()

    def _refuse(self, error: BadRequest) -> None:
        """Say what is wrong, as Cyrus does, and close: where the next request begins is not known."""
        self.log.info("closed the connection of {peer}: {reason}", peer=self._peer, reason=str(error))
        self._waiting.clear()
        self._transport().write(netstring(replies.BAD_PROTOCOL % str(error).encode("ascii")))
        self._transport().loseConnection()

    async def _answer(self, request: bytes) -> bytes:
        address = parse_request(request)
        if address is None:
            return replies.NOT_FOUND
        try:
            await self.factory.verifier.verify(Recipient(*address))
        except MailStoreError as error:
            answer = replies.reply_to_error(error, over_quota_permanent=self.factory.settings.over_quota_permanent)
            self.log.debug("{address}: {answer}", address="@".join(address), answer=answer)
            return answer
        return replies.ok(*address)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.setTimeout(None)  # type: ignore[no-untyped-call] # Twisted's
        self.factory.sessions.discard(self)
        self._waiting.clear()
        self._tasks.cancel_all()
        if self._admission is not None:
            self._admission.close()

    @override
    def callLater(self, period: float, func: Callable[[], None]) -> IDelayedCall:
        return self.factory.reactor.callLater(period, func)

    def shut_down(self) -> None:
        """Close the connection; who waits for an answer asks again elsewhere, or later."""
        if self._working:
            self._transport().write(netstring(replies.SHUTTING_DOWN))
        self._waiting.clear()
        self._transport().loseConnection()

    def _crashed(self, failure: Failure) -> None:
        self.log.failure("a lookup ended by an error", failure)
        self._transport().loseConnection()

    def _transport(self) -> Any:
        return cast(ITCPTransport, self.transport)


class SmmapFactory(Factory):
    """
    Makes the connections of one socket map.

    @ivar sessions: Those that are open.
    """

    protocol = SmmapProtocol  # type: ignore[assignment] # a class is what Twisted calls to build one
    noisy = False

    def __init__(
        self, verifier: IRecipientVerifier, settings: SmmapSettings, limits: ConnectionLimits, reactor: IReactorTime
    ) -> None:
        self.verifier = verifier
        self.settings = settings
        self.limits = limits
        self.reactor = reactor
        self.sessions: set[SmmapProtocol] = set()

    def shut_down(self) -> None:
        """Close all connections."""
        for session in list(self.sessions):
            session.shut_down()
