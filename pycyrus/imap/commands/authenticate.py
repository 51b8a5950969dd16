"""AUTHENTICATE."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycyrus.imap.commands.login import greet
from pycyrus.sasl import converse

if TYPE_CHECKING:
    from pycyrus.imap.session import Session
    from pycyrus.imap.wire.login import Authenticate


async def authenticate(session: Session, arguments: Authenticate) -> bytes:
    """
    Log in by a SASL exchange (RFC 9051 section 6.2.2, RFC 4959).

    @raise AuthenticationFailed: One answer for every reason.
    @raise MalformedExchange: No base64, or not what the mechanism defines.
    @raise AuthenticationCancelled: By the client.
    """

    async def ask(challenge: bytes) -> bytes:
        session.write(b"+ %b\r\n" % challenge)
        return await session.read_line()

    exchange = session.authenticator.start(arguments.mechanism, session.channel())
    authenticated = await converse(exchange, arguments.initial, ask)
    session.log_in(authenticated)
    protection = b"tls protection" if session.is_secure else b"no protection"
    return greet(session, authenticated, arguments.mechanism, b"Success (%b)" % protection)
