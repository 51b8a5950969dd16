"""Ports for programs that must be told theirs beforehand."""

from __future__ import annotations

import socket


def free_ports(count: int) -> list[int]:
    """
    Ports of the loopback that nobody listens at now; all different.

    Another program may take one before it is used: what can listen at port 0 should.
    """
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(listener.getsockname()[1]) for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


def free_port() -> int:
    """One of them."""
    return free_ports(1)[0]
