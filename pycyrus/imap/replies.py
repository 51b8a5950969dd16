"""
What goes wrong, as tagged replies: Cyrus's texts with the response codes of RFC 5530.

A command function raises L{No} or L{Bad}, or lets a domain error through: the
table L{REPLIES} has a row for every class of L{pycyrus.errors}.  Texts are
fixed; the cause of a failure goes to the log.
"""

from __future__ import annotations

from dataclasses import dataclass

from pycyrus import errors
from pycyrus.imap.wire.grammar import BadSyntax

GONE = b"[EXPUNGEISSUED] Some of the messages no longer exist"
"""A number stood for a message that is gone: no error, as with Cyrus and Dovecot (RFC 2180 section 4.2)."""


class No(Exception):
    """
    The command failed (RFC 9051 section 7.1.2).

    @ivar text: For the client.
    @ivar code: A response code without its brackets.
    """

    def __init__(self, text: bytes, code: bytes | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.code = code


class Bad(Exception):
    """
    The command is none, or not now (RFC 9051 section 7.1.3).

    @ivar text: For the client.
    @ivar code: A response code without its brackets.
    """

    def __init__(self, text: bytes, code: bytes | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.code = code


class Bye(Exception):
    """
    The session must end (RFC 9051 section 7.1.5).

    @ivar text: For the client, perhaps beginning with a response code.
    """

    def __init__(self, text: bytes) -> None:
        super().__init__(text)
        self.text = text


@dataclass(frozen=True, slots=True)
class Reply:
    """
    The reply to a domain error.

    @ivar text: For the client.
    @ivar code: A response code without its brackets; None if none is defined.
    @ivar status: C{NO} or C{BAD}.
    """

    text: bytes
    code: bytes | None = None
    status: bytes = b"NO"


REPLIES: dict[type[errors.MailStoreError], Reply] = {
    errors.MailStoreError: Reply(b"Internal Error", b"SERVERBUG"),
    errors.InvalidMailboxName: Reply(b"Invalid mailbox name", b"CANNOT"),
    errors.MailboxNotFound: Reply(b"Mailbox does not exist", b"NONEXISTENT"),
    errors.MailboxExists: Reply(b"Mailbox already exists", b"ALREADYEXISTS"),
    errors.MailboxHasChildren: Reply(b"Mailbox has inferior hierarchical names", b"HASCHILDREN"),
    errors.PermissionDenied: Reply(b"Permission denied", b"NOPERM"),
    errors.OperationNotSupported: Reply(b"Operation is not supported on mailbox", b"CANNOT"),
    errors.UnknownPartition: Reply(b"Unknown/invalid partition", b"CANNOT"),
    errors.SpecialUseConflict: Reply(b"SPECIAL-USE flag conflict", b"USEATTR"),
    errors.OverQuota: Reply(b"Over quota", b"OVERQUOTA"),
    errors.QuotaRootNotFound: Reply(b"Quota root does not exist", b"NONEXISTENT"),
    errors.MessageTooLarge: Reply(b"Message size exceeds fixed limit", b"TOOBIG"),
    errors.MessageRejected: Reply(b"Message is not acceptable", b"CANNOT"),
    errors.TooManyKeywords: Reply(b"Too many user flags in mailbox", b"LIMIT"),
    errors.LimitExceeded: Reply(b"Limit exceeded", b"LIMIT"),
    errors.TransferFailed: Reply(b"Mailbox was not moved", b"CANNOT"),
    errors.StoreUnavailable: Reply(b"System I/O error", b"UNAVAILABLE"),
    errors.MessageGone: Reply(b"Message no longer exists", b"EXPUNGEISSUED"),
    errors.MailboxMoving: Reply(b"Mailbox is being moved to another server", b"INUSE"),
    errors.StoreFull: Reply(b"System I/O error, no room left", b"UNAVAILABLE"),
    errors.MailboxDisabled: Reply(b"Mailbox is disabled", b"NOPERM"),
    errors.MailboxCorrupted: Reply(b"Mailbox format corruption detected", b"CORRUPTION"),
    errors.AuthenticationFailed: Reply(b"Login failed: authentication failure", b"AUTHENTICATIONFAILED"),
    errors.AuthenticationUnavailable: Reply(b"Login failed: temporary failure", b"UNAVAILABLE"),
    errors.AuthorizationDenied: Reply(b"Login failed: authorization failure", b"AUTHORIZATIONFAILED"),
    errors.MechanismUnavailable: Reply(b"no mechanism available"),
    errors.PlaintextRefused: Reply(b"Login only available under a layer", b"PRIVACYREQUIRED"),
    errors.AuthenticationCancelled: Reply(b"Client cancelled authentication", status=b"BAD"),
    errors.MalformedExchange: Reply(b"Invalid base64 or authentication exchange", status=b"BAD"),
}
"""Replies by exact class."""

CommandError = (No, Bad, BadSyntax, errors.MailStoreError)
"""What a command may raise and still be answered."""


def reply_to(error: errors.MailStoreError, *, may_create: bool = False) -> Reply:
    """
    Find the reply to a domain error.

    @param may_create: The command is one that a client may repeat after CREATE
        (C{TRYCREATE}, RFC 9051 section 7.1).
    """
    if isinstance(error, errors.MailboxNotFound) and may_create and error.creatable:
        return Reply(REPLIES[errors.MailboxNotFound].text, b"TRYCREATE")
    for kind in type(error).__mro__:
        reply = REPLIES.get(kind)
        if reply is not None:
            break
    else:  # the last class of every row is MailStoreError
        reply = REPLIES[errors.MailStoreError]
    if isinstance(error, (errors.MessageRejected, errors.LimitExceeded)):
        return Reply(error.reason.encode("ascii", "replace"), reply.code, reply.status)
    return reply


def tagged(tag: bytes, error: Exception, *, may_create: bool = False) -> bytes:
    """
    Write the tagged line that answers a L{CommandError}.

    @param may_create: As for L{reply_to}.
    """
    status = b"NO"
    code: bytes | None = None
    if isinstance(error, errors.MailStoreError):
        reply = reply_to(error, may_create=may_create)
        status, code, text = reply.status, reply.code, reply.text
    elif isinstance(error, No):
        code, text = error.code, error.text
    elif isinstance(error, Bad):
        status, code, text = b"BAD", error.code, error.text
    elif isinstance(error, BadSyntax):
        status, text = b"BAD", error.text
    else:
        raise TypeError(type(error))
    if code is None:
        return b"%b %b %b\r\n" % (tag, status, text)
    return b"%b %b [%b] %b\r\n" % (tag, status, code, text)
