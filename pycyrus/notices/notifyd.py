"""Notices to the datagram socket of a notification daemon, such as Cyrus's notifyd."""

from __future__ import annotations

import socket
from typing import Protocol

from pycyrus.notices.forms import MAX_DATAGRAM, Notice
from pycyrus.notices.losses import Losses


class NoticeSender(Protocol):
    """Who takes notices: the socket of a daemon, or a program."""

    def send(self, notice: Notice) -> None:
        """Send it, or lose it; it neither waits nor raises."""

    async def close(self) -> None:
        """Send nothing more."""


class NotifydSocket:
    """
    Sends each notice as a datagram, if it can be sent at once.

    Mail waits for nobody: where the daemon is away or does not keep up, notices
    are lost.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.losses = Losses(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)

    def send(self, notice: Notice) -> None:
        """Send it, or lose it."""
        octets = notice.encode()
        if len(octets) > MAX_DATAGRAM:
            self.losses.add("the notice is too long")
            return
        try:
            self._socket.sendto(octets, self._path)
        except OSError as error:
            self.losses.add(error.strerror or type(error).__name__)

    async def close(self) -> None:
        """Close the socket."""
        self._socket.close()
