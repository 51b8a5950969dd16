"""
The reactor of worker processes: Twisted's on epoll, without the context that each event gets.

Twisted sets up a logging context around every event, for the prefix of log
lines made by C{twisted.python.log}; nothing here logs so, and it would be a
tenth of the cost of a short command.
"""

from __future__ import annotations

import errno
from select import EPOLLIN
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.main import installReactor
from twisted.logger import Logger
from typing_extensions import override


class LeanReactor(EPollReactor):
    """Tells readers and writers of events directly."""

    log = Logger()

    @override
    def doPoll(self, timeout: float | None) -> None:
        try:
            events = self._poller.poll(-1 if timeout is None else timeout, len(self._selectables))
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
    installReactor(LeanReactor())  # type: ignore[no-untyped-call] # Twisted's
