"""
LMTP as a service: C{cmd="lmtpd"}, or C{cmd="lmtpd -a"} where whoever connects is trusted.

A Unix socket is trusted as well.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.interfaces import IProtocolFactory

from pycyrus.app.context import Context, delivery_settings, product
from pycyrus.config.settings import Settings
from pycyrus.lmtp.protocol import LmtpFactory
from pycyrus.lmtp.settings import LmtpSettings


def make_factory(context: Context, name: str, arguments: Sequence[str]) -> IProtocolFactory:
    """Build the factory for one SERVICES entry."""
    settings = context.settings.for_service(name)
    trusted = "-a" in arguments
    tls = None if "-s" in arguments or trusted else context.tls.optional(settings)
    frontend = context.frontend()
    delivery = context.delivery
    if frontend is not None:
        delivery = frontend.delivery(delivery, delivery_settings(settings, context.server_name))
    return LmtpFactory(
        delivery,
        context.authenticator(settings, "lmtpd"),
        lmtp_settings(settings, name, context.server_name, trusted),
        context.limits(settings, "lmtpd"),
        tls,
        context.reactor,
    )


def lmtp_settings(settings: Settings, name: str, server_name: str, trusted: bool) -> LmtpSettings:
    """What the options say of an LMTP service."""
    return LmtpSettings(
        server_name=server_name,
        product=product(settings, "Cyrus LMTP"),
        service=name,
        preauthenticated=trusted,
        tls_required=settings.switch("tls_required"),
        soft_noauth=settings.switch("soft_noauth"),
        strict_rfc2821=settings.switch("lmtp_strict_rfc2821"),
        over_quota_permanent=settings.switch("lmtp_over_quota_perm_failure"),
        max_message_size=settings.integer("maxmessagesize"),
        max_recipients=settings.integer("lmtp_recipients"),
        max_errors=settings.integer("lmtp_errors"),
        idle_timeout=float(settings.duration("lmtp_timeout")),
        login_timeout=float(settings.duration("login_timeout")),
        transaction_timeout=float(settings.duration("lmtp_transaction_timeout")),
    )
