"""
The worker processes of a master: started, replaced when they die, stopped.

Each serves all services on the same sockets, which the kernel spreads
connections over; one that dies costs its own sessions only.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IProcessTransport
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from pycyrus.app import logs
from pycyrus.app.server import Service
from pycyrus.app.worker import FIRST_SOCKET, LOG, ORDERS, STATUS
from pycyrus.config.settings import Settings

SHORT_LIFE = 10.0
"""Seconds: a worker that dies before is replaced only after a pause."""

LONGEST_PAUSE = 30.0


class WorkerFailed(Exception):
    """No worker could start to serve; says why."""


class Process(ProcessProtocol):
    """
    One worker, as the master sees it.

    @ivar pid: Its process id.
    @ivar serving: It said that it serves.
    @ivar failure: Why it could not, if it said so.
    """

    log = Logger()

    def __init__(self, pool: Workers) -> None:
        self._pool = pool
        self._partial = {LOG: b"", STATUS: b""}
        self.pid = 0
        self.serving = False
        self.failure = ""
        self.started = 0.0

    def order(self, order: dict[str, Any]) -> None:
        """Send an order."""
        transport: Any = self.transport
        transport.writeToChild(ORDERS, json.dumps(order).encode() + b"\n")

    def stop(self) -> None:
        """Ask it to stop, by ending the orders."""
        transport: Any = self.transport
        transport.closeChildFD(ORDERS)

    def kill(self) -> None:
        """End it at once."""
        transport: IProcessTransport = self.transport  # type: ignore[assignment] # a process's it is
        transport.signalProcess("KILL")

    @override
    def childDataReceived(self, childFD: int, data: bytes) -> None:
        *lines, self._partial[childFD] = (self._partial[childFD] + data).split(b"\n")
        for line in lines:
            if childFD == LOG:
                logs.publish(line, self.pid)
            else:
                self._status(json.loads(line))

    def _status(self, status: dict[str, Any]) -> None:
        if status.get("ready"):
            self.serving = True
            self._pool.worker_serves(self)
        self.failure = str(status.get("failed", self.failure))

    @override
    def processEnded(self, reason: Failure) -> None:
        value: Any = reason.value
        self._pool.worker_ended(self, value.exitCode, value.signal)


class Workers:
    """
    A number of workers.

    @ivar changed: Called when the set of serving workers changed.
    """

    log = Logger()

    def __init__(
        self,
        number: int,
        settings: Settings,
        services: Sequence[Service],
        reactor: PosixReactorBase,
        changed: Callable[[], None],
    ) -> None:
        self._number = number
        self._settings = settings
        self._services = services
        self._reactor = reactor
        self._changed = changed
        self._processes: set[Process] = set()
        self._timers: set[IDelayedCall] = set()
        self._short_lives = 0
        self._started: Deferred[None] | None = None
        self._stopped: Deferred[None] | None = None

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that serve."""
        return sorted(process.pid for process in self._processes if process.serving)

    async def start(self) -> None:
        """
        Start them.

        @raise WorkerFailed: One ended before all served.
        """
        self._started = Deferred()
        for _ in range(self._number):
            self._spawn()
        await self._started

    def reload(self, settings: Settings) -> None:
        """Have new connections served by other options."""
        self._settings = settings
        for process in self._processes:
            process.order({"order": "reload", "settings": dict(settings.texts)})

    async def stop(self, timeout: float) -> None:
        """
        Have them all stop.

        @param timeout: Seconds until one that does not is killed.
        """
        self._stopped = Deferred()
        for timer in self._timers:
            if timer.active():
                timer.cancel()
        if not self._processes:
            return
        for process in self._processes:
            process.stop()
        killer = self._reactor.callLater(timeout, self._kill)
        await self._stopped
        if killer.active():
            killer.cancel()

    def _kill(self) -> None:
        for process in self._processes:
            self.log.warn("worker {pid} did not stop in time", pid=process.pid)
            process.kill()

    # --- single ones --------------------------------------------------------

    def _spawn(self) -> None:
        if self._stopped is not None:
            return
        descriptors: dict[int, int | str] = {ORDERS: "w", LOG: "r", 2: sys.__stderr__.fileno(), STATUS: "r"}  # type: ignore[union-attr] # a process has one
        services: list[dict[str, object]] = []
        for service in self._services:
            own: list[int] = []
            for listening in service.sockets:
                own.append(FIRST_SOCKET + len(descriptors))
                descriptors[own[-1]] = listening.fileno()
            services.append({"name": service.name, "cmd": list(service.cmd), "descriptors": own})
        process = Process(self)
        process.started = self._reactor.seconds()
        transport = self._reactor.spawnProcess(
            process,
            sys.executable,
            [sys.executable, "-m", "pycyrus.app.worker"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)},
            childFDs=descriptors,
        )
        process.pid = transport.pid
        self._processes.add(process)
        process.order(
            {
                "order": "serve",
                "settings": dict(self._settings.texts),
                "workers": self._number,
                "services": services,
            }
        )

    def worker_serves(self, process: Process) -> None:
        """A worker began to serve."""
        self.log.info("worker {pid} serves", pid=process.pid)
        if self._started is not None and len(self.pids) == self._number:
            started, self._started = self._started, None
            started.callback(None)
        else:
            self._changed()

    def worker_ended(self, process: Process, code: int | None, signal: int | None) -> None:
        """A worker ended, for whatever reason."""
        self._processes.discard(process)
        if self._stopped is not None:
            if not self._processes and not self._stopped.called:
                self._stopped.callback(None)
            return
        how = f"signal {signal}" if signal else f"exit code {code}"
        if self._started is not None:
            started, self._started = self._started, None
            started.errback(WorkerFailed(process.failure or f"a worker ended with {how}"))
            return
        self._changed()
        self._short_lives = self._short_lives + 1 if self._reactor.seconds() - process.started < SHORT_LIFE else 0
        pause = min(LONGEST_PAUSE, 0.5 * 2 ** min(self._short_lives - 1, 10)) if self._short_lives else 0.0
        self.log.error(
            "worker {pid} ended with {how}; it is replaced in {pause} s", pid=process.pid, how=how, pause=pause
        )
        timer = self._reactor.callLater(pause, self._spawn)
        self._timers = {timer, *(former for former in self._timers if former.active())}
