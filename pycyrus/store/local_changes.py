"""Changes of the list of which the Murder's master is not told, for those who mend a Murder."""

from __future__ import annotations

import sqlite3

from pycyrus.errors import MailboxHasChildren, PermissionDenied
from pycyrus.model.acl import LOOKUP
from pycyrus.model.identity import Identity
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.store import access, rows
from pycyrus.store.rows import Work, key_of
from pycyrus.store.transfer_parts import TransferParts, drop_seen
from pycyrus.store.tree import Wanted


async def create_here(parts: TransferParts, identity: Identity, name: MailboxName, partition: str | None) -> str:
    """
    Create a mailbox, whatever other servers have under its name.

    @return: Its unique id.
    @raise MailStoreError: As L{pycyrus.interfaces.IMailStore.create}.
    """
    if not identity.administers(name.domain):
        raise PermissionDenied("an administrator's")
    wanted = Wanted(identity, name, partition, is_alone=True)
    entry = await parts.shield.run(
        parts.directory.change(lambda connection: parts.tree.create(connection, wanted), is_told=False)
    )
    return entry.unique_id


async def delete_here(parts: TransferParts, identity: Identity, name: MailboxName) -> None:
    """
    Remove a mailbox for good; what the master has under its name is let alone.

    @raise MailboxNotFound: There is none.
    @raise MailboxHasChildren: It has inferiors.
    @raise MailboxMoving: It is on its way to another server.
    """

    def drop(connection: sqlite3.Connection) -> str:
        parts.tree.catch_up(connection)
        entry = access.check(identity, rows.find(connection, name), LOOKUP)
        if rows.has_inferiors(connection, name):
            raise MailboxHasChildren("children")
        rows.remove(connection, entry)
        rows.add_pending(connection, Work.REMOVE, entry.partition, entry.location)
        if name.is_inbox and name.deleted is None:
            rows.add_pending(connection, Work.USER, "", key_of(name))
        return entry.unique_id

    unique_id = await parts.shield.run(parts.directory.change(drop, parts.tree.finish, is_told=False))
    await parts.userstate.write(lambda connection: drop_seen(connection, [unique_id]))
    await parts.annotations.forget_mailboxes([unique_id])
