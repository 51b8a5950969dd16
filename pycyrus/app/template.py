"""
The template of workers: a process that has everything imported, and forks.

A worker made so shares the memory of all code, starts in milliseconds, and does
not need the right to read Python's files, which the user that the server
becomes may lack.

Started as C{python -m pycyrus.app.template DESCRIPTOR}, where the descriptor is
a socket of whole messages from and to the master, JSON each: C{{"user": ...}}
first, then C{{"fork": NUMBER}} with the descriptors of orders, log and status
(see L{pycyrus.app.worker}).  It answers C{{"forked": NUMBER, "pid": PID}}, and
C{{"ended": PID, "code": ..., "signal": ...}} later.  When the master is gone,
so is the template.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys
from importlib import import_module
from typing import Any

from pycyrus.app import worker
from pycyrus.app.mail_service import mail_services
from pycyrus.app.notice_parts import sink_factories
from pycyrus.app.privileges import UnixUser, become
from pycyrus.auth.checkers.chain import factories
from pycyrus.auth.shared_answers import SharedMemory
from pycyrus.config.options import option_table
from pycyrus.net.session_keys import SessionKeys
from pycyrus.net.shares import WorkerShares

MAX_MESSAGE = 65536
_FORGET_EVERY = 3600.0
"""Seconds after which keys of TLS sessions whose day is over are looked for, whatever else there is to do."""

_LATER_IMPORTS = (
    "encodings.idna",
    "encodings.latin_1",
    "twisted.internet.epollreactor",
    "twisted.internet.stdio",
    "twisted.internet.threads",
    "twisted.python.threadpool",
)
"""What a worker would import only at work, when it perhaps may not read the files any more."""


def preload() -> None:
    """Import whatever a worker could need, except the reactor, which each worker must have of its own."""
    for name in _LATER_IMPORTS:
        import_module(name)
    option_table()
    factories()
    sink_factories()
    for service in mail_services().values():
        load = getattr(service, "load", None)
        if load is not None:
            load()


class Template:
    """Forks a worker for each order."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._children: set[int] = set()
        self._logins = SharedMemory()
        self._session_keys = SessionKeys()
        self._shares = WorkerShares()

    def run(self) -> None:
        """Follow the master's messages until there is no master."""
        woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        # The master decides when to end, whoever sends these to the whole group.
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        while True:
            readable, _, _ = select.select([self._control.fileno(), woken], [], [], _FORGET_EVERY)
            self._session_keys.forget()
            if woken in readable:
                os.read(woken, 4096)
                self._reap()
            if self._control.fileno() in readable and not self._message((woken, wake)):
                return

    def _message(self, own: tuple[int, int]) -> bool:
        """
        Take one message.

        @param own: Descriptors that no worker shall have.
        @return: False if there is no master any more.
        """
        data, descriptors, _, _ = socket.recv_fds(self._control, MAX_MESSAGE, 3)
        if not data:
            return False
        message: dict[str, Any] = json.loads(data)
        user = message.get("user")
        if user is not None:
            become(UnixUser(**user))
        if "fork" in message:
            self._fork(message["fork"], descriptors, own)
        return True

    def _fork(self, number: int, descriptors: list[int], own: tuple[int, int]) -> None:
        gc.freeze()
        row = self._shares.claim()
        pid = os.fork()
        if pid == 0:
            self._become_worker(descriptors, own, row)
        self._shares.assign(row, pid)
        for fd in descriptors:
            os.close(fd)
        self._children.add(pid)
        self._tell({"forked": number, "pid": pid})

    def _become_worker(self, descriptors: list[int], own: tuple[int, int], row: int) -> None:
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._control.close()
            for fd in own:
                os.close(fd)
            orders, log, status = descriptors
            worker.run(orders, log, status, worker.Shared(self._logins, self._session_keys, self._shares, row))
            code = 0
        except BaseException:  # noqa: BLE001 - nothing may come back into the template's loop
            sys.excepthook(*sys.exc_info())
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.flush()
            os._exit(code)

    def _reap(self) -> None:
        for pid in list(self._children):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._children.discard(pid)
                self._shares.ended(pid)
                killed = os.WIFSIGNALED(status)
                self._tell(
                    {
                        "ended": pid,
                        "code": None if killed else os.waitstatus_to_exitcode(status),
                        "signal": os.WTERMSIG(status) if killed else None,
                    }
                )

    def _tell(self, message: dict[str, object]) -> None:
        # The end of the master is noticed by reading.
        with contextlib.suppress(OSError):
            self._control.send(json.dumps(message).encode())


def main() -> None:
    """Run the template, as the process that it is."""
    preload()
    Template(socket.socket(fileno=int(sys.argv[1]))).run()


if __name__ == "__main__":
    main()
