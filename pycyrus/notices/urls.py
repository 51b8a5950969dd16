"""Names of users and mailboxes in events, and their URLs; no I/O."""

from __future__ import annotations

from urllib.parse import quote

from pycyrus.model.names import MailboxName


def owner_of(name: MailboxName) -> str:
    """The id of a mailbox's owner; empty for a shared one."""
    if name.owner is None:
        return ""
    return f"{name.owner}@{name.domain}" if name.domain else name.owner


def folder_of(name: MailboxName) -> str:
    """What a mailbox is called by its owner."""
    path = "/".join(name.path)
    return path if name.owner is None else path or "INBOX"


def server_url(server: str) -> str:
    """The whole server."""
    return f"imap://{server}"


def mailbox_url(server: str, name: MailboxName, uidvalidity: int | None = None, uid: int | None = None) -> str:
    """
    A mailbox, or a message in it.

    As Cyrus writes it: the at sign of the owner's id stays as it is, other than in RFC 5092 section 3.2.
    """
    owner = owner_of(name)
    authority = f"{quote(owner, safe='@')}@{server}" if owner else server
    url = f"imap://{authority}/{quote(folder_of(name))}"
    if uidvalidity is not None:
        url += f";UIDVALIDITY={uidvalidity}"
    if uid is not None:
        url += f"/;UID={uid}"
    return url
