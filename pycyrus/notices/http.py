"""Events to a web server, as the bodies of POST requests."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.web.client import Agent, HTTPConnectionPool, ResponseFailed
from twisted.web.error import Error, SchemeNotSupported
from twisted.web.http_headers import Headers
from zope.interface import implementer

from pycyrus.interfaces import IEventSink
from pycyrus.net.http_body import BodyCutShort, ShortBody, read_body
from pycyrus.notices.forms import as_json
from pycyrus.notices.losses import Losses
from pycyrus.notices.queue import Refused, SendQueue, TryAgain

TIME_LIMIT = 10.0
"""Seconds for a whole request."""
LARGEST_ANSWER = 65_536
"""Octets of an answer that are read, to use the connection again."""

_AWAY = (ConnectError, ConnectionClosed, DNSLookupError, OSError, ResponseFailed, defer.TimeoutError)


@implementer(IEventSink)
class HttpSink:
    """
    Posts each event, in order; what does not arrive is posted again until it does, or too many wait.

    Answers 2xx are good, 408, 429 and 5xx mean later, others never.
    """

    def __init__(self, url: str, reactor: Any, authorization: str = "") -> None:
        """
        @param url: With http or https, whose certificate must be good for it.
        @param authorization: The value of the field of this name; empty for none.
        """
        self._url = url.encode("ascii")
        self._reactor = reactor
        self._headers = Headers({b"Content-Type": [b"application/json"], b"User-Agent": [b"pycyrus"]})
        if authorization:
            self._headers.setRawHeaders(b"Authorization", [authorization.encode("utf-8")])
        self._pool = HTTPConnectionPool(reactor)
        self._pool.maxPersistentPerHost = 1
        self._agent = Agent(reactor, connectTimeout=TIME_LIMIT, pool=self._pool)
        # Not the URL itself: it may have a key in it.
        self.losses = Losses("event_http_url")
        self._queue: SendQueue[bytes] = SendQueue(self._post, reactor, self.losses)

    def tell(self, event: Mapping[str, object]) -> None:
        """See L{IEventSink}."""
        body = as_json(event).encode("utf-8", "replace")
        self._queue.put(body, len(body))

    async def close(self) -> None:
        """See L{IEventSink}."""
        await self._queue.close()
        await self._pool.closeCachedConnections()

    async def _post(self, body: bytes) -> None:
        whole = Deferred.fromCoroutine(self._exchange(body))
        try:
            code = await whole.addTimeout(TIME_LIMIT, self._reactor)
        except _AWAY as error:
            raise TryAgain(f"event_http_url: {type(error).__name__}") from error
        except (Error, SchemeNotSupported) as error:
            raise Refused(f"{type(error).__name__}") from error
        if code in (408, 429) or code >= 500:
            raise TryAgain(f"event_http_url: the answer is {code}")
        if not 200 <= code < 300:
            raise Refused(f"the answer is {code}")

    async def _exchange(self, body: bytes) -> int:
        response = await self._agent.request(b"POST", self._url, self._headers, ShortBody(body))
        with suppress(BodyCutShort):
            await read_body(response, LARGEST_ANSWER)
        code: int = response.code
        return code
