"""NAMESPACE."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pycyrus.imap.session import Session


async def namespace(session: Session, arguments: None) -> None:
    """Tell the prefixes of one's own, other users' and shared mailboxes (RFC 9051 section 6.3.10)."""
    visible = await session.store.namespaces(session.user)
    if not session.names.administrative:
        visible -= session.settings.listing.hidden
    session.write(b"* NAMESPACE %b\r\n" % session.names.namespace_lines(visible))
