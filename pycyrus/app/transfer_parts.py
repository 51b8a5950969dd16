"""What moves mailboxes between servers, built from the options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pycyrus.app.frontend_parts import backend_settings
from pycyrus.config.load import namespace_settings
from pycyrus.config.settings import Settings
from pycyrus.errors import TransferFailed
from pycyrus.interfaces import IMailboxPublisher
from pycyrus.model.identity import AdminScope, Identity
from pycyrus.model.names import ExternalNames, MailboxName
from pycyrus.murder.moving.sync_link import SyncLink
from pycyrus.murder.moving.transfer_link import TransferLink
from pycyrus.murder.moving.transfers import Dial, PeerLink, Transfers
from pycyrus.murder.servers.backends import Backends
from pycyrus.store.incoming import Arrivals
from pycyrus.store.outgoing import Departures
from pycyrus.store.store import MailStore
from pycyrus.store.transfer_log import Outgoing, TransferLog

_ADMINISTRATOR = Identity("", admin=AdminScope.GLOBAL)


def make_dial(backends: Backends, external: Callable[[MailboxName], bytes], reactor: Any) -> Dial:
    """
    Makes what connects to the other server of a transfer, and finds out of which kind it is.

    @param external: How administrators call a mailbox.
    """

    async def dial(transfer: Outgoing) -> PeerLink:
        link = await backends.own_link(transfer.server)
        try:
            ours = TransferLink(link, transfer.transfer_id, reactor)
            if await ours.is_understood():
                return ours
            if b"X-REPLICATION" not in link.capabilities:
                raise TransferFailed("the other server has no X-REPLICATION, as Cyrus has since 3.0")
        except BaseException:
            link.abort("of no use")
            raise
        return SyncLink(link, transfer.root, transfer.partition, reactor, external)

    return dial


def make_transfers(
    settings: Settings,
    server_name: str,
    store: MailStore,
    publisher: IMailboxPublisher | None,
    reactor: Any,
    *,
    may_move_users: bool,
) -> Transfers:
    """
    Build it.

    @param may_move_users: Not only shared mailboxes.
    @raise ConfigError: An option cannot be used.
    @raise StoreUnavailable: The record of transfers cannot be used.
    """
    backends = Backends(backend_settings(settings), reactor)
    parts = store.transfer_parts()
    transfers = TransferLog(Path(settings.text("configdirectory")), reactor)

    names = ExternalNames(namespace_settings(settings), _ADMINISTRATOR)
    dial = make_dial(backends, lambda name: names.encode(name, utf8=False), reactor)

    return Transfers(
        Departures(parts),
        Arrivals(parts, transfers),
        transfers,
        dial,
        server_name,
        publisher,
        reactor,
        default_domain=settings.text("defaultdomain"),
        deleted_prefix=settings.text("deletedprefix"),
        may_move_users=may_move_users,
    )
