"""Connections to backends that become pipes: POP3 and ManageSieve."""

from __future__ import annotations

from typing import Any

from typing_extensions import override

from pycyrus.murder.servers.lines import LineClient
from pycyrus.net.piping import PipedSession


class PipeLink(LineClient):
    """A connection to a backend, and after the login one end of a pipe."""

    def __init__(self, server: str, reactor: Any) -> None:
        super().__init__(server, reactor)
        self._session: PipedSession | None = None
        self._has_ended = False

    # --- the pipe -----------------------------------------------------------------

    def join(self, session: PipedSession) -> None:
        """Hand everything on to a session from now on."""
        self._session = session
        waiting, self._buffer = self._buffer, b""
        if waiting:
            session.take_piped(waiting)
        if self.lost_reason is not None:
            session.pipe_ended()

    @override
    def dataReceived(self, data: bytes) -> None:
        if self._session is None:
            super().dataReceived(data)
        else:
            self._session.take_piped(data)

    @override
    def connectionLost(self, reason: Any = None) -> None:
        super().connectionLost(reason)
        if self._session is not None and not self._has_ended:
            self._session.pipe_ended()

    @override
    def pauseProducing(self) -> None:
        super().pauseProducing()
        if self._session is not None:
            self._session.hold_pipe()

    @override
    def resumeProducing(self) -> None:
        super().resumeProducing()
        if self._session is not None:
            self._session.go_on_piping()

    def pass_on(self, data: bytes) -> None:
        """Octets of the client."""
        if self.lost_reason is None:
            self.send(data)

    def pause(self) -> None:
        """The client reads too slowly."""
        transport: Any = self.transport
        if self.lost_reason is None:
            transport.pauseProducing()

    def resume(self) -> None:
        """It has caught up."""
        transport: Any = self.transport
        if self.lost_reason is None:
            transport.resumeProducing()

    def close(self) -> None:
        """The client is gone."""
        self._has_ended = True
        if self.lost_reason is None:
            self.lost_reason = "ended"
            transport: Any = self.transport
            transport.unregisterProducer()
            # What the client said last, such as QUIT, is still sent.
            transport.loseConnection()
