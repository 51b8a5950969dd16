"""ANONYMOUS (RFC 4505): whoever it is, they do not say."""

from __future__ import annotations

from dataclasses import dataclass

from typing_extensions import override

from pycyrus.auth.mechanisms.base import SingleMessage
from pycyrus.errors import MalformedExchange
from pycyrus.interfaces import Authenticated

_LONGEST_TRACE = 255


@dataclass(slots=True)
class Anonymous(SingleMessage):
    """One message: a trace, such as a mail address, which proves nothing."""

    @override
    async def decide(self, message: bytes) -> Authenticated:
        # RFC 4505 section 2: at most 255 characters of UTF-8.
        if len(message) > 4 * _LONGEST_TRACE or b"\0" in message:
            raise MalformedExchange("not a trace")
        return await self.verifier.anonymous(message)
