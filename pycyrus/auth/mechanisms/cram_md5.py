"""CRAM-MD5 (RFC 2195): a challenge, and an answer keyed with the password."""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass

from typing_extensions import override

from pycyrus.auth.mechanisms.base import Exchange, timestamp
from pycyrus.errors import AuthenticationFailed, MalformedExchange
from pycyrus.interfaces import Authenticated, Challenge

_ANSWER = re.compile(rb"(?P<user>[^\x00]+) (?P<digest>[0-9a-f]{32})\Z")


@dataclass(slots=True)
class CramMd5(Exchange):
    """
    One message of the client, which comes second.

    @ivar challenge: What it answers; empty before.
    """

    challenge: bytes = b""
    ended: bool = False

    @override
    async def take(self, response: bytes | None) -> Challenge | Authenticated:
        if self.ended:
            raise MalformedExchange("response after the end")
        if not self.challenge:
            if response:
                # The server begins (RFC 4422 section 5): there is no initial response.
                self.ended = True
                raise MalformedExchange("an initial response")
            self.challenge = timestamp(self.verifier.server_name)
            return Challenge(self.challenge)
        self.ended = True
        message = _ANSWER.match(response or b"")
        if message is None:
            raise MalformedExchange("not a CRAM-MD5 answer")
        user = message["user"]
        secret = await self.verifier.secret(user)
        right = hmac.new(secret or b"", self.challenge, "md5").hexdigest().encode("ascii")
        if not hmac.compare_digest(right, message["digest"]) or secret is None:
            raise AuthenticationFailed("wrong digest")
        return await self.verifier.proved(user, b"")
