"""Who is referred to another server, instead of being brought there (RFC 2193)."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from pycyrus.imap.replies import No
from pycyrus.model.identity import Identity

_ADMINISTRATORS = frozenset((b"CREATE", b"SETACL", b"DELETEACL"))
"""What only an administrator is referred for: who is one here need not be one there."""
_REFERRED = _ADMINISTRATORS | {b"SELECT", b"EXAMINE", b"APPEND", b"DELETE", b"STATUS"}
"""As the frontends of Cyrus 3.6 refer: what is not here is passed on."""


@dataclass(frozen=True, slots=True)
class RouteSettings:
    """
    What a frontend's options say.

    @ivar refers: Clients that can be referred to other servers are
        (C{proxyd_disable_mailbox_referrals} is off).
    @ivar refers_status: STATUS too (C{proxyd_allow_status_referral}).
    @ivar subscribes_to_all: There may be subscriptions to what is not there (C{allowallsubscribe}).
    @ivar has_own: This server has mailboxes itself, and knows of them before the directory does (C{mupdate_config}).
    """

    refers: bool = True
    refers_status: bool = False
    subscribes_to_all: bool = False
    has_own: bool = False


def refer(settings: RouteSettings, user: Identity, command: bytes, server: str, wire: bytes) -> None:
    """
    Refer a client that said it can be (RFC 2193 section 3), if this command is one for which that is done.

    @param server: Where the mailbox is.
    @param wire: Its name, as the client wrote it.
    @raise No: It is referred.
    """
    if not settings.refers or command not in _REFERRED:
        return
    if command == b"STATUS" and not settings.refers_status:
        return
    if command in _ADMINISTRATORS and not user.administers(user.domain):
        return
    who = b"anonymous" if user.user_id == "anonymous" else b"*"
    url = b"imap://;AUTH=%b@%b/%b" % (who, server.encode("ascii"), quote(wire, safe="/").encode("ascii"))
    raise No(b"Remote mailbox.", b"REFERRAL " + url)
