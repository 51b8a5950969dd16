"""Notices to the datagram socket of a notification daemon, such as Cyrus's notifyd."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass

from twisted.logger import Logger
from zope.interface import implementer

from pycyrus.interfaces import Arrival, IDeliveryObserver
from pycyrus.notices.forms import MAX_DATAGRAM, Notice, message_new, new_mail

SILENCE = 60.0
"""Seconds between two complaints that nobody takes notices."""


@dataclass(frozen=True, slots=True)
class NotifydSettings:
    """
    Settings of notices to notifyd.

    @ivar path: Of its socket.
    @ivar server: Our name, for URLs.
    @ivar mail_method: For notices of new mail; empty for none.
    @ivar event_method: For events; empty for none.
    """

    path: str
    server: str
    mail_method: str = ""
    event_method: str = ""


@implementer(IDeliveryObserver)
class NotifydObserver:
    """
    Sends a datagram for each delivery, if it can be sent at once.

    Mail waits for nobody: where the daemon is away or does not keep up, notices
    are lost.

    @ivar lost: How many were.
    """

    log = Logger()

    def __init__(self, settings: NotifydSettings) -> None:
        self._settings = settings
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        self._complained = float("-inf")
        self.lost = 0

    def delivered(self, arrival: Arrival) -> None:
        """Tell of a message that is in a mailbox now."""
        settings = self._settings
        if settings.mail_method:
            self._send(new_mail(settings.mail_method, arrival))
        if settings.event_method:
            text = message_new(arrival, server=settings.server, pid=os.getpid(), now=time.time())
            self._send(Notice(settings.event_method, "EVENT", text=text))

    def _send(self, notice: Notice) -> None:
        octets = notice.encode()
        if len(octets) > MAX_DATAGRAM:
            self._lose("the notice is too long")
            return
        try:
            self._socket.sendto(octets, self._settings.path)
        except OSError as error:
            self._lose(error.strerror or type(error).__name__)

    def _lose(self, reason: str) -> None:
        self.lost += 1
        now = time.monotonic()
        if now - self._complained >= SILENCE:
            self._complained = now
            self.log.warn(
                "notices are lost ({lost} until now): {path}: {reason}",
                lost=self.lost, path=self._settings.path, reason=reason,
            )  # fmt: skip

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
