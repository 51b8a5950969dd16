"""What the options say of TLS, and the contexts that services share."""

from __future__ import annotations

from pathlib import Path

from twisted.logger import Logger

from pycyrus.config.settings import Settings
from pycyrus.net.session_keys import SessionKeys
from pycyrus.net.tls import ServerContext, TLSConfigurationError, TLSSettings

_OFFERED_VERSIONS = ("tls1_2", "tls1_3")
"""Of C{tls_versions}: earlier ones were broken long ago (RFC 8996)."""


def tls_settings(settings: Settings) -> TLSSettings | None:
    """What TLS a service offers; None for none."""
    certificate, key = settings.text("tls_server_cert"), settings.text("tls_server_key")
    if not certificate or "disabled" in (certificate, key):
        return None
    authorities, directory = settings.text("tls_client_ca_file"), settings.text("tls_client_ca_dir")
    chain, names = settings.text("tls_server_ca_file"), settings.text("tls_sni_dir")
    revoked = settings.text("tls_crl_file")
    asked = settings.words("tls_versions")
    return TLSSettings(
        certificate=Path(certificate),
        key=Path(key) if key else None,
        chain=Path(chain) if chain else None,
        versions=frozenset(version for version in asked if version not in ("tls1_0", "tls1_1"))
        or frozenset(_OFFERED_VERSIONS),
        ciphers=settings.text("tls_ciphers"),
        prefer_server_ciphers=settings.switch("tls_prefer_server_ciphers"),
        client_ca_file=Path(authorities) if authorities else None,
        client_ca_directory=Path(directory) if directory else None,
        client_certificates=settings.word("tls_client_certs"),
        revoked=Path(revoked) if revoked else None,
        names_directory=Path(names) if names else None,
        session_timeout=settings.duration("tls_session_timeout"),
    )


class TLSContexts:
    """The TLS contexts of all services; equal settings share one."""

    log = Logger()

    def __init__(self, keys: SessionKeys | None = None) -> None:
        """@param keys: Of sessions, where other processes have them too."""
        # Alone it can make those of the next day when it comes.
        self._keys = keys or SessionKeys(1)
        self._contexts: dict[TLSSettings, ServerContext] = {}

    def optional(self, settings: Settings) -> ServerContext | None:
        """
        What STARTTLS begins with; None where TLS is not configured.

        @raise TLSConfigurationError: It is, but cannot be used.
        """
        wanted = tls_settings(settings)
        if wanted is None:
            return None
        if wanted not in self._contexts:
            self._contexts[wanted] = ServerContext(wanted, self._keys)
        return self._contexts[wanted]

    def required(self, settings: Settings) -> ServerContext:
        """
        What a service has that begins with TLS.

        @raise TLSConfigurationError: There is none.
        """
        context = self.optional(settings)
        if context is None:
            raise TLSConfigurationError("tls_server_cert: a service that begins with TLS needs a certificate; set it")
        return context

    def reload(self) -> None:
        """
        Read all certificates and keys again.

        @raise TLSConfigurationError: One cannot be used; what it had stays in use.
        """
        for context in self._contexts.values():
            context.reload()
