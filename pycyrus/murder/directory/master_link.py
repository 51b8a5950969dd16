"""A connection to the MUPDATE master, logged in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.error import ConnectError, DNSLookupError

from pycyrus.auth.client import ClientCredentials, choose
from pycyrus.errors import (
    AuthenticationFailed,
    MailStoreError,
    MalformedExchange,
    MechanismUnavailable,
    StoreUnavailable,
)
from pycyrus.mupdate.client import ANSWER_WITHIN, MupdateClient, Told
from pycyrus.net.keepalive import Keepalive

CONNECT_WITHIN = 15.0
PORT = 3905


@dataclass(frozen=True, slots=True)
class MasterAddress:
    """
    What C{mupdate_server} says: C{host}, C{host:port}, and C{/tls} or C{/noauth} behind it.

    @ivar wants_tls: Not without TLS.
    @ivar skips_login: The server wants none.
    """

    host: str
    port: int = PORT
    wants_tls: bool = False
    skips_login: bool = False

    @classmethod
    def parse(cls, text: str, port: int = PORT) -> MasterAddress:
        """
        Read it.

        @param port: Where none is given.
        @raise ValueError: It is none; the text says why.
        """
        address, *words = text.strip().split("/")
        unknown = set(words) - {"tls", "noauth"}
        if unknown:
            raise ValueError(f"/{unknown.pop()} is neither /tls nor /noauth")
        host, mark, digits = address.rpartition(":")
        if not mark or "]" in digits:
            host, digits = address, str(port)
        if not host or not digits.isdigit() or not 0 < int(digits) < 65536:
            raise ValueError(f"{address!r} is not HOST or HOST:PORT")
        return cls(host.strip("[]"), int(digits), "tls" in words, "noauth" in words)


@dataclass(frozen=True, slots=True)
class MasterSettings:
    """
    How to reach the master.

    @ivar text: C{mupdate_server} as it stands, for banners.
    @ivar allow_plaintext: A password may go in clear (C{allowplaintext}).
    @ivar retry_delay: Seconds until it is tried again, and between two signs of life
        (C{mupdate_retry_delay}).
    """

    address: MasterAddress
    credentials: ClientCredentials
    text: str = ""
    allow_plaintext: bool = True
    retry_delay: float = 20.0

    @property
    def patience(self) -> float:
        """Seconds of silence after which the master is given up; in Cyrus too those between two signs of life."""
        return max(3.0, self.retry_delay)

    @property
    def keepalive(self) -> Keepalive:
        """So that a connection that is cut is known to be, at about the same time."""
        seconds = int(self.patience)
        return Keepalive(seconds, max(1, seconds // 3), 3, unacknowledged=seconds)


async def connect_to_master(
    reactor: Any,
    settings: MasterSettings,
    told: Callable[[Sequence[Told]], None] = lambda changes: None,
    gone: Callable[[str], None] = lambda reason: None,
    *,
    tls: object = None,
    answer_within: float = ANSWER_WITHIN,
) -> MupdateClient:
    """
    Connect, and log in.

    @param told: Given what a stream tells.
    @param gone: Told why the connection went.
    @param tls: What STARTTLS begins with; None for never.
    @param answer_within: As in L{MupdateClient}.
    @raise StoreUnavailable: It cannot be reached, or does not let us in.
    """
    address = settings.address
    client = MupdateClient(reactor, told, gone, answer_within=answer_within)
    endpoint = HostnameEndpoint(reactor, address.host.encode("idna"), address.port, timeout=CONNECT_WITHIN)
    try:
        await connectProtocol(endpoint, client)
    except (ConnectError, DNSLookupError) as error:
        raise StoreUnavailable(f"{settings.text or address.host}: {error}") from error
    transport: Any = client.transport
    settings.keepalive.apply(transport.getHandle())
    try:
        await client.greeted()
        is_secure = False
        if tls is not None and client.banner.can_start_tls:
            await client.start_tls(tls)
            is_secure = True
        elif address.wants_tls:
            raise StoreUnavailable("the MUPDATE server does not offer TLS, which mupdate_server demands")
        if not address.skips_login:
            await client.authenticate(
                choose(
                    client.banner.mechanisms,
                    settings.credentials,
                    tls=is_secure,
                    allow_plaintext=settings.allow_plaintext,
                )
            )
        if client.banner.can_compress and not is_secure and address.host not in ("localhost", "127.0.0.1", "::1"):
            await client.compress()
    except (AuthenticationFailed, MalformedExchange, MechanismUnavailable) as error:
        client.log_out()
        raise StoreUnavailable(f"cannot log in at the MUPDATE server: {error}") from error
    except MailStoreError:
        client.log_out()
        raise
    return client
