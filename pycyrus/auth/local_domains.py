"""The domain of an address of ours, for C{virtdomains: on}."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from pycyrus.auth.interfaces import Run

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

LIFETIME = 3600.0
"""Seconds for which an answer is kept: addresses of a server seldom change their names."""


class LocalDomains:
    """Looks addresses up in reverse, once in a while."""

    def __init__(self, clock: IReactorTime, run: Run) -> None:
        """@param run: Where the resolver may block."""
        self._clock = clock
        self._run = run
        self._known: dict[str, tuple[float, str]] = {}

    async def domain(self, address: str) -> str:
        """What follows the first dot of the host name; empty if there is none."""
        now = self._clock.seconds()
        known = self._known.get(address)
        if known is not None and known[0] > now:
            return known[1]
        name: str = await self._run(lambda: _host_name(address))
        domain = name.rstrip(".").partition(".")[2].lower()
        # The addresses are our own, so there are few.
        self._known[address] = (now + LIFETIME, domain)
        return domain


def _host_name(address: str) -> str:
    try:
        return socket.gethostbyaddr(address)[0]
    except OSError:
        return ""
