"""
What LMTP answers: one table of its own replies, one for domain errors.

Codes as in RFC 5321 section 4.2.3, RFC 3463 and RFC 4954 section 6, chosen as
Cyrus does, since mail transfer agents decide by them whether to try again.
Nothing here tells why, beyond what the sender may know.
"""

from __future__ import annotations

from pycyrus import errors
from pycyrus.lmtp.wire import Reply
from pycyrus.net.line_session import Farewells


def _reply(code: int, enhanced: str, *lines: str) -> Reply:
    return Reply(code, enhanced, lines)


# --- the dialogue ---------------------------------------------------------------

SENDER_OK = _reply(250, "2.1.0", "ok")
RECIPIENT_OK = _reply(250, "2.1.5", "ok")
NOOP_OK = _reply(250, "2.0.0", "ok")
GO_AHEAD = _reply(354, "", "go ahead")
CANNOT_VERIFY = _reply(252, "2.3.3", "Cannot VRFY user, but will accept message and attempt delivery")
BYE = _reply(221, "2.0.0", "bye")
BEGIN_TLS = _reply(220, "2.0.0", "Begin TLS negotiation now")
AUTHENTICATED = _reply(235, "2.7.0", "Authenticated!")

SYNTAX_ERROR = _reply(500, "5.5.2", "Syntax error")
LINE_TOO_LONG = _reply(500, "5.5.2", "Line too long")
BAD_PARAMETERS = _reply(501, "5.5.4", "Syntax error in parameters")
UNKNOWN_PARAMETER = _reply(501, "5.5.4", "Unrecognized parameters")
NOT_SUPPORTED = _reply(502, "5.5.1", "Command not supported")
NESTED_MAIL = _reply(503, "5.5.1", "Nested MAIL command")
NEED_MAIL = _reply(503, "5.5.1", "Need MAIL command")
NO_RECIPIENTS = _reply(503, "5.5.1", "No recipients")
CHUNKED = _reply(503, "5.5.1", "Not permitted between BDAT commands")
BINARY = _reply(503, "5.5.1", "BODY=BINARYMIME requires BDAT")
TOO_MANY_RECIPIENTS = _reply(452, "4.5.3", "Too many recipients")
LOGIN_FIRST_SOFT = _reply(430, "4.7.0", "Authentication required")
LOGIN_FIRST = _reply(530, "5.7.0", "Authentication required")
TLS_FIRST = _reply(530, "5.7.0", "Must issue a STARTTLS command first")
STARTTLS_NOT_NOW = _reply(503, "5.5.0", "STARTTLS not permitted now")
ALREADY_AUTHENTICATED = _reply(503, "5.5.0", "already authenticated")
AUTH_IN_TRANSACTION = _reply(503, "5.5.0", "AUTH not permitted during a mail transaction")


def timed_out(reason: str) -> Reply:
    """The connection ends because of a time limit."""
    return _reply(421, "4.4.1", f"bye {reason}")


FAREWELLS = Farewells(
    shutting_down=_reply(421, "4.3.2", "Server shutting down").line(),
    idle=timed_out("Timed out").line(),
    too_many_errors=_reply(421, "4.7.0", "bye Too many errors").line(),
    too_many_connections=_reply(421, "4.7.0", "Too many connections").line(),
    internal_error=_reply(421, "4.3.0", "bye Internal error").line(),
)


def too_big(size: int, limit: int) -> Reply:
    """The message as received is over the limit."""
    return _reply(552, "5.2.3", f"Message size ({size}) exceeds fixed maximum message size ({limit})")


def announced_too_big(limit: int) -> Reply:
    """RFC 1870 section 6.1: the size announced in MAIL is over the limit."""
    return _reply(552, "5.2.3", f"Message SIZE exceeds fixed maximum message size ({limit})")


def chunk_received(size: int) -> Reply:
    """RFC 3030 section 2: a chunk that is not the last."""
    return _reply(250, "2.0.0", f"{size} octets received")


def reset(session_id: str) -> Reply:
    """Answer to RSET."""
    return _reply(250, "2.0.0", f"Ok SESSIONID=<{session_id}>")


