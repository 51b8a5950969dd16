"""Octets and files in the arguments of commands by which mailboxes come from other servers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from typing import TYPE_CHECKING

from pycyrus.errors import MailStoreError

if TYPE_CHECKING:
    from pycyrus.imap.session import Session
    from pycyrus.interfaces import ISyncFile

LARGEST_FILE = 0xFFFFFFFF
_PIECE = 65_536


async def octets(session: Session, size: int) -> AsyncIterator[bytes]:
    """Read so many, in pieces."""
    while size:
        data = await session.dialogue.read_octets(min(size, _PIECE))
        size -= len(data)
        yield data


async def take_file(begun: Awaitable[ISyncFile] | None, data: AsyncIterator[bytes]) -> None:
    """
    Take a file, and its octets in any case.

    @param begun: Gives the file; None where nobody wants it.
    @raise MailStoreError: It could not be taken.
    """
    file: ISyncFile | None = None
    failure: MailStoreError | None = None
    try:
        if begun is not None:
            file = await begun
    except MailStoreError as error:
        failure = error
    async for piece in data:
        if file is not None and failure is None:
            try:
                file.write(piece)
            except MailStoreError as error:
                failure = error
    if failure is not None:
        raise failure
    if file is not None:
        file.finish()
