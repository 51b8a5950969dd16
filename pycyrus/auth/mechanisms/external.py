"""EXTERNAL (RFC 4422 appendix A): TLS has proved who it is."""

from __future__ import annotations

from dataclasses import dataclass

from typing_extensions import override

from pycyrus.auth.mechanisms.base import SingleMessage
from pycyrus.errors import MalformedExchange
from pycyrus.interfaces import Authenticated


@dataclass(slots=True)
class External(SingleMessage):
    """One message: who to act as, empty for whoever the certificate names."""

    @override
    async def decide(self, message: bytes) -> Authenticated:
        if b"\0" in message:
            raise MalformedExchange("NUL in an authorisation identity")
        return await self.verifier.certificate(message)
