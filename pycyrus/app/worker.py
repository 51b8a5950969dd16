"""
A worker: serves on inherited sockets until the master tells it to stop, or is gone.

It has three pipes: the master's orders, the log, and what it has to tell; all
are lines of JSON.  When the orders end, the master has died, or wants it to
stop.
"""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass
from typing import Any

from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.stdio import StandardIO
from twisted.logger import Logger, globalLogBeginner
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure
from typing_extensions import override

from pycyrus.app import allocator, collector
from pycyrus.app.context import build_context
from pycyrus.app.logs import PipeObserver
from pycyrus.app.server import Server, Service, adopt
from pycyrus.auth.shared_answers import SharedMemory
from pycyrus.config.settings import Settings
from pycyrus.net import reactor as lean
from pycyrus.net.session_keys import SessionKeys
from pycyrus.net.shares import Share, WorkerShares
from pycyrus.net.threads import switch_often
from pycyrus.tasks import Tasks

MAX_ORDER = 4 * 1024 * 1024
"""Octets in an order: it carries all options."""


@dataclass(frozen=True, slots=True)
class Shared:
    """
    Memory that all workers have in common.

    @ivar logins: Checked passwords.
    @ivar session_keys: With which TLS sessions resume in any worker.
    @ivar shares: Who has how many connections.
    @ivar row: This worker's in them.
    """

    logins: SharedMemory
    session_keys: SessionKeys
    shares: WorkerShares
    row: int

    def share(self, service: int) -> Share | None:
        """Connections of this worker at a listening socket."""
        return self.shares.share(self.row, service)


class Worker(LineOnlyReceiver):
    """
    Follows the master's orders.

    C{serve} comes first, and once; C{reload} any time later; the end of the
    orders means to stop.
    """

    log = Logger()
    delimiter = b"\n"
    MAX_LENGTH = MAX_ORDER

    def __init__(self, reactor: PosixReactorBase, observer: PipeObserver, shared: Shared) -> None:
        self._reactor = reactor
        self._shared = shared
        self._observer = observer
        self._server: Server | None = None
        self._tasks = Tasks()
        self._stopping = False
        self._timeout = 10.0

    @override
    def lineReceived(self, line: bytes) -> None:
        order = json.loads(line)
        settings = Settings(order["settings"])
        self._observer.debug = settings.switch("debug")
        if order["order"] == "serve":
            self._serve(order, settings)
        elif self._server is not None:
            self._reload(self._server, settings)

    def _serve(self, order: dict[str, Any], settings: Settings) -> None:
        self._timeout = settings.duration("shutdown_timeout")
        os.umask(settings.integer("umask"))
        services = [
            adopt(Service(service["name"], tuple(service["cmd"]), ()), service["descriptors"])
            for service in order["services"]
        ]
        try:
            context = build_context(
                settings, order["workers"], self._reactor, self._shared.logins, self._shared.session_keys
            )
            self._server = Server(context, services, self._reactor, self._shared.share)
            self._server.start()
        except Exception as error:  # noqa: BLE001 - told to the master, and the end of this process
            self.log.failure("the worker cannot start")
            self._tell({"failed": f"{type(error).__name__}: {error}"})
            self.stop()
            return
        collector.settle(self._reactor)
        allocator.settle()
        switch_often()
        self._tell({"ready": True})

    def _reload(self, server: Server, settings: Settings) -> None:
        try:
            server.reload(settings)
        except Exception:  # noqa: BLE001 - logged; it goes on serving as before
            self.log.failure("the new options cannot be used; the former stay")

    @override
    def connectionLost(self, reason: Failure | None = None) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process after a clean shutdown."""
        if not self._stopping:
            self._stopping = True
            self._tasks.spawn(self._stop(), self._failed)

    def _failed(self, failure: Failure) -> None:
        self.log.failure("the worker did not stop cleanly", failure)

    async def _stop(self) -> None:
        try:
            if self._server is not None:
                await self._server.stop(self._timeout)
        finally:
            self._reactor.stop()

    def _tell(self, status: dict[str, object]) -> None:
        self.sendLine(json.dumps(status).encode())  # type: ignore[no-untyped-call] # Twisted's


def run(orders: int, log: int, status: int, shared: Shared) -> None:
    """
    Serve in this process, to its end.

    @param orders: Descriptor to read orders from.
    @param log: Where to write the log.
    @param status: Where to tell the master how it goes.
    @param shared: What was made before the workers were forked.
    """
    lean.install()
    from twisted.internet import reactor as installed

    reactor: Any = installed
    observer = PipeObserver(os.fdopen(log, "wb", buffering=0), Settings({}), reactor)
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    worker = Worker(reactor, observer, shared)
    pipes: Any = StandardIO  # its types are those of Windows
    pipes(worker, stdin=orders, stdout=status, reactor=reactor)
    reactor.callWhenRunning(_end_with_the_master, worker, reactor)
    try:
        reactor.run(installSignalHandlers=True)
    finally:
        observer.flush()


def _end_with_the_master(worker: Worker, reactor: PosixReactorBase) -> None:
    # Ctrl-C goes to all processes of a terminal, and the master sees to its
    # workers; SIGTERM to one worker ends that one cleanly.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: reactor.callFromThread(worker.stop))
