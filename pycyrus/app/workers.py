"""
The worker processes of a master: started, replaced when they die, stopped.

Each serves all services on the same sockets, which the kernel spreads
connections over; one that dies costs its own sessions only.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.process import ProcessReader, ProcessWriter
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from pycyrus.app import logs
from pycyrus.app.privileges import UnixUser
from pycyrus.app.server import Service
from pycyrus.app.template import MAX_MESSAGE
from pycyrus.config.settings import Settings

SHORT_LIFE = 10.0
"""Seconds: a worker that dies before is replaced only after a pause."""

LONGEST_PAUSE = 30.0

_MOST_TEMPLATES = 5
"""Templates in a row that died soon, and without a worker, after which there is none any more."""

_TEMPLATE_WAIT = 5.0
"""Seconds that the template has to end; it has nothing to do."""


class WorkerFailed(Exception):
    """No worker could start to serve; says why."""


@implementer(IReadDescriptor)
class Forker:
    """
    The template of workers, as the master sees it.

    It is started while the master may read everything, and forks later.  One
    that dies is started again, with the rights that the master has then.
    """

    log = Logger()

    def __init__(self, sockets: Sequence[socket.socket], user: UnixUser | None) -> None:
        """
        Start it.

        @param sockets: That workers shall have, with the same descriptors.
        @param user: Whom it becomes.
        """
        self._sockets = tuple(sockets)
        self._pool: Workers | None = None
        self._reactor: Any = None
        self._chances = 1
        self._start(user)

    def _start(self, user: UnixUser | None) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)
        self._started = time.monotonic()
        self._has_forked = False
        terminal = sys.__stderr__
        self._process = subprocess.Popen(
            # -P: what lies in the current directory, which may be anybody's, is no module of ours.
            [sys.executable, "-P", "-m", "pycyrus.app.template", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=terminal,
            stderr=terminal,
            pass_fds=[theirs.fileno(), *(listening.fileno() for listening in self._sockets)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)},
        )
        theirs.close()
        if user is not None:
            self._control.send(json.dumps({"user": asdict(user)}).encode())

    def attach(self, pool: Workers, reactor: Any) -> None:
        """Tell a pool of workers from now on what happens to them."""
        self._pool, self._reactor = pool, reactor
        reactor.addReader(self)

    def fork(self, number: int, descriptors: Sequence[int]) -> None:
        """
        Have a worker made.

        @param descriptors: Of orders, log and status; they belong to the worker
            from now on.
        """
        try:
            # That there is no template any more is noticed by reading.
            with suppress(ConnectionError):
                socket.send_fds(self._control, [json.dumps({"fork": number}).encode()], descriptors)
        finally:
            for fd in descriptors:
                os.close(fd)

    def close(self) -> None:
        """End it."""
        if self._reactor is not None:
            self._reactor.removeReader(self)
        self._control.close()
        self._reap()

    def _reap(self) -> None:
        try:
            self._process.wait(_TEMPLATE_WAIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    # IReadDescriptor

    def fileno(self) -> int:
        """Of the socket to the template."""
        return self._control.fileno()

    def logPrefix(self) -> str:  # noqa: N802
        """For Twisted's log."""
        return "template"

    def doRead(self) -> None:  # noqa: N802
        """Take a message."""
        try:
            data = self._control.recv(MAX_MESSAGE)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self._died()
        elif self._pool is not None:
            self._has_forked = True
            self._pool.template_told(json.loads(data))

    def _died(self) -> None:
        """Have another one, but not again and again."""
        assert self._pool is not None
        self.close()
        has_worked = self._has_forked or time.monotonic() - self._started >= SHORT_LIFE
        # The first one must work, or the server cannot start.
        self._chances = _MOST_TEMPLATES if has_worked else self._chances - 1
        is_replaced = self._chances > 0
        if is_replaced:
            self.log.error("the template of workers died; it is started again")
            self._start(None)
            self._reactor.addReader(self)
        else:
            self.log.critical("the template of workers died before it made one")
        self._pool.template_died(is_replaced=is_replaced)

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802
        """The reactor stops."""


class Process:
    """
    One worker, as the master sees it.

    @ivar pid: Its process id; 0 until it is known.
    @ivar serving: It said that it serves.
    @ivar failure: Why it could not, if it said so.
    @ivar orphaned: The template that made it died.
    """

    def __init__(self, pool: Workers, number: int, reactor: Any) -> None:
        self._pool = pool
        self.number = number
        self.pid = 0
        self.serving = False
        self.failure = ""
        self.orphaned = False
        self.started: float = reactor.seconds()
        self._partial = {"log": b"", "status": b""}
        self._octets = 0
        orders, orders_end = os.pipe2(os.O_CLOEXEC)
        log_end, log = os.pipe2(os.O_CLOEXEC)
        status_end, status = os.pipe2(os.O_CLOEXEC)
        self._ends = {"orders": orders_end, "log": log_end, "status": status_end}
        self.descriptors = (orders, log, status)
        self._writer = ProcessWriter(reactor, self, "orders", orders_end)
        self._readers = [
            ProcessReader(reactor, self, "log", log_end),
            ProcessReader(reactor, self, "status", status_end),
        ]

    def order(self, order: dict[str, Any]) -> None:
        """Send an order."""
        self._writer.write(json.dumps(order).encode() + b"\n")

    def stop(self) -> None:
        """Ask it to stop, by ending the orders."""
        self._writer.loseConnection()

    def kill(self) -> None:
        """End it at once."""
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def ended(self) -> None:
        """Take what it still said, and give the pipes back."""
        for reader in self._readers:
            # Until nothing more comes, or the pipe is seen to have ended.  Not if that
            # was seen before: then its descriptor is closed, or another file's.
            while reader.connected and self._more(reader):
                pass
            reader.loseConnection()
        self._writer.loseConnection()

    def _more(self, reader: ProcessReader) -> bool:
        before = self._octets
        return reader.doRead() is None and self._octets != before

    # What Twisted's ends of pipes call.

    def childDataReceived(self, name: str, data: bytes) -> None:  # noqa: N802
        """Take lines of the log, or of the status."""
        self._octets += len(data)
        *lines, self._partial[name] = (self._partial[name] + data).split(b"\n")
        for line in lines:
            if name == "log":
                logs.publish(line, self.pid)
            else:
                self._status(json.loads(line))

    def childConnectionLost(self, name: str, reason: Failure) -> None:  # noqa: N802
        """A pipe ended, and must be closed; that the worker ended is told by the template, if there is one."""
        fd = self._ends.pop(name, None)
        if fd is not None:
            os.close(fd)
        if self.orphaned and name == "status":
            self._pool.orphan_ended(self)

    @property
    def has_hung_up(self) -> bool:
        """Whether the pipe is closed that only the end of the worker closes."""
        return "status" not in self._ends

    def _status(self, status: dict[str, Any]) -> None:
        self.failure = str(status.get("failed", self.failure))
        if status.get("ready"):
            self.serving = True
            self._pool.worker_serves(self)


