"""Where other servers are, and who to be there."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from twisted.internet.abstract import isIPv6Address

from pycyrus.auth.client import ClientCredentials, ClientExchange, choose
from pycyrus.errors import StoreUnavailable
from pycyrus.model.names import NamespaceSettings
from pycyrus.net.keepalive import Keepalive

DEFAULT_PORTS = {"imap": 143, "pop3": 110, "lmtp": 2003, "sieve": 4190, "smmap": 12345}
_SASL_SERVICES = {"pop3": "pop"}
"""By which a service is registered, where that is not its name here (RFC 5034 section 4)."""


@dataclass(frozen=True, slots=True)
class Address:
    """
    Where a server is.

    @ivar wants_tls: Not without TLS.
    @ivar skips_login: It wants no login.
    """

    host: str
    port: int
    wants_tls: bool = False
    skips_login: bool = False


_HOST = re.compile(r"(?=.{1,253}\Z)(?:[0-9A-Za-z_-]{1,63}\.)*[0-9A-Za-z_-]{1,63}\.?\Z")


def _is_port(digits: str) -> bool:
    return digits.isascii() and digits.isdigit() and len(digits) <= 5 and 0 < int(digits) < 65536


@dataclass(frozen=True, slots=True)
class BackendSettings:
    """
    How to reach backends.

    @ivar credentials: Who the frontend is there; by the first part of a
        server's name where it is another (C{<host>_password}), and under the
        empty name for all others.
    @ivar mechanisms: The only ones to use, likewise (C{<host>_mechs}).
    @ivar ports: The port of a service, by server and service, where the one
        in the server's name is another's.
    @ivar connect_within: Seconds (C{client_timeout}).
    @ivar allow_plaintext: A password may go in clear where there is no TLS.
    @ivar tls: Gives what C{startTLS} takes, for a host name; None for never.
    @ivar proxies: Users that are other servers, which pass on what they believe to be here
        (C{proxyservers}).
    @ivar namespace: How names look here, and have to there; None not to look.
    """

    credentials: Mapping[str, ClientCredentials]
    mechanisms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ports: Mapping[tuple[str, str], int] = field(default_factory=dict)
    connect_within: float = 10.0
    allow_plaintext: bool = True
    tls: Callable[[str], object] | None = None
    proxies: frozenset[str] = frozenset()
    namespace: NamespaceSettings | None = None

    @property
    def patience(self) -> float:
        """Seconds of silence from which it is doubted that a server lives."""
        return 1.5 * self.connect_within

    @property
    def keepalive(self) -> Keepalive:
        """So that a connection that is cut is known to be, at about the same time."""
        seconds = max(3, int(self.patience))
        return Keepalive(seconds, max(1, seconds // 3), 3, unacknowledged=seconds)

    def address(self, server: str, service: str) -> Address:
        """
        Where a service of a server is.

        @param server: C{host}, C{host:port} or C{[address]:port}, as the directory has it.
        @raise StoreUnavailable: This is none.
        """
        plain, *words = server.split("/")
        host, mark, digits = plain.rpartition(":")
        if not mark or "]" in digits or (":" in host and not host.startswith("[")):
            host, digits = plain, ""
        host = host.removeprefix("[").removesuffix("]")
        # The directory is others' word, and no resolver takes each text.
        if not (_HOST.match(host) or isIPv6Address(host)) or (digits and not _is_port(digits)):
            raise StoreUnavailable(f"{server!r} is no server")
        port = self.ports.get((server, service)) or int(digits or DEFAULT_PORTS[service])
        return Address(host, port, "tls" in words, "noauth" in words)

    def for_server(self, server: str) -> tuple[ClientCredentials, tuple[str, ...]]:
        """Who to be there, and by which mechanisms."""
        short = server.partition(".")[0].partition(":")[0]
        return (
            self.credentials.get(short) or self.credentials[""],
            self.mechanisms.get(short) or self.mechanisms.get("", ()),
        )

    def exchange(
        self, server: str, service: str, acting_as: str, offered: list[str], *, tls: bool, may_be_clear: bool
    ) -> ClientExchange:
        """
        Begin a login.

        @param acting_as: User id; empty for the frontend itself.
        @param offered: Names of mechanisms.
        @param may_be_clear: A password may be shown to whoever listens.
        @raise MechanismUnavailable: None that could be used is offered.
        """
        own, only = self.for_server(server)
        return choose(
            offered,
            ClientCredentials(own.authentication_id, acting_as, own.realm, own.password),
            tls=tls,
            allow_plaintext=may_be_clear,
            only=only,
            service=_SASL_SERVICES.get(service, service),
            host=self.address(server, service).host,
        )
