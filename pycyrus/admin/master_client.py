"""The MUPDATE master, as commands ask it."""

from __future__ import annotations

from pycyrus.app.murder_parts import make_dial
from pycyrus.config.load import Configuration
from pycyrus.mupdate.client import MupdateClient


async def connect(configuration: Configuration) -> MupdateClient:
    """
    Connect, and log in.

    @raise StoreUnavailable: The master cannot be used.
    """
    from twisted.internet import reactor

    return await make_dial(configuration.settings, reactor)(lambda changes: None, lambda reason: None)
