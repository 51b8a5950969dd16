"""
Socket maps as a service: C{cmd="smmapd"}.

It tells which addresses exist, so it belongs on a Unix socket, or where only
mail transfer agents connect.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.interfaces import IProtocolFactory

from pycyrus.app.context import Context, delivery_settings
from pycyrus.delivery.verifier import RecipientVerifier
from pycyrus.interfaces import IRecipientVerifier
from pycyrus.smmap.protocol import SmmapFactory, SmmapSettings


def make_factory(context: Context, name: str, arguments: Sequence[str]) -> IProtocolFactory:
    """Build the factory for one SERVICES entry."""
    settings = context.settings.for_service(name)
    delivery = delivery_settings(settings, context.server_name)
    verifier: IRecipientVerifier = RecipientVerifier(context.store, delivery)
    frontend = context.frontend()
    if frontend is not None:
        verifier = frontend.verifier(verifier, delivery)
    return SmmapFactory(
        verifier,
        SmmapSettings(over_quota_permanent=settings.switch("lmtp_over_quota_perm_failure")),
        context.limits(settings, "smmapd"),
        context.reactor,
    )
