"""
The dialogue of a SASL exchange (RFC 4422 section 3), one for all line protocols.

A protocol says how a challenge is written and a response is read; what they mean, and
when the exchange is over, is decided here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pycyrus.errors import MalformedExchange
from pycyrus.interfaces import Authenticated, ISaslExchange
from pycyrus.wire.sasl import decode_response, encode_challenge


class SaslDialogue:
    """
    The server's side of one exchange, a line at a time.

    L{begin} and L{answer} give the next challenge in base64, or None when it is over and
    C{result} is there.

    @ivar mechanism: Its name, for the log.
    """

    __slots__ = ("_data_with_success", "_exchange", "_result", "mechanism")

    def __init__(self, exchange: ISaslExchange, mechanism: str = "", *, data_with_success: bool = False) -> None:
        """
        @param data_with_success: The protocol's success carries the final data
            (RFC 5804 section 2.1); elsewhere they go as a challenge, which the client
            answers with nothing (RFC 4422 section 3.6).
        """
        self._exchange = exchange
        self.mechanism = mechanism
        self._data_with_success = data_with_success
        self._result: Authenticated | None = None

    @property
    def result(self) -> Authenticated:
        """
        Who logged in.

        @raise MalformedExchange: It is not over yet.
        """
        if self._result is None:
            raise MalformedExchange("the exchange is not over")
        return self._result

    async def begin(self, initial: bytes | None) -> bytes | None:
        """
        Start.

        @param initial: The initial response in base64, C{=} for an empty one
            (RFC 4959 section 3); None if there is none.
        @raise MailStoreError: As L{answer}.
        """
        return await self._step(None if initial is None else decode_response(initial))

    async def answer(self, line: bytes) -> bytes | None:
        """
        Take the client's line, without its CRLF.

        @raise AuthenticationCancelled: It was C{*}.
        @raise MalformedExchange: No base64, or not what the mechanism defines.
        @raise MailStoreError: As L{ISaslExchange.step}.
        """
        response = decode_response(line)
        if self._result is None:
            return await self._step(response)
        if response:
            raise MalformedExchange("response to the final data")
        return None

    async def _step(self, response: bytes | None) -> bytes | None:
        outcome = await self._exchange.step(response)
        if not isinstance(outcome, Authenticated):
            return encode_challenge(outcome.data)
        self._result = outcome
        if outcome.data is None or self._data_with_success:
            return None
        return encode_challenge(outcome.data)


async def converse(
    exchange: ISaslExchange, initial: bytes | None, ask: Callable[[bytes], Awaitable[bytes]]
) -> Authenticated:
    """
    Carry an exchange through, where the protocol can wait for a line.

    @param initial: As L{SaslDialogue.begin}.
    @param ask: Writes a challenge, which is in base64, and gives the client's line.
    @raise MailStoreError: As L{SaslDialogue.answer}.
    """
    dialogue = SaslDialogue(exchange)
    challenge = await dialogue.begin(initial)
    while challenge is not None:
        challenge = await dialogue.answer(await ask(challenge))
    return dialogue.result
