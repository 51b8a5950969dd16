"""
MUPDATE as a service: C{cmd="mupdate -m"} for the master, C{cmd="mupdate"} for a copy.

Only administrators may come in, such as C{mupdate_admins} of a service called mupdate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from twisted.internet.interfaces import IProtocolFactory

from pycyrus import COMPATIBLE_VERSION
from pycyrus.app.context import Context
from pycyrus.config.settings import Settings
from pycyrus.mupdate.protocol import MupdateFactory
from pycyrus.mupdate.settings import MupdateSettings


def make_factory(context: Context, name: str, arguments: Sequence[str]) -> IProtocolFactory:
    """Build the factory for one SERVICES entry."""
    settings = context.settings.for_service(name)
    is_master = "-m" in arguments
    slave = None if is_master else context.slave()
    shared = context.shared_locations() if is_master else None
    own = mupdate_settings(settings, name, context.server_name)
    catches_up = slave or shared
    return MupdateFactory(
        shared or context.locations(),
        context.authenticator(settings, "mupdate"),
        own if slave is None else replace(own, master=f"mupdate://{settings.text('mupdate_server')}"),
        context.limits(settings, "mupdate"),
        context.tls.optional(settings),
        context.reactor,
        None if catches_up is None else catches_up.catch_up,
    )


def mupdate_settings(settings: Settings, name: str, server_name: str) -> MupdateSettings:
    """What the options say of a MUPDATE service."""
    return MupdateSettings(
        server_name=server_name,
        version=COMPATIBLE_VERSION,
        service=name,
        login_timeout=float(settings.duration("login_timeout")),
        max_errors=settings.integer("unauthenticated_errors"),
    )
