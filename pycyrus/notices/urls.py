"""Names of users and mailboxes in events, and their URLs; no I/O."""

from __future__ import annotations

from urllib.parse import quote

from pycyrus.model.identity import AdminScope, Identity
from pycyrus.model.names import ExternalNames, MailboxName, NamespaceSettings

OBSERVER = Identity("events", admin=AdminScope.GLOBAL)
"""As whom mailboxes are named, and quotas and rights are looked at."""

_PLAIN = "/$'()*,!~"
"""What stands for itself in a path, beside letters, digits, dash, dot and underscore, as Cyrus has it."""


def owner_of(name: MailboxName) -> str:
    """The id of a mailbox's owner; empty for a shared one."""
    if name.owner is None:
        return ""
    return f"{name.owner}@{name.domain}" if name.domain else name.owner


def folder_of(name: MailboxName) -> str:
    """What a mailbox is called by its owner."""
    path = "/".join(name.path)
    return path if name.owner is None else path or "INBOX"


class Urls:
    """
    URLs of what is on this server (RFC 5092), where mailboxes are named as administrators name them.

    @ivar server: The whole server.
    """

    def __init__(self, server: str, namespace: NamespaceSettings) -> None:
        """@param server: Our name."""
        self.server = f"imap://{server}"
        self._names = ExternalNames(namespace, OBSERVER)

    def mailbox(self, name: MailboxName, uidvalidity: int | None = None, uid: int | None = None) -> str:
        """A mailbox, or a message in it."""
        url = f"{self.server}/{quote(self._names.encode(name, utf8=True), safe=_PLAIN)}"
        if uidvalidity is not None:
            url += f";UIDVALIDITY={uidvalidity}"
        if uid is not None:
            url += f"/;UID={uid}"
        return url
