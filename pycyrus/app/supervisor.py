"""
Telling whoever started the server that it is ready, as C{sd_notify(3)} defines it.

systemd asks for it by C{Type=notify}; C{bin/master -d} waits for it before
it leaves the terminal.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress

VARIABLE = "NOTIFY_SOCKET"
READY = b"READY=1"
STOPPING = b"STOPPING=1"


class Supervisor:
    """
    The socket that the environment names; without one, nothing is told.

    The variable is taken out of the environment: what the server runs is not
    the server.
    """

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        name = environment.pop(VARIABLE, "")
        # As systemd writes them: a path, or @ in the place of the NUL of an abstract name.
        self._address = "\0" + name[1:] if name.startswith("@") else name

    def tell(self, state: bytes) -> None:
        """Send a state; whoever does not listen any more is not waited for."""
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
            sender.sendto(state, self._address)
