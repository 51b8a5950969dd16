"""
MUPDATE as a service: C{cmd="mupdate -m"} for the master.

Only administrators may come in, such as C{mupdate_admins} of a service called mupdate.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.interfaces import IProtocolFactory

from pycyrus.app.context import COMPATIBLE_VERSION, Context
from pycyrus.config.settings import Settings
from pycyrus.mupdate.protocol import MupdateFactory
from pycyrus.mupdate.settings import MupdateSettings


def make_factory(context: Context, name: str, arguments: Sequence[str]) -> IProtocolFactory:
    """Build the factory for one SERVICES entry."""
    settings = context.settings.for_service(name)
    limits = context.limits(settings, "mupdate")
    return MupdateFactory(
        context.locations(),
        context.authenticator(settings, "mupdate"),
        mupdate_settings(settings, name, context.server_name),
        limits,
        context.tls.optional(settings),
        context.reactor,
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
