"""UNAUTHENTICATE."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pycyrus.imap.session import Session


async def unauthenticate(session: Session, arguments: None) -> None:
    """
    Be nobody again, on the same connection (RFC 8437 section 3).

    TLS and compression stay; the selected mailbox, what was enabled, and what the
    client said of itself go.
    """
    session.log_out()
