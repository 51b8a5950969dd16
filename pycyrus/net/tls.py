"""
TLS for servers: contexts from files, reloaded while running.

OpenSSL's own errors name neither the file nor the mend; these do.
"""

from __future__ import annotations

import datetime
import hashlib
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from pycyrus.net.server_names import NamedCertificate, lookup, read_directory
from pycyrus.net.session_keys import OPTIONS, RELEASE_BUFFERS, SessionKeys

_library: Any = SSL._lib  # type: ignore[attr-defined] # for one function that has no name of its own

_OFF = {
    "tls1_0": SSL.OP_NO_TLSv1,
    "tls1_1": SSL.OP_NO_TLSv1_1,
    "tls1_2": SSL.OP_NO_TLSv1_2,
    "tls1_3": SSL.OP_NO_TLSv1_3,
}

_CLIENT_CERTIFICATES = {
    "off": SSL.VERIFY_NONE,
    "optional": SSL.VERIFY_PEER,
    "require": SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT,
}

_CRL = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----\n?", re.DOTALL)

_SOON = datetime.timedelta(days=14)


class TLSConfigurationError(Exception):
    """TLS cannot be offered; the text names the file and the mend."""


@dataclass(frozen=True, slots=True)
class TLSSettings:
    """
    What a server offers.

    @ivar certificate: PEM, with the intermediate certificates behind it
        (C{tls_server_cert}).
    @ivar key: PEM, without a passphrase (C{tls_server_key}); None where it is in
        the certificate's file.
    @ivar chain: Further certificates to send (C{tls_server_ca_file}).
    @ivar versions: Of C{tls1_0}, C{tls1_1}, C{tls1_2}, C{tls1_3}
        (C{tls_versions}).
    @ivar ciphers: OpenSSL's cipher list for TLS 1.2 and below (C{tls_ciphers}).
    @ivar prefer_server_ciphers: The server's order decides.
    @ivar client_ca_file: Authorities of client certificates.
    @ivar client_ca_directory: The same as a directory that C{openssl rehash}
        made.
    @ivar client_certificates: C{off}, C{optional} or C{require}
        (C{tls_client_certs}).
    @ivar revoked: Certificates of clients that no longer hold, as a list in PEM of their
        authority (C{tls_crl_file}).
    @ivar names_directory: Certificates for further names (C{tls_sni_dir}).
    @ivar session_timeout: Seconds for which a session may be resumed; 0 for never
        (C{tls_session_timeout}).
    """

    certificate: Path
    key: Path | None = None
    chain: Path | None = None
    versions: frozenset[str] = field(default=frozenset({"tls1_2", "tls1_3"}))
    ciphers: str = "DEFAULT"
    prefer_server_ciphers: bool = False
    client_ca_file: Path | None = None
    client_ca_directory: Path | None = None
    client_certificates: str = "optional"
    revoked: Path | None = None
    names_directory: Path | None = None
    session_timeout: int = 24 * 3600


