"""Ports for programs that must be told theirs beforehand."""

from __future__ import annotations

import errno
import random
import socket
from pathlib import Path

_FIRST, _LAST = 20_000, 65_535
_ENOUGH = 1_000
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_TRIES = 1_000
_draw = random.SystemRandom()
_held: list[socket.socket] = []


def free_ports(count: int) -> list[int]:
    """
    Ports of the loopback that nobody listens at now; all different.

    Nobody else gets them from here while this process runs.

    Where that can be had the kernel gives none of them to a connection, or to who listens at port 0: so they are still
    free when a program that was told one listens there, or does so again.
    """
    return [_free_port() for _ in range(count)]


def free_port() -> int:
    """One of them."""
    return _free_port()


def _free_port() -> int:
    choice = _not_of_the_kernel()
    for _ in range(_TRIES):
        port = _draw.choice(choice) if choice else 0
        try:
            with socket.create_server(("127.0.0.1", port)) as listener:
                port = int(listener.getsockname()[1])
                if choice:
                    _hold(port)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            continue
        return port
    raise OSError(errno.EADDRINUSE, "no port is free")


def _not_of_the_kernel() -> range:
    """The ports of which the kernel takes none by itself; empty where these are few."""
    try:
        first, last = (int(word) for word in _RANGE.read_text().split())
    except OSError:
        return range(0)
    widest = max(range(_FIRST, first), range(max(last + 1, _FIRST), _LAST + 1), key=len)
    return widest if len(widest) >= _ENOUGH else range(0)


def _hold(port: int) -> None:
    """
    Have no other process of tests choose it, until this one ends.

    @raise OSError: Another has.
    """
    held = socket.socket(socket.AF_UNIX)
    try:
        # An abstract name is nobody's file, and ends with the process, however that ends.
        held.bind(f"\0pycyrus-testing-port-{port}")
    except OSError:
        held.close()
        raise
    _held.append(held)
