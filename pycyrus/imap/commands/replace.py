"""REPLACE and UID REPLACE."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pycyrus.imap.commands.append import new_message
from pycyrus.imap.commands.expunge import writable
from pycyrus.imap.replies import Bad, No
from pycyrus.imap.wire.append import encode_appenduid
from pycyrus.model.acl import DELETE_MESSAGES, EXPUNGE, INSERT
from pycyrus.model.flags import DELETED, FlagAction, FlagChange, Flags

if TYPE_CHECKING:
    from pycyrus.imap.session import Session
    from pycyrus.imap.wire.append import Replace

_SET_DELETED = FlagChange(FlagAction.ADD, Flags(DELETED))


async def replace(session: Session, command: Replace) -> bytes | None:
    """
    Put a message in the place of another, which goes when the new one is safe (RFC 8508 section 3.1).

    @raise MailboxNotFound: No such target; C{creatable} where CREATE could help.
    @raise PermissionDenied: Rights: t and e here, i there.
    @raise OverQuota: Nothing was changed.
    """
    selected = writable(session)
    uids = selected.view.uids[selected.positions(command.sequence, by_uid=command.by_uid)]
    if len(uids) > 1:
        raise Bad(b"Only one message can be replaced")
    if not len(uids):
        raise No(b"No such message", b"EXPUNGEISSUED")
    selected.demand(DELETE_MESSAGES)
    selected.demand(EXPUNGE)
    name = session.names.decode(command.mailbox, utf8=session.is_utf8)
    target = await session.store.open(session.user, name, INSERT)
    try:
        appended = await target.append([await new_message(session, name, command.message)])
    finally:
        target.close()
    session.write(
        b"* OK %b Replacement message ready\r\n"
        % encode_appenduid(appended.uidvalidity, np.array(appended.uids, dtype=np.uint32))
    )
    await selected.mailbox.store(uids, _SET_DELETED)
    await selected.mailbox.expunge(uids)
    return None
