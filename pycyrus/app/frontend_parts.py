"""The parts of a frontend, built from the options."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    PrivateCertificate,
    optionsForClientTLS,
    trustRootFromCertificates,
)

from pycyrus.auth.client import ClientCredentials
from pycyrus.config.load import namespace_settings
from pycyrus.config.options import option_table
from pycyrus.config.problems import ConfigError, Problem
from pycyrus.config.settings import Settings
from pycyrus.delivery.settings import DeliverySettings
from pycyrus.interfaces import IDeliveryAgent, IMailboxDirectory, IRecipientVerifier, IUserDefaults
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.murder.directory.lookup import MurderDirectory
from pycyrus.murder.directory.slave import Slave
from pycyrus.murder.imap.create import ServerChoice, ServerChoiceSettings
from pycyrus.murder.imap.routes import ImapRoutes, RouteSettings
from pycyrus.murder.lmtp import LmtpBackends, MurderDeliveryAgent
from pycyrus.murder.pop3 import Pop3Routes
from pycyrus.murder.servers.backends import Backends
from pycyrus.murder.servers.settings import BackendSettings
from pycyrus.murder.sieve import SieveRoutes
from pycyrus.murder.smmap import MurderVerifier
from pycyrus.store.locations import Locations
from pycyrus.store.store import MailStore

_PORT = re.compile(r"(\S+)/(imap|pop3|lmtp|sieve|smmap)=([0-9]{1,5})")
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def is_frontend(settings: Settings) -> bool:
    """Whether there are mailboxes of other servers to be had here."""
    if not settings.text("mupdate_server"):
        return False
    return settings.word("mupdate_config") == "unified" or not settings.words("proxyservers")


class Frontend:
    """
    What all services of a frontend share.

    @ivar directory: Where mailboxes are.
    @ivar backends: The other servers.
    @ivar imap: Where IMAP's commands go.
    @ivar pop3: Where maildrops are.
    @ivar sieve: Where scripts are.
    """

    def __init__(
        self,
        settings: Settings,
        server_name: str,
        locations: Locations,
        slave: Slave,
        user_defaults: IUserDefaults,
        reactor: Any,
        store: MailStore,
    ) -> None:
        """
        @param user_defaults: Knows what server is laid down for single users.
        @param store: The mailboxes of this server itself, if it has any.
        @raise ConfigError: An option cannot be used.
        """
        deleted_prefix = settings.text("deletedprefix")
        has_own = settings.word("mupdate_config") == "unified"
        self.directory: IMailboxDirectory = MurderDirectory(
            locations, server_name, slave.catch_up, deleted_prefix, _looks_in(store) if has_own else None
        )
        self.backends = Backends(backend_settings(settings), reactor)
        self.pop3 = Pop3Routes(self.directory, self.backends, reactor)
        refers = settings.switch("sieve_allowreferrals")
        self.sieve = SieveRoutes(self.directory, self.backends, reactor, refers=refers)
        self.imap = ImapRoutes(
            self.directory,
            self.backends,
            ServerChoice(choice_settings(settings, server_name), self.backends, user_defaults),
            RouteSettings(
                refers=not settings.switch("proxyd_disable_mailbox_referrals"),
                refers_status=settings.switch("proxyd_allow_status_referral"),
                subscribes_to_all=settings.switch("allowallsubscribe"),
                has_own=has_own,
            ),
            slave.catch_up,
            deleted_prefix,
        )

        within = float(settings.duration("lmtptxn_timeout"))
        self._lmtp = LmtpBackends(self.backends, server_name, within, reactor)
        self._reactor = reactor

    def delivery(self, local: IDeliveryAgent, settings: DeliverySettings) -> IDeliveryAgent:
        """
        Deliver to the mailboxes of all servers.

        @param local: To those of this one.
        """
        return MurderDeliveryAgent(local, settings, self.directory, self._lmtp, time.time)

    def verifier(self, local: IRecipientVerifier, settings: DeliverySettings) -> IRecipientVerifier:
        """Look for recipients likewise."""
        return MurderVerifier(local, settings, self.directory, self.backends, self._reactor)

    def close(self) -> None:
        """End the connections to backends."""
        self._lmtp.close()
        self.pop3.close()
        self.backends.close()


def _looks_in(store: MailStore) -> Callable[[MailboxName], bool]:
    """Whether a mailbox is in the list of this server, and not on its way to another one."""

    def is_here(name: MailboxName) -> bool:
        entry = store.directory.lookup(name)
        return entry is not None and not entry.is_leaving

    return is_here


def choice_settings(settings: Settings, server_name: str) -> ServerChoiceSettings:
    """How servers are chosen for new mailboxes."""
    return ServerChoiceSettings(
        servers=tuple(settings.text("serverlist").replace(",", " ").split()),
        # As in Cyrus: a server with mailboxes has new ones itself, and so never passes on what was passed to it.
        first=server_name if settings.word("mupdate_config") == "unified" else settings.text("defaultserver"),
        mode=settings.word("serverlist_select_mode"),
        soft_limit=settings.integer("serverlist_select_soft_usage_limit"),
        reuse=settings.integer("serverlist_select_usage_reinit"),
    )


def backend_settings(settings: Settings) -> BackendSettings:
    """
    How to reach backends.

    @raise ConfigError: C{backend_ports} is not what it should be, or a file cannot be read.
    """
    name, realm = settings.text("proxy_authname"), settings.text("proxy_realm")
    credentials = {"": ClientCredentials(name, "", realm, settings.text("proxy_password") or None)}
    only = settings.text("force_sasl_client_mech")
    mechanisms = {"": tuple(only.upper().split())}
    table = option_table()
    for key, value in settings.texts.items():
        host, _, what = key.rpartition("_")
        if table.find(key) is None and what == "password":
            credentials[host] = ClientCredentials(name, "", realm, value)
        elif table.find(key) is None and what == "mechs":
            mechanisms[host] = tuple(value.upper().split())
    return BackendSettings(
        credentials,
        mechanisms,
        _ports(settings),
        connect_within=float(settings.duration("client_timeout")),
        allow_plaintext=settings.switch("allowplaintext"),
        tls=client_tls(settings),
        proxies=frozenset(settings.words("proxyservers")),
        namespace=namespace_settings(settings),
    )


def _ports(settings: Settings) -> dict[tuple[str, str], int]:
    ports = {}
    for word in settings.words("backend_ports"):
        match = _PORT.fullmatch(word)
        if match is None or not 0 < int(match[3]) < 65536:
            mend = "write SERVER/SERVICE=PORT, such as backend1:1143/pop3=1110"
            raise ConfigError([Problem(None, f"backend_ports: {word!r} is no port of a backend", mend)])
        ports[match[1], match[2]] = int(match[3])
    return ports


def client_tls(settings: Settings) -> Callable[[str], object]:
    """
    Makes what a connection to another server begins TLS with.

    With C{tls_client_ca_file} the other server must have a certificate for its name
    signed by one of those; without it TLS protects from those who only listen.

    @raise ConfigError: A file cannot be read.
    """
    authorities, certificate = settings.text("tls_client_ca_file"), settings.text("tls_client_cert")
    key = settings.text("tls_client_key")
    try:
        shown = None
        if certificate and "disabled" not in (certificate, key):
            pem = Path(certificate).read_bytes() + (Path(key).read_bytes() if key else b"")
            shown = PrivateCertificate.loadPEM(pem)
        trusted = None
        if authorities:
            found = _PEM.findall(Path(authorities).read_bytes())
            trusted = trustRootFromCertificates([Certificate.loadPEM(each) for each in found])
    except (OSError, ValueError) as error:
        problem = Problem(None, f"tls_client_ca_file, tls_client_cert: {error}", "name files that can be read")
        raise ConfigError([problem]) from error

    def make(host: str) -> object:
        if trusted is not None:
            return optionsForClientTLS(host, trustRoot=trusted, clientCertificate=shown)
        return CertificateOptions() if shown is None else shown.options()

    return make
