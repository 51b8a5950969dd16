"""Bodies of HTTP requests that this server makes, and of their answers."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IBodyProducer, IResponse
from typing_extensions import override
from zope.interface import implementer


class BodyCutShort(Exception):
    """There is more of a body than was read; the text says why."""


async def read_body(response: IResponse, longest: int) -> bytes:
    """
    Read the body of an answer; cancelling ends its connection.

    @param longest: Octets.
    @raise BodyCutShort: It is longer, or broke off.
    """
    body = _Body(longest)
    response.deliverBody(body)
    return await body.done


@implementer(IBodyProducer)
class ShortBody:
    """A body which is short and goes out at once."""

    def __init__(self, body: bytes) -> None:
        self.length = len(body)
        self._body = body

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:  # noqa: N802 - IBodyProducer
        """Send it."""
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:  # noqa: N802 - IBodyProducer
        """It has gone already."""

    def resumeProducing(self) -> None:  # noqa: N802 - IBodyProducer
        """It has gone already."""

    def stopProducing(self) -> None:  # noqa: N802 - IBodyProducer
        """It has gone already."""


class _Body(Protocol):
    """
    Keeps an answer's body.

    @ivar done: Fires with it.
    """

    def __init__(self, longest: int) -> None:
        self.done: Deferred[bytes] = Deferred(lambda _: self._stop())
        self._longest = longest
        self._pieces: list[bytes] = []
        self._size = 0

    def _stop(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()

    @override
    def dataReceived(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= self._longest:
            self._pieces.append(data)
        elif not self.done.called:
            self.done.errback(BodyCutShort("an answer that is too large"))
            self._stop()

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.done.callback(b"".join(self._pieces))
        else:
            self.done.errback(BodyCutShort("the answer broke off"))
