"""All services of one process, on sockets that are bound already."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.task import deferLater
from twisted.logger import Logger

from pycyrus.app.context import Context
from pycyrus.app.mail_service import mail_services
from pycyrus.app.programs import service_program
from pycyrus.config.settings import Settings
from pycyrus.net.keepalive import Keepalive
from pycyrus.net.shares import Share
from pycyrus.net.transport import LeanPort, LeanUnixPort

_LOOK_INTERVAL = 0.02
"""Seconds between looks at whether the last session has ended."""


@dataclass(frozen=True, slots=True)
class Service:
    """
    A service to serve.

    @ivar name: In cyrus.conf.
    @ivar cmd: Program and arguments.
    @ivar sockets: Listening.
    """

    name: str
    cmd: tuple[str, ...]
    sockets: tuple[socket.socket, ...]

    @property
    def local(self) -> bool:
        """Whether it listens at a Unix socket."""
        return any(listening.family == socket.AF_UNIX for listening in self.sockets)

    @property
    def arguments(self) -> list[str]:
        """
        Of the program.

        Who may open a Unix socket is trusted, which a server is told as by
        C{lmtpd -a} (cyrus.conf has no other word for it).
        """
        words = list(self.cmd[1:])
        if words and words[0] == service_program(self.cmd):
            words = words[1:]  # behind a wrapper
        return [*words, "-a"] if self.local and "-a" not in words else words


class Server:
    """
    Serves; its context belongs to it from now on.

    @param share: This worker's share of a listening socket, by its number.
    """

    log = Logger()

    def __init__(
        self,
        context: Context,
        services: Sequence[Service],
        reactor: PosixReactorBase,
        share: Callable[[int], Share | None] = lambda service: None,
    ) -> None:
        self._context = context
        self._services = services
        self._reactor = reactor
        self._share = share
        self._ports: list[tuple[Service, LeanPort]] = []
        self._factories: list[Any] = []

    def start(self) -> None:
        """
        Accept connections from now on.

        @raise TLSConfigurationError: A service that begins with TLS has no certificate.
        """
        programs = mail_services()
        for service in self._services:
            factory = self._factory(programs, service)
            tls = None
            if "-s" in service.arguments:
                tls = self._context.tls.required(self._context.settings.for_service(service.name))
            for listening in service.sockets:
                kind = LeanUnixPort if listening.family == socket.AF_UNIX else LeanPort
                # The reactor's class declares all interfaces but this one.
                keepalive = keepalive_of(self._context.settings.for_service(service.name))
                port = kind(self._reactor, listening, factory, tls=tls, keepalive=keepalive)  # type: ignore[arg-type]
                port.share = self._share(len(self._ports))
                port.startListening()
                self._ports.append((service, port))

    def _factory(self, programs: Any, service: Service) -> IProtocolFactory:
        maker = programs[service_program(service.cmd)]
        factory: IProtocolFactory = maker.make_factory(self._context, service.name, service.arguments)
        self._factories.append(factory)
        return factory

    def reload(self, settings: Settings) -> None:
        """
        Serve new connections by other options, and with certificates read anew.

        @raise TLSConfigurationError: They cannot be used; the old ones stay in use.
        """
        self._context.reload(settings)
        programs = mail_services()
        made: dict[str, IProtocolFactory] = {}
        for service, port in self._ports:
            if service.name not in made:
                made[service.name] = self._factory(programs, service)
            port.factory = made[service.name]  # type: ignore[assignment] # a Port wants any factory
        # Former factories still have the sessions that they began.
        current = set(map(id, made.values()))
        self._factories = [factory for factory in self._factories if id(factory) in current or factory.sessions]

    @property
    def sessions(self) -> int:
        """Connections that are open."""
        return sum(len(factory.sessions) for factory in self._factories)

    async def stop(self, timeout: float) -> None:
        """
        Accept no more, say goodbye, let commits finish, close the store.

        @param timeout: Seconds until sessions are left to their fate.
        """
        for _, port in self._ports:
            await maybeDeferred(port.stopListening)
        for factory in self._factories:
            factory.shut_down()
        deadline = self._reactor.seconds() + timeout
        while self.sessions and self._reactor.seconds() < deadline:
            await self._pause()
        if self.sessions:
            self.log.warn("{sessions} sessions did not end in time", sessions=self.sessions)
        await self._context.close()

    def _pause(self) -> Deferred[None]:
        return deferLater(self._reactor, _LOOK_INTERVAL, lambda: None)


def adopt(service: Service, descriptors: Sequence[int]) -> Service:
    """The same service on inherited descriptors."""
    return replace(service, sockets=tuple(_inherited(fd) for fd in descriptors))


def _inherited(fd: int) -> socket.socket:
    listening = socket.socket(fileno=fd)
    listening.set_inheritable(False)
    listening.setblocking(False)
    return listening


def keepalive_of(settings: Settings) -> Keepalive | None:
    """How the kernel probes silent connections; None if it does not (C{tcp_keepalive})."""
    if not settings.switch("tcp_keepalive"):
        return None
    return Keepalive(
        settings.duration("tcp_keepalive_idle"),
        settings.duration("tcp_keepalive_intvl"),
        settings.integer("tcp_keepalive_cnt"),
    )
