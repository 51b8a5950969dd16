"""NAMESPACE."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycyrus.model.scopes import Namespace

if TYPE_CHECKING:
    from pycyrus.imap.session import Session


async def namespace(session: Session, arguments: None) -> None:
    """
    Tell the prefixes of one's own, other users' and shared mailboxes (RFC 9051 section 6.3.10).

    As Cyrus tells them: whether something is there that one may see can change while the session lasts.
    """
    visible = await session.store.namespaces(session.user) | {Namespace.OTHER, Namespace.SHARED}
    if not session.names.administrative:
        visible -= session.settings.listing.hidden
    session.write(b"* NAMESPACE %b\r\n" % session.names.namespace_lines(visible))
