"""What a socket map answers: a word that a mail transfer agent acts on, and a text for its log."""

from __future__ import annotations

from pycyrus import errors

NOT_FOUND = b"NOTFOUND Mailbox does not exist"
OVER_QUOTA = b"TEMP Over quota"
OVER_QUOTA_PERMANENT = b"PERM Over quota"
SHUTTING_DOWN = b"TEMP Server shutting down"

BAD_PROTOCOL = b"PERM Bad protocol (%b)"

ERROR_REPLIES: dict[type[errors.MailStoreError], bytes] = {
    errors.MailStoreError: b"TEMP System I/O error",
    errors.InvalidMailboxName: NOT_FOUND,
    errors.MailboxNotFound: NOT_FOUND,
    errors.PermissionDenied: b"PERM Permission denied",
    errors.OperationNotSupported: b"PERM Permission denied",
    errors.OverQuota: OVER_QUOTA,
    errors.StoreUnavailable: b"TEMP System I/O error",
}
"""For errors of looking a mailbox up their replies; what is not here is its base's."""


def reply_to_error(error: errors.MailStoreError, *, over_quota_permanent: bool = False) -> bytes:
    """Turn a domain error into its reply."""
    if over_quota_permanent and isinstance(error, errors.OverQuota):
        return OVER_QUOTA_PERMANENT
    return next(ERROR_REPLIES[cls] for cls in type(error).__mro__ if cls in ERROR_REPLIES)


def ok(local_part: str, domain: str) -> bytes:
    """Mail for the address may be accepted."""
    address = f"{local_part}@{domain}" if domain else local_part
    return b"OK " + address.encode("utf-8", "replace")
