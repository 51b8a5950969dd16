"""
Being told by the kernel that another process wrote to a journal.

One inotify descriptor per process.  Where there is none, or no more watches
are to be had, journals are looked at by the clock.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from pycyrus.store.threads import StoreReactor

_IN_ATTRIB = 0x4
"""Of these, a change of the number of links: the journal was replaced or removed."""
_IN_MODIFY = 0x2
_IN_DELETE_SELF = 0x400
_IN_MOVE_SELF = 0x800
_IN_IGNORED = 0x8000
_IN_Q_OVERFLOW = 0x4000
_MASK = _IN_ATTRIB | _IN_MODIFY | _IN_DELETE_SELF | _IN_MOVE_SELF
_EVENT = struct.Struct("iIII")
_BUFFER = 1 << 16

POLL = 0.1
"""Seconds between looks at journals that the kernel does not watch for us."""

_libc = ctypes.CDLL(None, use_errno=True)


class WatchReactor(StoreReactor, Protocol):
    """What the watcher needs of the reactor."""

    def addReader(self, reader: IReadDescriptor) -> None:  # noqa: N802
        """Of C{IReactorFDSet}."""

    def removeReader(self, reader: IReadDescriptor) -> None:  # noqa: N802
        """Of C{IReactorFDSet}."""


@implementer(IReadDescriptor)
class JournalWatcher:
    """Calls back when a file was written to, replaced or removed."""

    log = Logger()

    def __init__(self, reactor: WatchReactor) -> None:
        self._reactor = reactor
        self._callbacks: dict[int, list[Callable[[], None]]] = {}
        self._polled: list[Callable[[], None]] = []
        self._poll: IDelayedCall | None = None
        self._fd: int = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            self.log.warn("inotify is not available: {error}", error=os.strerror(ctypes.get_errno()))
        else:
            reactor.addReader(self)

    def add(self, path: str, callback: Callable[[], None]) -> Callable[[], None]:
        """
        Watch a file.

        @param callback: Called on the reactor thread, once for any number of
            writes at a time.
        @return: Call it to stop.
        """
        number = _libc.inotify_add_watch(self._fd, os.fsencode(path), _MASK) if self._fd >= 0 else -1
        if number < 0:
            return self._add_polled(callback)
        callbacks = self._callbacks.setdefault(number, [])
        callbacks.append(callback)

        def stop() -> None:
            if callback not in callbacks:
                return
            callbacks.remove(callback)
            if not callbacks and self._callbacks.get(number) is callbacks:
                del self._callbacks[number]
                if self._fd >= 0:
                    _libc.inotify_rm_watch(self._fd, number)

        return stop

    def _add_polled(self, callback: Callable[[], None]) -> Callable[[], None]:
        if not self._polled:
            self.log.info("Journals are looked at by the clock: {error}", error=os.strerror(ctypes.get_errno()))
        self._polled.append(callback)
        if self._poll is None:
            self._poll = self._reactor.callLater(POLL, self._look)

        def stop() -> None:
            if callback in self._polled:
                self._polled.remove(callback)

        return stop

    def _look(self) -> None:
        self._poll = None
        for callback in list(self._polled):
            self._call(callback)
        if self._polled:
            self._poll = self._reactor.callLater(POLL, self._look)

    def doRead(self) -> None:  # noqa: N802 - called by the reactor
        """Take what the kernel tells."""
        try:
            data = os.read(self._fd, _BUFFER)
        except (BlockingIOError, InterruptedError):
            return
        touched: dict[int, bool] = {}
        at = 0
        while at < len(data):
            number, mask, _cookie, length = _EVENT.unpack_from(data, at)
            at += _EVENT.size + length
            if mask & _IN_Q_OVERFLOW:
                touched.update(dict.fromkeys(self._callbacks, True))
            elif not mask & _IN_IGNORED:
                touched[number] = True
        for number in touched:
            for callback in list(self._callbacks.get(number, ())):
                self._call(callback)

    def _call(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception:  # noqa: BLE001 - one mailbox's fault is not another's
            self.log.failure("A mailbox could not catch up")

    def fileno(self) -> int:
        """The inotify descriptor."""
        return self._fd

    def logPrefix(self) -> str:  # noqa: N802 - called by the reactor
        """For the reactor's log."""
        return "JournalWatcher"

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802 - called by the reactor
        """The reactor is stopping."""

    def close(self) -> None:
        """Stop watching."""
        if self._poll is not None:
            self._poll.cancel()
            self._poll = None
        self._callbacks.clear()
        self._polled.clear()
        if self._fd >= 0:
            self._reactor.removeReader(self)
            os.close(self._fd)
            self._fd = -1
