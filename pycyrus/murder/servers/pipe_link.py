"""Connections to backends that become pipes: POP3 and ManageSieve."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IDelayedCall
from typing_extensions import override

from pycyrus.murder.servers.lines import LineClient
from pycyrus.net.piping import PipedSession


class PipeLink(LineClient):
    """
    A connection to a backend, and after the login one end of a pipe.

    A server that does not answer what the client said is looked at as in the middle of a command of IMAP.
    """

    def __init__(self, server: str, reactor: Any) -> None:
        super().__init__(server, reactor)
        self._session: PipedSession | None = None
        self._has_ended = False
        self._asked: float | None = None
        self._is_whole = True
        self._silence: IDelayedCall | None = None

    # --- the pipe -----------------------------------------------------------------

    def join(self, session: PipedSession) -> None:
        """Hand everything on to a session from now on."""
        self._session = session
        waiting, self._buffer = self._buffer, b""
        if waiting:
            self.answered(waiting)
            session.take_piped(waiting)
        if self.lost_reason is not None:
            session.pipe_ended()

    @override
    def dataReceived(self, data: bytes) -> None:
        if self._session is None:
            super().dataReceived(data)
        else:
            self.answered(data)
            self._session.take_piped(data)

    def answered(self, data: bytes) -> None:
        """The server said something."""
        self._asked = None
        self._is_whole = data.endswith(b"\n")

    def _expect(self) -> None:
        """The client wants an answer."""
        if self._asked is None and self.on_silence is not None:
            self._asked = self._reactor.seconds()
            if self._silence is None:
                self._silence = self._reactor.callLater(self.on_silence[0], self._is_silent)

    def _is_silent(self) -> None:
        """It may be, as long as it greets others."""
        self._silence = None
        if self._asked is None or self.on_silence is None:
            return
        patience, look = self.on_silence
        left = self._asked + patience - self._reactor.seconds()
        if left <= 0:
            look()
        self._silence = self._reactor.callLater(left if left > 0 else patience, self._is_silent)

    def _expect_nothing(self) -> None:
        self._asked = None
        silence, self._silence = self._silence, None
        if silence is not None:
            silence.cancel()

    @override
    def connectionLost(self, reason: Any = None) -> None:
        super().connectionLost(reason)
        owes = self._asked is not None and self._is_whole
        self._expect_nothing()
        if self._session is not None and not self._has_ended:
            self._session.pipe_ended(owes=owes)

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
        if data and self.lost_reason is None:
            self.send(data)
            self._expect()

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
        self._expect_nothing()
        if self.lost_reason is None:
            self.lost_reason = "ended"
            transport: Any = self.transport
            transport.unregisterProducer()
            # What the client said last, such as QUIT, is still sent.
            transport.loseConnection()
