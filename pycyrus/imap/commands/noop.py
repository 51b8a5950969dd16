"""NOOP and CHECK."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pycyrus.imap.session import Session


async def noop(session: Session, arguments: None) -> None:
    """
    Do nothing but tell what changed, as every command's end does (RFC 9051 section 6.1.2).

    CHECK (RFC 3501 section 6.4.1) does the same: there is nothing to write
    back, for a change is durable without it.
    """