def delivered(session_id: str) -> Reply:
    """A recipient's copy is on disk."""
    return _reply(250, "2.1.5", f"Success SESSIONID=<{session_id}>")


# --- domain errors ----------------------------------------------------------------

_NO_SUCH_USER = _reply(550, "5.1.1", "There is no such mailbox, or it may not be seen from here", "User unknown")
_SYSTEM_ERROR = _reply(451, "4.3.0", "System I/O error")
_MAILBOX_ERROR = _reply(451, "4.2.0", "Mailbox cannot be used now")
_DENIED = _reply(550, "5.7.1", "Permission denied")
_NOT_YOU = _reply(535, "5.7.8", "authentication failed")

ERROR_REPLIES: dict[type[errors.MailStoreError], Reply] = {
    errors.MailStoreError: _SYSTEM_ERROR,
    errors.InvalidMailboxName: _NO_SUCH_USER,
    errors.MailboxNotFound: _NO_SUCH_USER,
    errors.MailboxExists: _MAILBOX_ERROR,
    errors.MailboxHasChildren: _MAILBOX_ERROR,
    errors.PermissionDenied: _DENIED,
    errors.OperationNotSupported: _DENIED,
    errors.UnknownPartition: _SYSTEM_ERROR,
    errors.TransferFailed: _SYSTEM_ERROR,
    errors.SpecialUseConflict: _MAILBOX_ERROR,
    errors.OverQuota: _reply(452, "4.2.2", "Over quota"),
    errors.QuotaRootNotFound: _MAILBOX_ERROR,
    errors.MessageTooLarge: _reply(552, "5.2.3", "Message size exceeds fixed maximum message size"),
    errors.MessageRejected: _reply(554, "5.6.0", "Message contents not acceptable"),
    errors.TooManyKeywords: _MAILBOX_ERROR,
    errors.LimitExceeded: _reply(452, "4.5.3", "Limit exceeded"),
    errors.StoreUnavailable: _SYSTEM_ERROR,
    errors.MessageGone: _SYSTEM_ERROR,
    errors.MailboxMoving: _reply(451, "4.2.0", "Mailbox is being moved to another server"),
    errors.StoreFull: _reply(451, "4.3.1", "No room on the file system"),
    errors.MailboxDisabled: _reply(451, "4.2.1", "Mailbox disabled"),
    errors.MailboxCorrupted: _MAILBOX_ERROR,
    errors.AuthenticationFailed: _NOT_YOU,
    errors.AuthenticationUnavailable: _reply(454, "4.7.0", "Temporary authentication failure"),
    errors.AuthorizationDenied: _NOT_YOU,
    errors.MechanismUnavailable: _reply(504, "5.5.4", "Unrecognized authentication type"),
    errors.PlaintextRefused: _reply(538, "5.7.11", "Encryption required for requested authentication mechanism"),
    errors.AuthenticationCancelled: _reply(501, "5.7.0", "Authentication cancelled"),
    errors.MalformedExchange: _reply(501, "5.5.2", "Cannot decode the response"),
}
"""For every class of L{pycyrus.errors} its reply."""

_OVER_QUOTA_PERMANENT = _reply(552, "5.2.2", "Over quota")
_MAX_REASON = 400


def reply_to_error(error: errors.MailStoreError, *, session_id: str = "", over_quota_permanent: bool = False) -> Reply:
    """
    Turn a domain error into its reply.

    @param session_id: Told with the last line, so that a sender's log leads
        to ours; empty for none.
    """
    if over_quota_permanent and isinstance(error, errors.OverQuota):
        reply = _OVER_QUOTA_PERMANENT
    else:
        reply = next(ERROR_REPLIES[cls] for cls in type(error).__mro__ if cls in ERROR_REPLIES)
    lines = reply.lines
    if isinstance(error, errors.MessageRejected | errors.LimitExceeded):
        lines = (_printable(error.reason),)
    if session_id:
        lines = (*lines[:-1], f"{lines[-1]} SESSIONID=<{session_id}>")
    return Reply(reply.code, reply.enhanced, lines)


def _printable(reason: str) -> str:
    """Keep a text on one line, whoever wrote it."""
    return "".join(c if " " <= c <= "~" else "?" for c in reason[:_MAX_REASON])
