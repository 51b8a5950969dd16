"""CAPABILITY."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pycyrus.imap.session import Session


async def capability(session: Session, arguments: None) -> None:
    """Tell what the server can do now (RFC 9051 section 6.1.1)."""
    session.write(b"* CAPABILITY %b\r\n" % session.capabilities())
