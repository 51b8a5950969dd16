"""What stands between two servers, hears what one says to the other, and lets something happen then."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass

_PIECE = 262_144
_CONNECT_WITHIN = 5.0
_AT_ONCE = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Event:
    """
    Something that is to happen once.

    @ivar command: When this command is said.
    @ivar is_after: When it was answered, and before the answer goes on.
    @ivar happen: Given what cuts the connection.
    """

    command: bytes
    is_after: bool
    happen: Callable[[Callable[[], None]], None]


class Wire:
    """
    A port through which everything to another one goes.

    @ivar happened: Set when what was planned has happened.
    """

    def __init__(self, port: int, target: int, host: str = "127.0.0.1", at: str = "127.0.0.1") -> None:
        """
        @param host: Of the target.
        @param at: The address of the port.
        """
        self.happened = threading.Event()
        self._target = host, target
        self._plan: Event | None = None
        self._listening = socket.create_server((at, port))
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def plan(self, event: Event | None) -> None:
        """Say what is to happen next, if anything."""
        self.happened.clear()
        self._plan = event

    def close(self) -> None:
        """Take no more connections."""
        # Closing alone would leave the thread waiting.
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()

    def _accept(self) -> None:
        while True:
            try:
                asking, _ = self._listening.accept()
            except OSError:
                return
            try:
                asked = socket.create_connection(self._target, _CONNECT_WITHIN)
            except OSError:
                asking.close()
                continue
            asked.settimeout(None)
            connection = _Connection(self, asking, asked)
            for forth in (True, False):
                threading.Thread(target=connection.carry, args=(forth,), daemon=True).start()

    def _next(self) -> Event | None:
        return self._plan

    def _strike(self, event: Event, cut: Callable[[], None]) -> None:
        if self._plan is event:
            self._plan = None
            event.happen(cut)
            self.happened.set()


class _Connection:
    def __init__(self, wire: Wire, asking: socket.socket, asked: socket.socket) -> None:
        self._wire = wire
        self._ends = (asking, asked)
        self._awaited: tuple[Event, re.Pattern[bytes]] | None = None

    def carry(self, forth: bool) -> None:
        """Carry what one side says to the other, until it ends."""
        source, target = self._ends if forth else reversed(self._ends)
        with contextlib.suppress(OSError):
            while data := source.recv(_PIECE):
                if forth:
                    self._asked(data)
                else:
                    self._answered(data)
                target.sendall(data)
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _asked(self, data: bytes) -> None:
        event = self._wire._next()
        if event is None:
            return
        found = re.search(rb"(?:^|\n)([A-Za-z0-9]+) " + event.command + rb"[ \r]", data)
        if found is None:
            return
        if event.is_after:
            self._awaited = event, re.compile(rb"(?:^|\n)" + found[1] + rb" ")
        else:
            self._wire._strike(event, self._cut)

    def _answered(self, data: bytes) -> None:
        if self._awaited is not None and self._awaited[1].search(data):
            event, self._awaited = self._awaited[0], None
            self._wire._strike(event, self._cut)

    def _cut(self) -> None:
        """As a machine does that knows of no such connection."""
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
                end.shutdown(socket.SHUT_RDWR)
                end.close()
