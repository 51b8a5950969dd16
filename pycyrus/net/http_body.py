"""The body of an HTTP request that this server makes."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer


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
