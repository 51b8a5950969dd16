"""
The reactor of worker processes: Twisted's on epoll, without the context of each event, and awake for quick clients.

Twisted sets up a logging context around every event, for the prefix of log
lines made by C{twisted.python.log}; nothing here logs so, and it would be a
tenth of the cost of a short command.

A processor that was let go to sleep takes longer to wake than a short command
takes to run, most of all in a virtual machine.  So who was woken several times
in quick succession looks for the next event for a moment before it sleeps.
Where all processors are busy it leaves that one to others.
"""

from __future__ import annotations

import errno
import os
from select import EPOLLIN
from time import perf_counter
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.main import installReactor
from twisted.logger import Logger
from typing_extensions import override

from pycyrus.disk_waits import DISK_WAITS

MOMENT = 0.0001
"""Seconds for which it looks before it sleeps."""
SHORT = 0.0002
"""Seconds of a wait that is so short that it was hardly worth sleeping."""
IN_A_ROW = 8
"""Short waits after which it looks before it sleeps; one that is longer ends that.  Waits for the disk do not count."""
LOOKS = 16
"""How often it looks so until it finds out whether others want the processor."""
CROWDED = 0.3
"""The part of the time, of what it could have run, for which it may have waited for a processor meanwhile."""
REST = 0.02
"""Seconds for which it sleeps at once then."""
_LONGEST = 2147483.0
"""Seconds of the longest wait: what epoll_wait(2) takes as milliseconds."""


class Spare:
    """Whether nobody else wants the processor for long; of the thread that asks first."""

    __slots__ = ("_before", "_file", "_looks", "_rest_until")

    def __init__(self) -> None:
        self._file: int | None = None
        self._looks = 0
        self._before = (0, 0)
        self._rest_until = 0.0

    def is_there(self, now: float) -> bool:
        """
        Find out now and then whether this thread had to wait for a processor.

        @param now: Seconds, by C{perf_counter}.
        """
        if now < self._rest_until:
            return False
        self._looks += 1
        if self._looks < LOOKS:
            return True
        self._looks = 0
        ran, waited = self._times()
        ran_before, waited_before = self._before
        self._before = ran, waited
        waited -= waited_before
        if waited <= CROWDED * (ran - ran_before + waited):
            return True
        self._rest_until = now + REST
        return False

    def _times(self) -> tuple[int, int]:
        """Nanoseconds for which this thread ran, and waited to run; as before if the kernel does not tell."""
        try:
            if self._file is None:
                self._file = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
            ran, waited, _ = os.pread(self._file, 100, 0).split()
            return int(ran), int(waited)
        except (OSError, ValueError):
            return self._before


class LeanReactor(EPollReactor):
    """Tells readers and writers of events directly."""

    log = Logger()

    def __init__(self) -> None:
        self._short_waits = 0
        self._spare = Spare()
        super().__init__()  # type: ignore[no-untyped-call] # Twisted's

    @override
    def mainLoop(self) -> None:
        handled = self.log.failuresHandled("Unexpected error in main loop")
        while self._started:
            with handled:
                self._take_turns()

    def _take_turns(self) -> None:
        """Do what Twisted's main loop does; where nothing but the next event is to be waited for, in fewer steps."""
        seconds = self.seconds
        while self._started:
            calls = self._pendingTimedCalls
            left = calls[0].time - seconds() if calls else None
            if self.threadCallQueue or self._newTimedCalls or self._justStopped or (left is not None and left <= 0):
                self.runUntilCurrent()
                left = self.timeout()
            elif left is not None and left > _LONGEST:
                left = _LONGEST
            self.doPoll(left if self.running else 0)

    @override
    def doPoll(self, timeout: float | None) -> None:
        try:
            events = self._wait(-1.0 if timeout is None else timeout)
        except OSError as error:
            if error.errno == errno.EINTR:
                return
            raise
        selectables = self._selectables
        for fd, event in events:
            # One that was told before may have removed it.
            selectable = selectables.get(fd)
            if selectable is None:
                continue
            try:
                if event == EPOLLIN and selectable.fileno() == fd:
                    # What nearly all events are: Twisted's own way does the same in more steps.
                    self._read(selectable)
                else:
                    self._doReadOrWrite(selectable, fd, event)  # type: ignore[no-untyped-call] # Twisted's
            except Exception:  # noqa: BLE001 - what one connection does at its end is no other's fault
                self.log.failure("An event crashed")

    def _wait(self, timeout: float) -> list[tuple[int, int]]:
        """@param timeout: Seconds; negative to wait as long as it takes."""
        poll, most = self._poller.poll, len(self._selectables)
        events: list[tuple[int, int]]
        if not timeout:
            events = poll(0, most)
            return events
        if DISK_WAITS.count:
            # It is the disk that takes its time: that neither makes clients slow nor is worth looking for.
            events = poll(timeout, most)
            return events
        began = perf_counter()
        if self._short_waits >= IN_A_ROW and self._spare.is_there(began):
            while perf_counter() - began < MOMENT:
                events = poll(0, most)
                if events:
                    return events
            self._short_waits = 0
        events = poll(timeout, most)
        self._short_waits = self._short_waits + 1 if perf_counter() - began < SHORT else 0
        return events

    def _read(self, selectable: Any) -> None:
        try:
            why = selectable.doRead()
        except Exception as error:  # noqa: BLE001 - which ends the connection
            self.log.failure("A connection crashed")
            why = error
        if why:
            self._disconnectSelectable(selectable, why, True)  # type: ignore[no-untyped-call] # likewise

    # Twisted's main loop calls it by this name.
    doIteration = doPoll  # noqa: N815


def install() -> None:
    """
    Make it the reactor of this process.

    @raise twisted.internet.error.ReactorAlreadyInstalledError: There is one.
    """
    installReactor(LeanReactor())