@implementer(IOpenSSLServerConnectionCreator)
class ServerContext:
    """
    Makes the TLS connections of servers.

    C{reload} takes up new files; connections that exist keep what they have.
    """

    log = Logger()

    def __init__(self, settings: TLSSettings, keys: SessionKeys | None = None) -> None:
        """
        @param keys: Of sessions; None for keys that die with the next reload.
        @raise TLSConfigurationError: As C{reload}.
        """
        self.settings = settings
        self._keys = keys
        if keys is not None:
            keys.expire_after(settings.session_timeout)
        self._build_all()

    def reload(self) -> None:
        """
        Read the files again.

        @raise TLSConfigurationError: They cannot be used; the old ones remain in
            use.
        """
        self._build_all()

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:  # noqa: N802, N803 - zope interface
        """Make a connection (IOpenSSLServerConnectionCreator)."""
        if self._keys is None:
            return SSL.Connection(self._context, None)
        return self._keys.connection(self._context, self._options(), self._context.get_verify_mode())

    def _build_all(self) -> None:
        names = self._read_names()
        policy = self._client_policy()
        # Only now is anything changed.
        self._context = self._build(self.settings, policy)
        self._policy = policy
        self._names = names
        self._named: dict[NamedCertificate, SSL.Context | None] = {}
        if names:
            self._context.set_tlsext_servername_callback(self._choose)

    def _read_names(self) -> dict[str, NamedCertificate]:
        directory = self.settings.names_directory
        if directory is None:
            return {}
        try:
            return read_directory(directory)
        except OSError as error:
            raise TLSConfigurationError(f"tls_sni_dir: cannot read {directory}: {error.strerror}") from error

    def _choose(self, connection: SSL.Connection) -> None:
        """Show the certificate of the name that the client asks for; the usual one if there is none."""
        found = lookup(self._names, connection.get_servername() or b"")
        if found is None:
            return
        if found not in self._named:
            settings = replace(self.settings, certificate=found.certificate, key=found.key, chain=None)
            try:
                self._named[found] = self._build(settings, self._policy)
            except TLSConfigurationError as error:
                # Tried once, until the next reload.
                self._named[found] = None
                self.log.error("a certificate for one of the names cannot be used: {error}", error=error)
        context = self._named[found]
        if context is not None:
            connection.set_context(context)

    def _client_policy(self) -> bytes:
        """
        What clients had to prove when a session began.

        A session is resumed only where the same is asked, or whoever was let in without
        a certificate would come in where one is required.
        """
        settings = self.settings
        parts = [settings.client_certificates.encode("utf-8"), str(settings.client_ca_directory).encode("utf-8")]
        if settings.client_ca_file is not None:
            parts.append(_read(settings.client_ca_file, "tls_client_ca_file"))
        if settings.revoked is not None:
            parts.append(_read(settings.revoked, "tls_crl_file"))
        return hashlib.sha256(b"\0".join(parts)).digest()

    def _options(self) -> int:
        settings = self.settings
        options = OPTIONS
        for version, option in _OFF.items():
            if version not in settings.versions:
                options |= option
        if settings.prefer_server_ciphers:
            options |= SSL.OP_CIPHER_SERVER_PREFERENCE
        if not settings.session_timeout:
            options |= SSL.OP_NO_TICKET
        return options

    def _build(self, settings: TLSSettings, policy: bytes) -> SSL.Context:
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        self._check_versions()
        context.set_options(self._options())
        context.set_mode(RELEASE_BUFFERS)
        try:
            context.set_cipher_list(settings.ciphers.encode("utf-8"))
        except SSL.Error as error:
            raise TLSConfigurationError(
                f"tls_ciphers: {settings.ciphers!r} names no cipher that OpenSSL knows; see openssl ciphers -v"
            ) from error
        # Tickets resume sessions in any process that has their key; a cache
        # of our own would only cost memory.
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_session_id(policy)
        if settings.session_timeout:
            context.set_timeout(settings.session_timeout)
        self._load_certificate(context, settings)
        self._load_client_authorities(context)
        return context

    def _check_versions(self) -> None:
        versions = self.settings.versions
        unknown = sorted(versions - _OFF.keys())
        if unknown:
            raise TLSConfigurationError(f"tls_versions: {unknown[0]!r} is none of {', '.join(_OFF)}")
        if not versions:
            raise TLSConfigurationError("tls_versions: at least one version is needed, such as tls1_2")

    def _load_certificate(self, context: SSL.Context, settings: TLSSettings) -> None:
        certificates = _read_certificates(settings.certificate, "tls_server_cert")
        key_path = settings.key if settings.key is not None else settings.certificate
        key = _read_key(key_path)
        chain = certificates[1:]
        if settings.chain is not None:
            chain += _read_certificates(settings.chain, "tls_server_ca_file")
        try:
            context.use_certificate(certificates[0])
            for certificate in chain:
                context.add_extra_chain_cert(certificate)
            context.use_privatekey(key)
            context.check_privatekey()
        except SSL.Error as error:
            raise TLSConfigurationError(
                f"tls_server_key: the key in {key_path} does not belong to the (first) certificate in"
                f" {settings.certificate}, or is too weak; put the server's own certificate first"
            ) from error
        self._check_dates(certificates[0], settings.certificate)

    def _check_dates(self, certificate: x509.Certificate, path: Path) -> None:
        now = datetime.datetime.now(datetime.UTC)
        start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if end < now:
            self.log.warn("the certificate in {path} expired on {end}: clients will refuse it", path=path, end=end)
        elif end < now + _SOON:
            self.log.warn("the certificate in {path} expires on {end}", path=path, end=end)
        if start > now:
            self.log.warn("the certificate in {path} is not valid before {start}", path=path, start=start)

    def _load_client_authorities(self, context: SSL.Context) -> None:
        settings = self.settings
        mode = _CLIENT_CERTIFICATES.get(settings.client_certificates)
        if mode is None:
            raise TLSConfigurationError(
                f"tls_client_certs: {settings.client_certificates!r} is none of off, optional, require"
            )
        file, directory = settings.client_ca_file, settings.client_ca_directory
        if file is None and directory is None:
            if settings.client_certificates == "require":
                raise TLSConfigurationError("tls_client_certs: require needs tls_client_ca_file or tls_client_ca_dir")
            # Without authorities none could be verified, so none is asked for.
            return
        if file is not None:
            _read_certificates(file, "tls_client_ca_file")
        if directory is not None and not directory.is_dir():
            raise TLSConfigurationError(f"tls_client_ca_dir: {directory} is no directory")
        try:
            context.load_verify_locations(
                None if file is None else str(file), None if directory is None else str(directory)
            )
        except SSL.Error as error:
            raise TLSConfigurationError(f"tls_client_ca_file: {file} cannot be used by OpenSSL: {error}") from error
        self._load_revoked(context)
        if file is not None:
            # So that the client knows which of its certificates to send.
            context.load_client_ca(str(file).encode())
        context.set_verify(mode)

    def _load_revoked(self, context: SSL.Context) -> None:
        """Have clients' certificates looked up in the list (RFC 5280 section 5)."""
        path = self.settings.revoked
        if path is None:
            return
        blocks = _CRL.findall(_read(path, "tls_crl_file"))
        store = context.get_cert_store()
        if store is None or not blocks:
            raise TLSConfigurationError(f"tls_crl_file: {path} holds no list of revoked certificates in PEM form")
        try:
            for block in blocks:
                store.add_crl(x509.load_pem_x509_crl(block))
        except (ValueError, crypto.Error) as error:
            raise TLSConfigurationError(f"tls_crl_file: {path} cannot be used: {error}") from error
        store.set_flags(crypto.X509StoreFlags.CRL_CHECK)


