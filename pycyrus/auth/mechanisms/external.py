"""EXTERNAL (RFC 4422 appendix A): TLS has proved who it is."""

from __future__ import annotations

from dataclasses import dataclass

from typing_extensions import override

from pycyrus.auth.mechanisms.base import Exchange
from pycyrus.errors import MalformedExchange
from pycyrus.interfaces import Authenticated, Challenge


@dataclass(slots=True)
class External(Exchange):
    """One message: who to act as, empty for whoever the certificate names."""

    ended: bool = False

    @override
    async def take(self, response: bytes | None) -> Challenge | Authenticated:
        if self.ended:
            raise MalformedExchange("response after the end")
        if response is None:
            return Challenge(b"")
        self.ended = True
        if b"\0" in response:
            raise MalformedExchange("NUL in an authorisation identity")
        return await self.verifier.certificate(response)
