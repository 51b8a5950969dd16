"""PLAIN (RFC 4616)."""

from __future__ import annotations

from dataclasses import dataclass

from typing_extensions import override

from pycyrus.auth.mechanisms.base import Exchange
from pycyrus.errors import MalformedExchange
from pycyrus.interfaces import Authenticated, Challenge


@dataclass(slots=True)
class Plain(Exchange):
    """One message: who to act as, who it is, and the password."""

    ended: bool = False

    @override
    async def take(self, response: bytes | None) -> Challenge | Authenticated:
        if self.ended:
            raise MalformedExchange("response after the end")
        if response is None:
            return Challenge(b"")
        self.ended = True
        parts = response.split(b"\0")
        # RFC 4616 section 2: exactly two NULs, and neither name nor password empty.
        if len(parts) != 3 or not parts[1] or not parts[2]:
            raise MalformedExchange("not a PLAIN message")
        acting_as, user, password = parts
        return await self.verifier.password(user, password, acting_as)
