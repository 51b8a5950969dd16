"""STARTTLS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycyrus.imap.replies import Bad

if TYPE_CHECKING:
    from pycyrus.imap.session import Session


async def starttls(session: Session, arguments: None) -> bytes:
    """
    Begin TLS when this was answered (RFC 9051 section 6.2.1).

    @raise Bad: TLS is active, or there is no certificate.
    """
    if session.is_secure:
        raise Bad(b"TLS already active")
    if not session.can_start_tls:
        raise Bad(b"Starttls not available")
    session.after_reply(session.start_tls)
    return b"Begin TLS negotiation now"
