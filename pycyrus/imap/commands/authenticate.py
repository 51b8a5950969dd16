"""AUTHENTICATE."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycyrus.errors import MalformedExchange
from pycyrus.imap.commands.login import greet
from pycyrus.interfaces import Authenticated
from pycyrus.wire.sasl import decode_response, encode_challenge

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
    authenticated = await _exchange(session, arguments)
    session.log_in(authenticated)
    protection = b"tls protection" if session.is_secure else b"no protection"
    return greet(session, authenticated, arguments.mechanism, b"Success (%b)" % protection)


async def _exchange(session: Session, arguments: Authenticate) -> Authenticated:
    exchange = session.authenticator.start(arguments.mechanism, session.channel())
    response = None if arguments.initial is None else decode_response(arguments.initial)
    while True:
        result = await exchange.step(response)
        if isinstance(result, Authenticated):
            break
        response = await _challenge(session, result.data)
    if result.data is not None and await _challenge(session, result.data):
        # IMAP's OK carries no data: they go as a challenge, which the client
        # answers with nothing (RFC 4422 section 3.6).
        raise MalformedExchange("response to the final data")
    return result


async def _challenge(session: Session, data: bytes) -> bytes:
    session.write(b"+ %b\r\n" % encode_challenge(data))
    return decode_response(await session.read_line())
