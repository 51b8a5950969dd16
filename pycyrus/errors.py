"""
What can go wrong in a mail store, in no protocol's words.

Everything below a server raises these; each server's C{replies.py} maps every
class to its own reply, and a test fails where a row is missing.  The message
of an exception is for the log: clients are told fixed texts, which reveal no
path, no host, and not whether a hidden mailbox exists.
"""

from __future__ import annotations


class MailStoreError(Exception):
    """Base of all that a mail store reports."""


# --- names and permission ---------------------------------------------------


class InvalidMailboxName(MailStoreError):
    """The name breaks the naming rules; nothing of that name can exist."""


class MailboxNotFound(MailStoreError):
    """
    There is no such mailbox, or the identity may not know that there is.

    @ivar creatable: The identity could create it (IMAP's TRYCREATE).
    """

    def __init__(self, detail: str = "", *, creatable: bool = False) -> None:
        super().__init__(detail)
        self.creatable = creatable


class MailboxExists(MailStoreError):
    """A mailbox of that name exists already."""


class MailboxHasChildren(MailStoreError):
    """The mailbox has inferior hierarchical names, so it cannot be deleted."""


class PermissionDenied(MailStoreError):
    """The identity may see the mailbox, but lacks the right for this."""


class OperationNotSupported(MailStoreError):
    """Never possible on this mailbox, such as deleting one's own INBOX."""


class MailboxDisabled(MailStoreError):
    """Its user is denied the service by an administrator, who may allow it again."""


class UnknownPartition(MailStoreError):
    """The partition asked for is not configured."""


class SpecialUseConflict(MailStoreError):
    """The special-use attribute is unknown or already used (RFC 6154 section 3)."""


# --- content and limits -----------------------------------------------------


class OverQuota(MailStoreError):
    """The quota would be exceeded; nothing was changed."""


class QuotaRootNotFound(MailStoreError):
    """No quota was set for this name."""


class MessageTooLarge(MailStoreError):
    """The message exceeds the configured maximum size."""


class MessageRejected(MailStoreError):
    """
    The content of the message is not acceptable.

    @ivar reason: A fixed text fit for clients, such as C{Message contains NUL
        characters}.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TooManyKeywords(MailStoreError):
    """The mailbox has no room for a further keyword."""


class LimitExceeded(MailStoreError):
    """
    A configured limit on cost was reached: arguments, connections, time.

    @ivar reason: A fixed text fit for clients.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TransferFailed(MailStoreError):
    """
    A mailbox did not move to another server.

    @ivar reason: ASCII, fit for an administrator.
    @ivar is_temporary: It may later, with nothing changed: a server did not answer.
    """

    def __init__(self, reason: str, *, is_temporary: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_temporary = is_temporary


# --- storage ----------------------------------------------------------------


class StoreUnavailable(MailStoreError):
    """The store cannot do this now (I/O error, dead partition); it may later."""


class MessageGone(MailStoreError):
    """The message was expunged and its file is gone."""


class MailboxMoving(StoreUnavailable):
    """The mailbox is on its way to another server, and for a moment at none that could be asked."""


class StoreFull(StoreUnavailable):
    """The file system has no room left; nothing was changed."""


class MailboxCorrupted(StoreUnavailable):
    """The mailbox could not be repaired at open; others are not affected."""


# --- accounts ---------------------------------------------------------------


class AuthenticationFailed(MailStoreError):
    """Unknown user, wrong secret or disabled account: one answer for all."""


class AuthenticationUnavailable(MailStoreError):
    """The credentials could not be checked now; the client may try again."""


class AuthorizationDenied(MailStoreError):
    """The authenticated identity may not act as the requested one."""


class MechanismUnavailable(MailStoreError):
    """No such SASL mechanism, or not on this connection."""


class PlaintextRefused(MailStoreError):
    """Plaintext credentials are only accepted under a security layer."""


class AuthenticationCancelled(MailStoreError):
    """The client broke the SASL exchange off (C{*})."""


class MalformedExchange(MailStoreError):
    """A SASL response was not base64, or not what the mechanism defines."""
