"""POP3 as a service: C{cmd="pop3d"}, or C{cmd="pop3d -s"} for TLS from the beginning."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from twisted.internet.interfaces import IProtocolFactory

from pycyrus.app.context import Context, product
from pycyrus.config.settings import Settings
from pycyrus.pop3.protocol import Pop3Factory
from pycyrus.pop3.settings import Pop3Settings, UidlFormat
from pycyrus.store.maildrops import CLAIMS, MaildropClaims


def make_factory(context: Context, name: str, arguments: Sequence[str]) -> IProtocolFactory:
    """Build the factory for one SERVICES entry."""
    settings = context.settings.for_service(name)
    # Where TLS begins at once there is nothing left to start.
    tls = None if "-s" in arguments else context.tls.optional(settings)
    frontend = context.frontend()
    return Pop3Factory(
        context.store,
        context.authenticator(settings, "pop3d"),
        pop3_settings(settings, name, context.server_name),
        MaildropClaims(Path(settings.text("configdirectory")) / CLAIMS),
        context.limits(settings, "pop3d"),
        tls,
        context.reactor,
        None if frontend is None else frontend.pop3,
        context.watcher,
    )


def pop3_settings(settings: Settings, name: str, server_name: str) -> Pop3Settings:
    """What the options say of a POP3 service."""
    expire = settings.duration("popexpiretime")
    return Pop3Settings(
        server_name=server_name,
        product=product(settings, "Cyrus POP3"),
        service=name,
        login_timeout=float(settings.duration("login_timeout")),
        timeout=float(settings.duration("poptimeout")),
        max_errors=settings.integer("unauthenticated_errors"),
        expire=None if expire < 0 else expire // 86_400,
        plaintext_pause=float(settings.duration("plaintextloginpause")),
        serves_frontends=bool(settings.words("proxyservers")),
        login_delay=float(settings.duration("popminpoll")),
        login_burst=settings.integer("poppollpadding"),
        uidl_format=UidlFormat[settings.word("uidl_format").upper()],
        has_subfolders=settings.switch("popsubfolders"),
        uses_acl=settings.switch("popuseacl"),
        uses_imap_flags=settings.switch("popuseimapflags"),
        folder_separator="/" if settings.switch("unixhierarchysep") else ".",
    )
