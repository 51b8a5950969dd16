"""The events there are, and what each tells (RFC 5423 section 4); no I/O."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Group(enum.Enum):
    """Events are switched on in groups; the values are words of C{event_groups}."""

    MESSAGE = "message"
    QUOTA = "quota"
    FLAGS = "flags"
    ACCESS = "access"
    MAILBOX = "mailbox"
    SUBSCRIPTION = "subscription"


class Extra(enum.Enum):
    """What is told where C{event_extra_params} asks for it; the values are its words."""

    BODY_STRUCTURE = "bodyStructure"
    CLIENT_ADDRESS = "clientAddress"
    DISK_USED = "diskUsed"
    ENVELOPE = "vnd.cmu.envelope"
    FLAG_NAMES = "flagNames"
    MAILBOX_ACL = "vnd.cmu.mailboxACL"
    MESSAGE_CONTENT = "messageContent"
    MESSAGE_IDS = "vnd.cmu.midset"
    MESSAGE_SIZE = "messageSize"
    MESSAGES = "messages"
    MODSEQ = "modseq"
    SERVICE = "service"
    SESSION_ID = "vnd.cmu.sessionId"
    TIMESTAMP = "timestamp"
    UIDNEXT = "uidnext"
    UNSEEN = "vnd.cmu.unseenMessages"


@dataclass(frozen=True, slots=True)
class Kind:
    """
    A kind of event.

    @ivar has_content: It is about one message or more that are new, and may tell of
        what is in them.
    """

    name: str
    group: Group
    has_content: bool = False


MESSAGE_NEW = Kind("MessageNew", Group.MESSAGE, has_content=True)
MESSAGE_APPEND = Kind("MessageAppend", Group.MESSAGE, has_content=True)
MESSAGE_COPY = Kind("vnd.cmu.MessageCopy", Group.MESSAGE)
MESSAGE_MOVE = Kind("vnd.cmu.MessageMove", Group.MESSAGE)
MESSAGE_EXPUNGE = Kind("MessageExpunge", Group.MESSAGE)
MESSAGE_EXPIRE = Kind("MessageExpire", Group.MESSAGE)
QUOTA_EXCEED = Kind("QuotaExceed", Group.QUOTA)
QUOTA_WITHIN = Kind("QuotaWithin", Group.QUOTA)
QUOTA_CHANGE = Kind("QuotaChange", Group.QUOTA)
MESSAGE_READ = Kind("MessageRead", Group.FLAGS)
MESSAGE_TRASH = Kind("MessageTrash", Group.FLAGS)
FLAGS_SET = Kind("FlagsSet", Group.FLAGS)
FLAGS_CLEAR = Kind("FlagsClear", Group.FLAGS)
LOGIN = Kind("Login", Group.ACCESS)
LOGOUT = Kind("Logout", Group.ACCESS)
ACL_CHANGE = Kind("AclChange", Group.ACCESS)
MAILBOX_CREATE = Kind("MailboxCreate", Group.MAILBOX)
MAILBOX_DELETE = Kind("MailboxDelete", Group.MAILBOX)
MAILBOX_RENAME = Kind("MailboxRename", Group.MAILBOX)
MAILBOX_SUBSCRIBE = Kind("MailboxSubscribe", Group.SUBSCRIPTION)
MAILBOX_UNSUBSCRIBE = Kind("MailboxUnSubscribe", Group.SUBSCRIPTION)
