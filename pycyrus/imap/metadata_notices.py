"""What NOTIFY tells of metadata: which entries were changed, by whomever (RFC 5465 sections 5.6 and 5.7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pycyrus.errors import MailStoreError
from pycyrus.imap.scopes import mailboxes_of
from pycyrus.imap.wire.metadata import encode_changed
from pycyrus.imap.wire.notify import EventKind

if TYPE_CHECKING:
    from pycyrus.imap.session import Session
    from pycyrus.imap.wire.notify import EventGroup
    from pycyrus.model.mailbox_name import MailboxName

MAX_MAILBOXES = 500
"""Whose entries one session may watch; of others nothing is told."""
_BLOCK = 20
"""Mailboxes looked at between two turns of other sessions."""


class MetadataNotices:
    """Of one session; the entries of mailboxes by name, of the server by None."""

    def __init__(self, session: Session, groups: Sequence[EventGroup]) -> None:
        self._session = session
        self._where = [group.where for group in groups if EventKind.MAILBOX_METADATA in group.events]
        self._has_server = any(EventKind.SERVER_METADATA in group.events for group in groups)
        self._told: dict[MailboxName | None, Mapping[str, bytes]] = {}
        self._version = 0

    async def begin(self) -> None:
        """Take everything as it is now."""
        if self._where or self._has_server:
            self._version = self._session.store.annotations_version()
            self._told = await self._look()

    async def tell(self) -> None:
        """Tell the names of entries that were changed; clients ask for the values."""
        if not (self._where or self._has_server):
            return
        version = self._session.store.annotations_version()
        if version == self._version:
            return
        self._version = version
        before, self._told = self._told, await self._look()
        for name, now in self._told.items():
            # Of a mailbox that is new, or was not seen before, nothing is known that could have changed.
            old = before.get(name, now)
            changed = sorted(entry for entry in old.keys() | now.keys() if old.get(entry) != now.get(entry))
            if changed:
                session = self._session
                wire = b"" if name is None else session.names.encode(name, utf8=session.is_utf8)
                session.write(encode_changed(wire, changed, utf8=session.is_utf8))
                await session.drain()

    async def _look(self) -> dict[MailboxName | None, Mapping[str, bytes]]:
        session = self._session
        names: list[MailboxName | None] = [None] if self._has_server else []
        if self._where:
            names += (await mailboxes_of(session, self._where))[:MAX_MAILBOXES]
        found: dict[MailboxName | None, Mapping[str, bytes]] = {}
        for count, name in enumerate(names, 1):
            try:
                found[name] = await session.store.annotations(session.user, name, facts=False)
            except MailStoreError:
                # It went meanwhile.
                continue
            if not count % _BLOCK:
                await session.pause()
        return found
