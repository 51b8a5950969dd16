"""LOGOUT."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pycyrus.imap.session import Session


async def logout(session: Session, arguments: None) -> None:
    """Say goodbye, and close when that was answered (RFC 9051 section 6.1.3)."""
    session.write(b"* BYE LOGOUT received\r\n")
    session.after_reply(session.close)