class Exporter:
    """What both ends of one TLS connection know, and nobody else."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __call__(self, label: bytes, length: int) -> bytes:
        """Keying material (RFC 5705)."""
        return bytes(self._connection.export_keying_material(label, length))

    def unique(self) -> bytes:
        """
        The first Finished message of the handshake, C{tls-unique} (RFC 5929 section 3).

        Empty with TLS 1.3, which has none that would do (RFC 8446 appendix C.5).
        """
        connection = self._connection
        resumed = getattr(_library, "SSL_session_reused", None)
        if connection.get_protocol_version_name() == "TLSv1.3" or resumed is None:
            return b""
        # A client speaks first when a session begins, and last when it is resumed.
        first = connection.get_finished() if resumed(connection._ssl) == 1 else connection.get_peer_finished()
        return first or b""


def exporter(connection: Any) -> Exporter | None:
    """
    What gives keying material (RFC 5705), which both ends of a connection know and nobody else.

    @param connection: pyOpenSSL's, of a server; anything else has none.
    @return: None where it would not stand for this one connection: RFC 9266 section 3
        wants TLS 1.3, or the extended master secret (RFC 7627).  Before the handshake
        has ended that is not known, and nothing can be exported yet.
    """
    if not hasattr(connection, "export_keying_material") or not _is_unique(connection):
        return None
    return Exporter(connection)


def describe(connection: Any) -> str:
    """
    Tell how a connection is protected, in the words of Received fields.

    @param connection: pyOpenSSL's; of anything else nothing is told.
    @return: Empty before the handshake has ended.
    """
    cipher = connection.get_cipher_name() if hasattr(connection, "get_cipher_name") else None
    if cipher is None:
        return ""
    bits = connection.get_cipher_bits()
    verified = "NO" if connection.get_peer_certificate() is None else "YES"
    return f"version={connection.get_protocol_version_name()} cipher={cipher} bits={bits}/{bits} verify={verified}"


def _is_unique(connection: Any) -> bool:
    if connection.get_peer_finished() is None or connection.get_protocol_version_name() == "TLSv1.3":
        return True
    # pyOpenSSL does not name it; without it there is no binding, which is safe.
    has_extended_master_secret = getattr(_library, "SSL_get_extms_support", None)
    return has_extended_master_secret is not None and has_extended_master_secret(connection._ssl) == 1


def _read(path: Path, option: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TLSConfigurationError(
            f"{option}: cannot read {path}: {error.strerror}; the server's user must be able to read it"
        ) from error


def _read_certificates(path: Path, option: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_read(path, option))
    except ValueError as error:
        raise TLSConfigurationError(f"{option}: {path} holds no certificate in PEM form") from error


def _read_key(
    path: Path,
) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey:
    try:
        key = serialization.load_pem_private_key(_read(path, "tls_server_key"), None)
    except TypeError as error:
        raise TLSConfigurationError(
            f"tls_server_key: the key in {path} has a passphrase, which nobody is there to enter; store it without one"
        ) from error
    except ValueError as error:
        raise TLSConfigurationError(f"tls_server_key: {path} holds no private key in PEM form") from error
    if not isinstance(
        key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
    ):
        raise TLSConfigurationError(f"tls_server_key: the key in {path} is of a kind that TLS does not use")
    return key
