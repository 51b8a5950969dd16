"""CANCELUPDATE."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pycyrus.imap.session import Session


async def cancelupdate(session: Session, tags: tuple[bytes, ...]) -> None:
    """Tell no more of what changes in the results of some searches (RFC 5267 section 4.3.1)."""
    assert session.selected is not None
    for tag in tags:
        session.selected.contexts.pop(tag, None)