class Workers:
    """A number of workers."""

    log = Logger()

    def __init__(
        self,
        number: int,
        settings: Settings,
        services: Sequence[Service],
        forker: Forker,
        reactor: PosixReactorBase,
        changed: Callable[[], None],
        given_up: Callable[[], None],
    ) -> None:
        """
        @param changed: Called when the set of serving workers changed.
        @param given_up: Called when workers that end cannot be replaced any more.
        """
        self._number = number
        self._settings = settings
        self._services = services
        self._forker = forker
        self._reactor = reactor
        self._changed = changed
        self._given_up = given_up
        self._is_given_up = False
        self._processes: dict[int, Process] = {}
        self._count = 0
        self._timers: set[IDelayedCall] = set()
        self._short_lives = 0
        self._started: Deferred[None] | None = None
        self._stopped: Deferred[None] | None = None

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that serve."""
        return sorted(process.pid for process in self._processes.values() if process.serving)

    async def start(self) -> None:
        """
        Start them.

        @raise WorkerFailed: One ended before all served.
        """
        self._forker.attach(self, self._reactor)
        self._started = Deferred()
        for _ in range(self._number):
            self._make()
        await self._started

    def reload(self, settings: Settings) -> None:
        """Have new connections served by other options."""
        self._settings = settings
        for process in self._processes.values():
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
        if self._processes:
            for process in self._processes.values():
                process.stop()
            killer = self._reactor.callLater(timeout, self._kill)
            await self._stopped
            if killer.active():
                killer.cancel()

    def _kill(self) -> None:
        for process in self._processes.values():
            self.log.warn("worker {pid} did not stop in time", pid=process.pid)
            process.kill()

    # --- single ones --------------------------------------------------------

    def _make(self) -> None:
        if self._stopped is not None or self._is_given_up:
            return
        self._count += 1
        process = Process(self, self._count, self._reactor)
        self._processes[process.number] = process
        self._forker.fork(process.number, process.descriptors)
        process.order(
            {
                "order": "serve",
                "settings": dict(self._settings.texts),
                "workers": self._number,
                "services": [
                    {
                        "name": service.name,
                        "cmd": list(service.cmd),
                        "descriptors": [listening.fileno() for listening in service.sockets],
                    }
                    for service in self._services
                ],
            }
        )

    def template_told(self, message: dict[str, Any]) -> None:
        """A worker was made, or ended."""
        if "forked" in message:
            process = self._processes[message["forked"]]
            process.pid = message["pid"]
            # Its first words may have come sooner than its number.
            if process.serving:
                self._serves()
            return
        for process in list(self._processes.values()):
            if process.pid == message["ended"]:
                process.ended()
                self._ended(process, message["code"], message["signal"])

    def template_died(self, is_replaced: bool) -> None:
        """Nobody tells any more when the present workers end; their pipes do."""
        self._is_given_up = not is_replaced
        if self._is_given_up and self._started is not None:
            started, self._started = self._started, None
            started.errback(WorkerFailed("the process that makes workers died"))
        elif self._is_given_up:
            self._given_up()
        for process in list(self._processes.values()):
            process.orphaned = True
            if process.has_hung_up:
                self.orphan_ended(process)

    def orphan_ended(self, process: Process) -> None:
        """A worker ended whose template had died."""
        if process.number in self._processes:
            process.ended()
            self._ended(process, None, None)

    def worker_serves(self, process: Process) -> None:
        """A worker began to serve."""
        self.log.info("worker {pid} serves", pid=process.pid)
        if process.pid:
            self._serves()

    def _serves(self) -> None:
        if self._started is not None and len([pid for pid in self.pids if pid]) == self._number:
            started, self._started = self._started, None
            started.callback(None)
        else:
            self._changed()

    def _ended(self, process: Process, code: int | None, number: int | None) -> None:
        del self._processes[process.number]
        if self._stopped is not None:
            if not self._processes and not self._stopped.called:
                self._stopped.callback(None)
            return
        how = f"signal {number}" if number else f"exit code {'unknown' if code is None else code}"
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
        timer = self._reactor.callLater(pause, self._make)
        self._timers = {timer, *(former for former in self._timers if former.active())}
