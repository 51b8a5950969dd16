"""A login at another server: one for all protocols."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from twisted.logger import Logger

from pycyrus.auth.client import ClientExchange
from pycyrus.errors import AuthenticationFailed, MalformedExchange, MechanismUnavailable, StoreUnavailable
from pycyrus.murder.servers.connection import ServerConnection
from pycyrus.murder.servers.settings import BackendSettings

_log = Logger()


class LoginLink(Protocol):
    """
    A connection on which the server has told what it can.

    @ivar server: As the directory calls it.
    @ivar service: One of L{DEFAULT_PORTS<pycyrus.murder.servers.settings.DEFAULT_PORTS>}.
    """

    server: str
    service: str

    @property
    def mechanisms(self) -> list[str]:
        """SASL mechanisms that are offered now."""

    @property
    def can_start_tls(self) -> bool:
        """Whether the server offers TLS."""

    async def start_tls(self, context: object) -> None:
        """
        Go over to TLS, and hear anew what the server can.

        @param context: What the transport's C{startTLS} takes.
        @raise StoreUnavailable: The server will not.
        """

    async def authenticate(self, exchange: ClientExchange) -> None:
        """
        Log in.

        @raise AuthenticationFailed: One side did not accept the other.
        @raise MalformedExchange: This is no such exchange.
        @raise StoreUnavailable: The connection went.
        """


async def log_in(link: LoginLink, settings: BackendSettings, acting_as: str) -> None:
    """
    Log in, over TLS where the server's name demands it or no mechanism could be used without.

    @param acting_as: User id; empty for this server itself.
    @raise AuthenticationFailed: One side did not accept the other.
    @raise MalformedExchange: This is no such exchange.
    @raise MechanismUnavailable: None that could be used is offered.
    @raise StoreUnavailable: The connection went.
    """
    server, service = link.server, link.service
    address = settings.address(server, service)
    can_tls = settings.tls is not None and link.can_start_tls
    if address.wants_tls and not can_tls:
        raise MechanismUnavailable("no TLS, which its name demands")
    exchange = None
    if not address.wants_tls:
        try:
            may_be_clear = settings.allow_plaintext and not can_tls
            exchange = settings.exchange(
                server, service, acting_as, link.mechanisms, tls=False, may_be_clear=may_be_clear
            )
        except MechanismUnavailable:
            if not can_tls:
                raise
    if exchange is None:
        assert settings.tls is not None
        await link.start_tls(settings.tls(address.host))
        exchange = settings.exchange(server, service, acting_as, link.mechanisms, tls=True, may_be_clear=True)
    await link.authenticate(exchange)


@contextmanager
def entering(link: ServerConnection) -> Iterator[None]:
    """
    Around all that comes before a connection is of use: one on which that fails is cut.

    @raise StoreUnavailable: The server does not let us in.
    """
    try:
        yield
    except (AuthenticationFailed, MalformedExchange, MechanismUnavailable) as error:
        link.abort("cannot log in")
        # The client was let in: that a backend does not let in its proxy is the servers' affair.
        _log.error("cannot log in at {server}: {error}", server=link.server, error=str(error))
        raise StoreUnavailable(f"{link.server}: cannot log in: {error}") from error
    except BaseException:
        link.abort("given up")
        raise
