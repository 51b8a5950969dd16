"""What moves mailboxes between servers, built from the options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pycyrus.app.frontend_parts import backend_settings
from pycyrus.config.settings import Settings
from pycyrus.interfaces import IMailboxPublisher
from pycyrus.murder.backends import Backends
from pycyrus.murder.transfer_link import TransferLink
from pycyrus.murder.transfers import Transfers
from pycyrus.store.incoming import Arrivals
from pycyrus.store.outgoing import Departures
from pycyrus.store.store import MailStore
from pycyrus.store.transfer_log import TransferLog


def make_transfers(
    settings: Settings, server_name: str, store: MailStore, publisher: IMailboxPublisher | None, reactor: Any
) -> Transfers:
    """
    Build it.

    @raise ConfigError: An option cannot be used.
    @raise StoreUnavailable: The record of transfers cannot be used.
    """
    backends = Backends(backend_settings(settings), reactor)
    parts = store.transfer_parts()
    transfers = TransferLog(Path(settings.text("configdirectory")), reactor)

    async def dial(server: str, transfer_id: str) -> TransferLink:
        return TransferLink(await backends.own_link(server), transfer_id, reactor)

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
    )
