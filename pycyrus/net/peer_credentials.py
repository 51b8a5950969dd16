"""Who is at the other end of a Unix socket, as the kernel says."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

_UCRED = struct.Struct("3i")
"""C{struct ucred}: process, user, group."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The process that connected, and its user."""

    pid: int
    user_id: int


def credentials_of(connection: object) -> Credentials | None:
    """
    Ask the kernel.

    @param connection: A socket; None is the answer for all that is no Unix socket.
    """
    if not isinstance(connection, socket.socket) or connection.family != socket.AF_UNIX:
        return None
    pid, user_id, _group = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return Credentials(pid, user_id)
