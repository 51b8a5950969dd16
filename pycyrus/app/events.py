"""
The programs of cyrus.conf that are no services: START, EVENTS and DAEMON.

Programs of Cyrus that have nothing to do here are left out with a line in the
log, so that a Cyrus server's file works as it is.
"""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall, IProcessTransport
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from pycyrus.app.logs import printable
from pycyrus.app.programs import Program, program_of
from pycyrus.config.cyrus_conf import CyrusConf, DaemonEntry, EventEntry
from pycyrus.config.problems import Place, Problem

DAEMON_PAUSE = 10.0
"""Seconds until a daemon that ended is started again."""

READY_FD = 3
"""Where a waited-for daemon writes that it is ready (cyrus.conf: C{wait=y})."""

_LAST_WORDS = 1.0
"""Seconds that a program's output may come later than its end."""

_READY = b"ok\r\n"
_MAX_LINE = 2000


class _Entry(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def cmd(self) -> tuple[str, ...]: ...
    @property
    def place(self) -> Place: ...


def missing_programs(conf: CyrusConf) -> list[Problem]:
    """Entries whose program is neither Cyrus's nor to be found."""
    entries: list[_Entry] = [*conf.start, *conf.events, *conf.daemon]
    problems: list[Problem] = []
    for entry in entries:
        program = program_of(entry.cmd)
        if not program.known and program.executable is None:
            mend = "write its whole path, or remove the entry"
            problems.append(Problem(entry.place, f"{entry.name}: there is no program {entry.cmd[0]}", mend))
    return problems


class Run(ProcessProtocol):
    """
    One run of a program; what it writes goes to the log.

    @ivar ended: Fires with its exit code, or the negative number of the signal
        that ended it, when also its pipes are closed.
    @ivar exited: Fires when it has ended; children that it left behind may have
        its pipes for ever.
    @ivar ready: Fires when it wrote that it is ready, or ended.
    """

    log = Logger()

    def __init__(self, name: str) -> None:
        self.name = name
        self.ended: Deferred[int] = Deferred()
        self.exited: Deferred[None] = Deferred()
        self.ready: Deferred[None] = Deferred()
        self._partial = {1: b"", 2: b""}
        self._told = b""

    @override
    def childDataReceived(self, childFD: int, data: bytes) -> None:
        if childFD == READY_FD:
            self._told = (self._told + data)[-len(_READY) :]
            if self._told == _READY and not self.ready.called:
                self.ready.callback(None)
            return
        *lines, rest = (self._partial[childFD] + data).split(b"\n")
        for line in lines:
            self._write(line)
        if len(rest) > _MAX_LINE:
            self._write(rest)
            rest = b""
        self._partial[childFD] = rest

    def _write(self, line: bytes) -> None:
        if line.strip():
            self.log.info("{program}: {line}", program=self.name, line=printable(line.rstrip()))

    @override
    def processExited(self, reason: Failure) -> None:
        self.exited.callback(None)

    @override
    def processEnded(self, reason: Failure) -> None:
        for line in self._partial.values():
            self._write(line)
        value: Any = reason.value
        code = value.exitCode if value.exitCode is not None else -(value.signal or 0)
        if not self.ready.called:
            self.ready.callback(None)
        self.ended.callback(code)


class Programs:
    """Runs the programs of one cyrus.conf."""

    log = Logger()

    def __init__(
        self,
        conf: CyrusConf,
        environment: dict[str, str],
        reactor: PosixReactorBase,
        source_words: Sequence[str] = (),
    ) -> None:
        """
        @param environment: Added to our own for what is run.
        @param source_words: What tells a verb of C{pycyrus} which server it is about.
        """
        self._conf = conf
        self._source_words = tuple(source_words)
        self._environment = {**os.environ, **environment}
        self._reactor = reactor
        self._running: dict[Run, IProcessTransport] = {}
        self._timers: dict[str, IDelayedCall] = {}
        self._stopped = False

    # --- running ------------------------------------------------------------

    def _run(self, name: str, program: Program, wait: bool = False) -> Run:
        run = Run(name)
        descriptors: dict[int, int | str] = {0: os.open(os.devnull, os.O_RDONLY), 1: "r", 2: "r"}
        if wait:
            descriptors[READY_FD] = "r"
        executable = cast(str, program.executable)
        arguments = program.arguments
        if program.verb:
            # Behind the verb; what the entry says itself comes later, and counts.
            at = arguments.index(program.verb) + 1
            arguments = (*arguments[:at], *self._source_words, *arguments[at:])
        try:
            process = self._reactor.spawnProcess(
                run,
                executable,
                [executable, *arguments],
                env=self._environment,
                childFDs=descriptors,
            )
        finally:
            os.close(cast(int, descriptors[0]))
        self._running[run] = process
        run.ended.addCallback(self._ended, run)  # type: ignore[unused-awaitable] # who waits has a Deferred of its own
        return run

    def _ended(self, code: int, run: Run) -> int:
        del self._running[run]
        if code and not self._stopped:
            self.log.warn("{program} ended with {code}", program=run.name, code=code)
        elif not self._stopped:
            self.log.info("{program} has run", program=run.name)
        return code

    def _wanted(self, entry: _Entry, section: str) -> Program | None:
        program = program_of(entry.cmd)
        if program.needless:
            self.log.info(
                "{section} {entry}: {program} is not run: {reason}",
                section=section,
                entry=entry.name,
                program=program.name,
                reason=program.needless,
            )
            return None
        return program

    # --- the sections -------------------------------------------------------

    async def start(self) -> None:
        """Run the START entries, one after another, to their end."""
        for entry in self._conf.start:
            program = self._wanted(entry, "START")
            if program is not None and not self._stopped:
                # That it failed is in the log, and no reason to serve nobody.
                await self._over(self._run(entry.name, program))

    async def _over(self, run: Run) -> None:
        """Wait until a program has ended and has said all; children that it left behind may have its pipes for ever."""
        await _when_fired(run.exited)
        done = _when_fired(run.ended)
        timer = self._reactor.callLater(_LAST_WORDS, done.cancel)
        try:
            await done
        except CancelledError:
            if timer.active():
                timer.cancel()
                raise  # it is we who are cancelled
        if timer.active():
            timer.cancel()

    async def start_daemons(self) -> None:
        """Start the DAEMON entries, and wait for those that say when they are ready."""
        for entry in self._conf.daemon:
            program = self._wanted(entry, "DAEMON")
            if program is not None and not self._stopped:
                await self._start_daemon(entry, program)

    def _start_daemon(self, entry: DaemonEntry, program: Program) -> Deferred[None]:
        run = self._run(entry.name, program, entry.wait)
        run.ended.addCallback(lambda code: self._daemon_ended(entry, program))  # type: ignore[unused-awaitable] # for ever
        if entry.wait:
            return _when_fired(run.ready)
        ready: Deferred[None] = Deferred()
        ready.callback(None)
        return ready

    def _daemon_ended(self, entry: DaemonEntry, program: Program) -> None:
        if self._stopped:
            return
        self.log.warn("daemon {program} ended; it is started again", program=entry.name)
        self._later(f"daemon {entry.name}", DAEMON_PAUSE, lambda: self._restart(entry, program))

    def _restart(self, entry: DaemonEntry, program: Program) -> None:
        self._start_daemon(entry, program).addErrback(self._failed)  # type: ignore[unused-awaitable] # nobody waits

    def _failed(self, failure: Failure) -> None:
        self.log.failure("a program could not be started", failure)

    def start_events(self) -> None:
        """Begin to run the EVENTS entries at their times."""
        for entry in self._conf.events:
            program = self._wanted(entry, "EVENTS")
            if program is None:
                continue
            if entry.delay:
                self._later(f"event {entry.name}", entry.delay * 60, partial(self._event, entry, program))
            elif entry.at is None:
                self._event(entry, program)
            else:
                self._schedule(entry, program)

    def _event(self, entry: EventEntry, program: Program) -> None:
        if any(run.name == entry.name for run in self._running):
            self.log.warn("event {program} still runs, and is left out this time", program=entry.name)
        else:
            self._run(entry.name, program)
        self._schedule(entry, program)

    def _schedule(self, entry: EventEntry, program: Program) -> None:
        delay: float = entry.period * 60
        if entry.at is not None:
            delay = seconds_until(entry.at, time.time())
        if delay > 0:
            self._later(f"event {entry.name}", delay, lambda: self._event(entry, program))

    def _later(self, key: str, delay: float, function: Callable[[], None]) -> None:
        if not self._stopped:
            self._timers[key] = self._reactor.callLater(delay, function)

    async def stop(self, timeout: float) -> None:
        """
        Run nothing more, and end what runs.

        @param timeout: Seconds until what does not end is killed.
        """
        self._stopped = True
        for timer in self._timers.values():
            if timer.active():
                timer.cancel()
        ends = [run.exited for run in self._running]
        self._signal("TERM")
        killer = self._reactor.callLater(timeout, self._kill)
        for end in ends:
            await _when_fired(end)
        for process in list(self._running.values()):
            # A child of it still has its pipes: nothing more is read of them.
            process.loseConnection()
        if killer.active():
            killer.cancel()

    def _kill(self) -> None:
        self._signal("KILL")

    def _signal(self, name: str) -> None:
        for process in list(self._running.values()):
            # One that has ended, but whose pipes have not, cannot be told any more.
            with suppress(ProcessExitedAlready):
                process.signalProcess(name)


def seconds_until(at: Sequence[int], now: float) -> float:
    """
    Seconds until a time of day, by the local clock; a whole day when it is now.

    @param at: Hour and minute.
    @param now: Seconds since the epoch.
    """
    present = datetime.datetime.fromtimestamp(now).astimezone()
    due = present.replace(hour=at[0], minute=at[1], second=0, microsecond=0)
    if due <= present:
        due += datetime.timedelta(days=1)
    # Through a local time without offset, so that a change to or from summer
    # time in between counts.
    return due.replace(tzinfo=None).timestamp() - now


def _when_fired(waited: Deferred[Any]) -> Deferred[None]:
    """A Deferred of our own, which may be cancelled, that fires when another one has."""
    fired: Deferred[None] = Deferred()

    def tell(result: Any) -> Any:
        if not fired.called:
            fired.callback(None)
        return result

    waited.addBoth(tell)  # type: ignore[unused-awaitable] # the result is passed on
    return fired
