"""
Mailbox names: one value inside, codecs at the edges; all of it by one import.

Inside, nobody handles name strings: a L{MailboxName} goes everywhere.
"""

from pycyrus.errors import InvalidMailboxName
from pycyrus.model.internal_names import MAX_INTERNAL_NAME, internal, parse_internal, user_inbox
from pycyrus.model.mailbox_name import MailboxName, inbox_of
from pycyrus.model.namespace import ExternalNames, NamespaceSettings, VirtualDomains
from pycyrus.model.naming_policy import check_policy
from pycyrus.model.patterns import compile_pattern
from pycyrus.model.utf7 import modified_utf7_decode, modified_utf7_encode

__all__ = [
    "MAX_INTERNAL_NAME",
    "ExternalNames",
    "InvalidMailboxName",
    "MailboxName",
    "NamespaceSettings",
    "VirtualDomains",
    "check_policy",
    "compile_pattern",
    "inbox_of",
    "internal",
    "modified_utf7_decode",
    "modified_utf7_encode",
    "parse_internal",
    "user_inbox",
]
