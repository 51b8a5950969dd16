"""What the options say of logins: mechanisms, who may act as whom, who is denied."""

from __future__ import annotations

from pathlib import Path
from socket import gethostname

from pycyrus.auth.acting import IsDenied, IsInboxAdministrator
from pycyrus.auth.authenticator import AuthSettings
from pycyrus.auth.denials import Denials
from pycyrus.config.settings import Settings
from pycyrus.errors import MailboxNotFound
from pycyrus.interfaces import IMailStore
from pycyrus.model.identity import Identity
from pycyrus.model.names import inbox_of

_SERVICES = {
    "imapd": b"imap",
    "pop3d": b"pop",
    "lmtpd": b"lmtp",
    "timsieved": b"sieve",
    "mupdate": b"mupdate",
    "sync_server": b"csync",
}
"""Names of services in Kerberos principals and DIGEST-MD5, by the program (RFC 2222 section 7)."""

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


def denials(settings: Settings) -> IsDenied:
    """Who may not use a service (C{user_deny.db})."""
    path = settings.text("userdeny_db_path")
    return Denials(Path(path) if path else Path(settings.text("configdirectory")) / "user_deny.db").is_denied
