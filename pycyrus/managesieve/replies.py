"""What ManageSieve commands are answered (RFC 5804 sections 1.2 and 1.3), in Cyrus's words."""

from __future__ import annotations

from pycyrus import errors
from pycyrus.net.line_session import Farewells

FAREWELLS = Farewells(
    shutting_down=b"Server shutting down",
    idle=b"Idle for too long",
    too_many_errors=b"Too many errors",
    too_many_connections=b"Too many connections",
    internal_error=b"Internal error",
)
NO_COMMAND = b"Expected a command. Got something else."
LOGIN_FIRST = b"Authenticate first"
NO_SCRIPTS = b"This server runs no Sieve scripts"


class Refused(Exception):
    """
    A command is answered NO.

    @ivar code: What stands in parentheses before the text; empty for nothing.
    """

    def __init__(self, text: bytes, code: bytes = b"") -> None:
        super().__init__(text)
        self.text = text
        self.code = code


_LOGIN_FAILED = b"Authentication Error"
_TRY_LATER = b"TRYLATER"
UNAVAILABLE = b"Server(s) unavailable to complete operation"

REPLIES: dict[type[errors.MailStoreError], tuple[bytes, bytes]] = {
    errors.MailStoreError: (b"", b"Internal error"),
    errors.InvalidMailboxName: (b"", _LOGIN_FAILED),
    errors.MailboxNotFound: (b"", _LOGIN_FAILED),
    errors.LimitExceeded: (_TRY_LATER, b"Too many connections"),
    errors.StoreUnavailable: (_TRY_LATER, UNAVAILABLE),
    errors.AuthenticationFailed: (b"", _LOGIN_FAILED),
    errors.AuthenticationUnavailable: (_TRY_LATER, b"Temporary authentication failure"),
    errors.AuthorizationDenied: (b"", _LOGIN_FAILED),
    errors.MechanismUnavailable: (b"", _LOGIN_FAILED),
    errors.PlaintextRefused: (b"ENCRYPT-NEEDED", b"Encryption is needed to use this mechanism"),
    errors.AuthenticationCancelled: (b"", b"Client canceled authentication"),
    errors.MalformedExchange: (b"", _LOGIN_FAILED),
}
"""Codes and texts for errors; what is not here has its base's."""


def reply_of(error: errors.MailStoreError) -> tuple[bytes, bytes]:
    """The code and the text for a domain error."""
    return next(REPLIES[cls] for cls in type(error).__mro__ if cls in REPLIES)
