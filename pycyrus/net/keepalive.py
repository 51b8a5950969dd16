"""TCP keepalive."""

from __future__ import annotations

import socket
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keepalive:
    """
    TCP keepalive, in seconds; 0 leaves the system's value.

    @ivar idle: Silence before the first probe.
    @ivar interval: Time between probes.
    @ivar count: Unanswered probes that end the connection.
    @ivar unacknowledged: How long what was sent may stay so.
    """

    idle: int = 0
    interval: int = 0
    count: int = 0
    unacknowledged: int = 0

    def apply(self, sock: socket.socket) -> None:
        """Switch it on for a socket."""
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (
            (socket.TCP_KEEPIDLE, self.idle),
            (socket.TCP_KEEPINTVL, self.interval),
            (socket.TCP_KEEPCNT, self.count),
        ):
            if value:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
        if self.unacknowledged:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, self.unacknowledged * 1000)


BETWEEN_SERVERS = Keepalive(idle=15, interval=5, count=3, unacknowledged=25)
"""For connections whose other end is a server nearby: one that is cut off is soon known to be."""
