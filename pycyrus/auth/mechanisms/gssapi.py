"""GSSAPI (RFC 4752): a Kerberos ticket proves who it is."""

from __future__ import annotations

import enum
from collections.abc import Callable
from functools import partial
from typing import ClassVar, Protocol, TypeVar

from typing_extensions import override

from pycyrus.auth.interfaces import Run
from pycyrus.auth.mechanisms.base import Exchange, Verifier
from pycyrus.errors import AuthenticationFailed, MalformedExchange
from pycyrus.interfaces import Authenticated, Challenge
from pycyrus.wire.sasl import LONGEST_RESPONSE

T = TypeVar("T")


class SecurityContext(Protocol):
    """What L{pycyrus.auth.kerberos.AcceptedContext} provides; its functions take their time."""

    @property
    def is_complete(self) -> bool:
        """Whether it is established."""

    def step(self, token: bytes) -> bytes:
        """Take a token, give the next."""

    def offer(self) -> bytes:
        """Offer no security layer."""

    def chosen(self, message: bytes) -> bytes:
        """Read the client's choice."""

    def service(self) -> bytes:
        """The service that the ticket is for."""

    def user(self) -> bytes:
        """Who it is."""


class Tickets(Protocol):
    """Where contexts come from."""

    def context(self) -> SecurityContext:
        """Begin one."""


class _State(enum.Enum):
    TOKENS = enum.auto()
    ESTABLISHED = enum.auto()
    OFFERED = enum.auto()
    ENDED = enum.auto()


class Gssapi(Exchange):
    """Tokens until the context stands, then the offer of no security layer, and the answer to it."""

    __slots__ = ("_context", "_run", "_state", "_tickets")

    longest: ClassVar[int] = LONGEST_RESPONSE

    def __init__(self, verifier: Verifier, tickets: Tickets, run: Run) -> None:
        super().__init__(verifier)
        self._tickets = tickets
        self._run = run
        self._context: SecurityContext | None = None
        self._state = _State.TOKENS

    @override
    async def take(self, response: bytes | None) -> Challenge | Authenticated:
        state, self._state = self._state, _State.ENDED
        if state is _State.TOKENS:
            return await self._token(response)
        if state is _State.ESTABLISHED and not response:
            return await self._offer()
        if state is _State.OFFERED and response:
            return await self._answer(response)
        raise MalformedExchange("not what GSSAPI has here")

    async def _token(self, token: bytes | None) -> Challenge:
        """RFC 4752 section 3.2; an empty challenge asks for the first token."""
        if not token:
            if self._context is not None or token is not None:
                raise MalformedExchange("no token")
            self._state = _State.TOKENS
            return Challenge(b"")
        if self._context is None:
            self._context = await self._elsewhere(self._tickets.context)
        answer = await self._elsewhere(partial(self._context.step, token))
        if not self._context.is_complete:
            self._state = _State.TOKENS
            return Challenge(answer)
        if not answer:
            return await self._offer()
        self._state = _State.ESTABLISHED
        return Challenge(answer)

    async def _offer(self) -> Challenge:
        assert self._context is not None
        if self._context.service() not in self.verifier.services:
            # Keys of other services may be in the same table; their tickets open nothing here.
            raise AuthenticationFailed("a ticket for another service")
        offer = await self._elsewhere(self._context.offer)
        self._state = _State.OFFERED
        return Challenge(offer)

    async def _answer(self, message: bytes) -> Authenticated:
        """RFC 4752 section 3.2: one octet for the layer, three for its buffer, the rest is who to act as."""
        assert self._context is not None
        said = await self._elsewhere(partial(self._context.chosen, message))
        user = await self._elsewhere(self._context.user)
        self.verifier.tried = user
        if len(said) < 4 or said[0] != 1:
            raise AuthenticationFailed("a security layer that was not offered")
        return await self.verifier.proved(user, said[4:].rstrip(b"\0"))

    async def _elsewhere(self, function: Callable[[], T]) -> T:
        result: T = await self._run(function)
        return result
