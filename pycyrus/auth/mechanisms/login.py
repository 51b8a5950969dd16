"""LOGIN: never standardised (draft-murchison-sasl-login), and all that some clients know."""

from __future__ import annotations

from dataclasses import dataclass

from typing_extensions import override

from pycyrus.auth.mechanisms.base import Exchange
from pycyrus.errors import MalformedExchange
from pycyrus.interfaces import Authenticated, Challenge


@dataclass(slots=True)
class Login(Exchange):
    """
    Two messages: user name, password.

    @ivar user: None until it came.
    """

    user: bytes | None = None
    ended: bool = False

    @override
    async def take(self, response: bytes | None) -> Challenge | Authenticated:
        if self.ended:
            raise MalformedExchange("response after the end")
        if response is None and self.user is None:
            return Challenge(b"Username:")
        if not response or b"\0" in response:
            self.ended = True
            raise MalformedExchange("empty name or password")
        if self.user is None:
            self.user = response
            return Challenge(b"Password:")
        self.ended = True
        return await self.verifier.password(self.user, response, b"")
