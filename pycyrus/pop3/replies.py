"""
What goes wrong, as POP3 says it: Cyrus's texts with the response codes of RFC 2449 and RFC 3206.

The table L{REPLIES} has a row for every class of L{pycyrus.errors}; no text of an
exception reaches a client.
"""

from __future__ import annotations

from pycyrus import errors
from pycyrus.net.line_session import Farewells


class Err(Exception):
    """
    The command failed.

    @ivar text: Behind C{-ERR}, with its response code.
    """

    def __init__(self, text: bytes) -> None:
        super().__init__(text)
        self.text = text


IN_USE = b"[IN-USE] Unable to lock maildrop: Mailbox is locked by POP server"
TOO_SOON = b"[LOGIN-DELAY] Logins must be at least %d minute%b apart"
DENIED = b"[SYS/PERM] Permission denied"
UNRECOGNIZED = b"Unrecognized command"
NO_SUCH_MESSAGE = b"No such message"
NOT_A_NUMBER = b"Not a number"
LINE_TOO_LONG = b"-ERR Command line too long"
UNAVAILABLE = b"-ERR [SYS/TEMP] Server(s) unavailable to complete operation"
FAREWELLS = Farewells(
    shutting_down=b"-ERR [SYS/TEMP] Server shutting down",
    idle=None,  # RFC 1939 section 3: without any response
    too_many_errors=b"-ERR Too many errors",
    too_many_connections=b"-ERR [SYS/TEMP] Too many connections",
    internal_error=b"-ERR [SYS/TEMP] Internal error",
)

REPLIES: dict[type[errors.MailStoreError], bytes] = {
    errors.MailStoreError: b"[SYS/TEMP] Internal error",
    errors.InvalidMailboxName: b"[SYS/PERM] Unable to locate maildrop: Invalid mailbox name",
    errors.MailboxNotFound: b"[SYS/PERM] Unable to locate maildrop: Mailbox does not exist",
    errors.MailboxExists: b"[SYS/PERM] Mailbox already exists",
    errors.MailboxHasChildren: b"[SYS/PERM] Mailbox has inferior hierarchical names",
    errors.PermissionDenied: b"[SYS/PERM] Unable to open maildrop: Permission denied",
    errors.OperationNotSupported: b"[SYS/PERM] Operation is not supported on mailbox",
    errors.UnknownPartition: b"[SYS/PERM] Unknown/invalid partition",
    errors.TransferFailed: b"[SYS/PERM] Mailbox was not moved",
    errors.SpecialUseConflict: b"[SYS/PERM] SPECIAL-USE flag conflict",
    errors.OverQuota: b"[SYS/TEMP] Over quota",
    errors.QuotaRootNotFound: b"[SYS/TEMP] Internal error",
    errors.MessageTooLarge: b"[SYS/PERM] Message size exceeds fixed limit",
    errors.MessageRejected: b"[SYS/PERM] Message is not acceptable",
    errors.TooManyKeywords: b"[SYS/PERM] Too many user flags in mailbox",
    errors.LimitExceeded: b"[SYS/TEMP] Limit exceeded",
    errors.StoreUnavailable: b"[SYS/TEMP] System I/O error",
    errors.MessageGone: b"[SYS/TEMP] Message no longer exists",
    errors.MailboxMoving: b"[SYS/TEMP] Mailbox is being moved to another server",
    errors.StoreFull: b"[SYS/TEMP] System I/O error, no room left",
    errors.MailboxDisabled: b"[SYS/PERM] Mailbox is disabled",
    errors.MailboxCorrupted: b"[SYS/TEMP] Mailbox format corruption detected",
    errors.AuthenticationFailed: b"[AUTH] Invalid login",
    errors.AuthenticationUnavailable: b"[SYS/TEMP] Login failed: temporary failure",
    errors.AuthorizationDenied: b"[AUTH] Invalid login",
    errors.MechanismUnavailable: b"[AUTH] no mechanism available",
    errors.PlaintextRefused: b"[AUTH] USER command only available under a layer",
    errors.AuthenticationCancelled: b"[AUTH] Client canceled authentication",
    errors.MalformedExchange: b"[AUTH] bad protocol / cancel",
}


def text_of(error: errors.MailStoreError) -> bytes:
    """What stands behind C{-ERR} for a domain error."""
    if isinstance(error, errors.LimitExceeded) and error.reason:
        return b"[SYS/TEMP] " + error.reason.encode("ascii", "replace")
    for kind in type(error).__mro__:
        if kind in REPLIES:
            return REPLIES[kind]
    return REPLIES[errors.MailStoreError]
