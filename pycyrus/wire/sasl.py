"""
The base64 lines of a SASL exchange, which all line protocols share.

RFC 4422 section 4; RFC 9051 section 6.2.2, RFC 4954 section 4, RFC 5034 section 4.
"""

from __future__ import annotations

from binascii import Error, a2b_base64, b2a_base64

from pycyrus.errors import AuthenticationCancelled, MalformedExchange

LONGEST_RESPONSE = 12288
"""Octets of one response in base64, which RFC 4954 section 4 asks to be accepted; tickets need the most."""


def decode_response(line: bytes, limit: int = LONGEST_RESPONSE) -> bytes:
    """
    Decode what a client sent, without its CRLF.

    C{=} is an empty initial response (RFC 4959 section 3).

    @param limit: Octets of the line.
    @raise AuthenticationCancelled: The client sent C{*}.
    @raise MalformedExchange: Not base64, or longer than the limit.
    """
    if line == b"*":
        raise AuthenticationCancelled
    if line == b"=":
        return b""
    if len(line) > limit:
        raise MalformedExchange("response too long")
    try:
        data = a2b_base64(line, strict_mode=True)
    except Error as error:
        raise MalformedExchange("response is not base64") from error
    # RFC 4648 section 3.5: one way to write each value, so no padding beyond it.
    if b2a_base64(data, newline=False) != line:
        raise MalformedExchange("response is not canonical base64")
    return data


def encode_challenge(data: bytes) -> bytes:
    """Encode what goes to the client; without CRLF, or the protocol's mark of a challenge."""
    return b2a_base64(data, newline=False)
