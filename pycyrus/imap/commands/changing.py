"""What stands before every command that changes the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycyrus.imap.replies import No

if TYPE_CHECKING:
    from pycyrus.imap.session import Session


def demand_changes_allowed(session: Session) -> None:
    """
    Refuse to change anything where the service is configured so (C{readonly}).

    @raise No: It is.
    """
    if session.settings.is_read_only:
        raise No(b"This connection is configured for read-only access", b"NOPERM")
