"""Reconstructing a mailbox and those below it for an administrator who has a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

from pycyrus.errors import MailboxNotFound, PermissionDenied
from pycyrus.model.identity import Identity
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.store import access
from pycyrus.store.reconstruct import Order, reconstruct

if TYPE_CHECKING:
    from pycyrus.store.store import MailStore

_log = Logger()


async def reconstruct_tree(store: MailStore, identity: Identity, name: MailboxName, *, recursive: bool) -> None:
    """See L{pycyrus.interfaces.IMailStore.reconstruct}."""
    entry = store.directory.lookup(name)
    if not access.visible(identity, entry):
        raise MailboxNotFound(str(name))
    if not identity.administers(name.domain):
        raise PermissionDenied("mailboxes are reconstructed by administrators")
    for each in store.directory.tree_of(name) if recursive else filter(None, [entry]):
        access.check_stays(each)
        state = await store.hold(each)
        try:
            text = store.tree.text(each)
            for remark in await reconstruct(state, each, text, Order()):
                _log.info("reconstruct {mailbox}: {remark}", mailbox=text, remark=remark)
        finally:
            store.release(state)
