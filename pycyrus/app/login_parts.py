"""What the options say of logins: mechanisms, who may act as whom, who is denied."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from socket import gethostname
from typing import Any

from twisted.logger import Logger

from pycyrus.auth.acting import IsDenied, IsInboxAdministrator
from pycyrus.auth.authenticator import AuthSettings
from pycyrus.auth.denials import Denials
from pycyrus.auth.kerberos import Acceptor, is_available
from pycyrus.auth.mechanisms.oauth import Tokens
from pycyrus.config.settings import Settings
from pycyrus.errors import MailboxNotFound
from pycyrus.interfaces import IMailStore
from pycyrus.model.identity import Identity
from pycyrus.model.names import inbox_of

_log = Logger()

_SERVICES = {
    "imapd": b"imap",
    "pop3d": b"pop",
    "lmtpd": b"lmtp",
    "timsieved": b"sieve",
    "mupdate": b"mupdate",
    "sync_server": b"csync",
}
"""Names of services in Kerberos principals and DIGEST-MD5, by the program (RFC 4422 section 4)."""

_BETWEEN_SERVERS = frozenset({"lmtpd", "mupdate", "sync_server"})
"""Whoever may use these may do anything to any mailbox."""


def auth_settings(settings: Settings, program: str) -> AuthSettings:
    """
    How clients of a service log in.

    @param program: Of its command in cyrus.conf.
    """
    return AuthSettings(
        mechanisms=tuple(name.upper() for name in settings.words("sasl_mech_list")),
        allow_plaintext=settings.switch("allowplaintext"),
        # No mechanism here has a security layer of its own: only TLS can be strong enough.
        tls_required=settings.switch("tls_required") or settings.integer("sasl_minimum_layer") > 0,
        proxy_servers=settings.words("proxyservers"),
        admins_only=program in _BETWEEN_SERVERS,
        anonymous=settings.switch("allowanonymouslogin"),
        apop=settings.switch("allowapop"),
        server_name=settings.text("servername") or gethostname(),
        services=frozenset({_SERVICES.get(program, b"imap")}),
    )


def tickets(settings: Settings) -> Acceptor | None:
    """Whose Kerberos tickets are taken (C{sasl_keytab}); None where there is no key table that can be read."""
    path = Path(settings.text("sasl_keytab"))
    is_readable = os.access(path, os.R_OK)
    if settings.given("sasl_keytab") and not (is_readable and is_available()):
        _log.warn(
            "sasl_keytab: there is no GSSAPI: {reason}",
            reason="the package gssapi is not installed" if is_readable else f"{path} cannot be read",
        )
    return Acceptor(path) if is_readable and is_available() else None


def tokens(settings: Settings, reactor: Any) -> Tokens | None:
    """Whose access tokens are taken (C{oauth_...}); None for nobody's."""
    if not any(settings.text(name) for name in ("oauth_jwks_file", "oauth_jwks_url", "oauth_introspection_url")):
        return None
    key_file, authorities = settings.text("oauth_jwks_file"), settings.text("oauth_ca_file")
    try:
        # Only here: the package it needs is an extra.
        from pycyrus.auth.oauth.settings import OAuthConfigurationError, OAuthSettings
        from pycyrus.auth.oauth.tokens import TokenVerifier
    except ImportError as error:
        _log.error("oauth: tokens are not taken: {error}; install pycyrus[oauth]", error=error)
        return None
    try:
        return TokenVerifier(
            OAuthSettings(
                issuer=settings.text("oauth_issuer"),
                audiences=settings.words("oauth_audience"),
                key_file=Path(key_file) if key_file else None,
                key_url=settings.text("oauth_jwks_url"),
                introspection_url=settings.text("oauth_introspection_url"),
                client_id=settings.text("oauth_client_id"),
                client_secret=settings.text("oauth_client_secret"),
                authorities=Path(authorities) if authorities else None,
                user_claim=settings.text("oauth_user_claim"),
                scope=settings.text("oauth_scope"),
                discovery_url=settings.text("oauth_discovery_url"),
            ),
            reactor,
        )
    except OAuthConfigurationError as error:
        _log.error("oauth: tokens are not taken: {error}", error=error)
        return None


def inbox_administrators(settings: Settings, store: IMailStore) -> IsInboxAdministrator | None:
    """Who may log in as others because of an ACL (C{loginuseacl}); None for nobody."""
    if not settings.switch("loginuseacl"):
        return None

    async def administers(identity: Identity, wanted: Identity) -> bool:
        try:
            return "a" in await store.rights(identity, inbox_of(wanted))
        except MailboxNotFound:
            return False

    return administers


def denials_path(settings: Settings) -> Path:
    """Where the list of denied users is."""
    path = settings.text("userdeny_db_path")
    return Path(path) if path else Path(settings.text("configdirectory")) / "user_deny.db"


def denials(settings: Settings) -> IsDenied:
    """Who may not use a service (C{user_deny.db})."""
    return Denials(denials_path(settings)).is_denied


def mail_denials(settings: Settings) -> Callable[[str], bool]:
    """Who gets no mail: whoever is denied C{lmtp}, whatever the services of that kind are called."""
    is_denied = denials(settings)
    return lambda user_id: is_denied(user_id, "lmtp")
