"""
How many connections each worker has, in memory that all of them inherit.

Workers wait at the same listening sockets, and of connections that come together
the one that is awake first would take all, to serve them on one core.  So who
is ahead holds back for a moment.
"""

from __future__ import annotations

import mmap

WORKERS = 64
SERVICES = 64
"""Listening sockets that are counted; any further ones are served first come, first served."""
_PRESENT = SERVICES
_WIDTH = SERVICES + 1
_CELL = 4


class WorkerShares:
    """
    What is made once, before the workers are forked: a row for each of them.

    Only its worker writes a row while that lives, so there is no lock.
    """

    def __init__(self) -> None:
        self._cells = memoryview(mmap.mmap(-1, WORKERS * _WIDTH * _CELL)).cast("I")
        self._owners: dict[int, int] = {}

    def claim(self) -> int:
        """
        Set a row aside for a worker that is about to be forked.

        @return: Its number; -1 when there are too many workers.
        """
        taken = set(self._owners.values())
        row = next((row for row in range(WORKERS) if row not in taken), -1)
        if row >= 0:
            self._cells[row * _WIDTH : (row + 1) * _WIDTH] = memoryview(bytes(_WIDTH * _CELL)).cast("I")
        return row

    def assign(self, row: int, pid: int) -> None:
        """Note whose row it is."""
        if row >= 0:
            self._owners[pid] = row

    def ended(self, pid: int) -> None:
        """A worker is gone, and its connections with it."""
        row = self._owners.pop(pid, None)
        if row is not None:
            self._cells[row * _WIDTH + _PRESENT] = 0

    def share(self, row: int, service: int) -> Share | None:
        """
        The share of one worker, in that worker.

        @param service: Number of the listening socket, the same in all workers.
        @return: None where nothing is counted.
        """
        if row < 0 or service >= SERVICES:
            return None
        self._cells[row * _WIDTH + _PRESENT] = 1
        return Share(self._cells, row, service)


class Share:
    """Connections of one worker at one listening socket."""

    def __init__(self, cells: memoryview[int], row: int, service: int) -> None:
        self._cells = cells
        self._own = row * _WIDTH + service
        self._service = service

    def opened(self) -> None:
        """One more."""
        self._cells[self._own] += 1

    def closed(self) -> None:
        """One less."""
        self._cells[self._own] -= 1

    def is_ahead(self) -> bool:
        """Whether another worker has clearly fewer."""
        cells = self._cells
        own = cells[self._own]
        if own < 2:
            return False
        enough = own - 1 - (own >> 3)
        present = range(_PRESENT, len(cells), _WIDTH)
        offset = _PRESENT - self._service
        return any(cells[at] and cells[at - offset] < enough for at in present)
