"""PLAIN (RFC 4616)."""

from __future__ import annotations

from dataclasses import dataclass

from typing_extensions import override

from pycyrus.auth.mechanisms.base import SingleMessage
from pycyrus.errors import MalformedExchange
from pycyrus.interfaces import Authenticated


@dataclass(slots=True)
class Plain(SingleMessage):
    """One message: who to act as, who it is, and the password."""

    @override
    async def decide(self, message: bytes) -> Authenticated:
        parts = message.split(b"\0")
        # RFC 4616 section 2: exactly two NULs, and neither name nor password empty.
        if len(parts) != 3 or not parts[1] or not parts[2]:
            raise MalformedExchange("not a PLAIN message")
        acting_as, user, password = parts
        return await self.verifier.password(user, password, acting_as)
