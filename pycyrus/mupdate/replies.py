"""What MUPDATE commands are answered, in Cyrus's words."""

from __future__ import annotations

from pycyrus import errors
from pycyrus.net.line_session import Farewells

FAREWELLS = Farewells(
    shutting_down=b"Server shutting down",
    idle=b"Idle for too long",
    too_many_errors=b"Too many errors",
    too_many_connections=b"Server Unable",
    internal_error=b"Internal error",
)


class Refused(Exception):
    """A command is answered NO or BAD."""

    def __init__(self, status: bytes, text: bytes) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


ERROR_REPLIES: dict[type[errors.MailStoreError], bytes] = {
    errors.MailStoreError: b"internal error",
    errors.MailboxExists: b"mailbox already exists",
    errors.MailboxNotFound: b"mailbox doesn't exist",
    errors.StoreUnavailable: b"database error",
    errors.LimitExceeded: b"limit exceeded",
    errors.AuthenticationFailed: b"authentication failure",
    errors.AuthenticationUnavailable: b"temporary authentication failure",
    errors.AuthorizationDenied: b"authorization failure",
    errors.MechanismUnavailable: b"no mechanism available",
    errors.PlaintextRefused: b"encryption needed to use mechanism",
    errors.AuthenticationCancelled: b"authentication cancelled",
    errors.MalformedExchange: b"bad protocol / cancel",
}
"""Texts for errors; what is not here has its base's."""


def text_of(error: errors.MailStoreError) -> bytes:
    """The text for a domain error."""
    return next(ERROR_REPLIES[cls] for cls in type(error).__mro__ if cls in ERROR_REPLIES)
