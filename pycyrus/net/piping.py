"""Sessions of a frontend that become pipes: after the login, octets go to and fro between client and backend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from typing_extensions import override

from pycyrus.net.line_session import Limits, LineSession

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from pycyrus.net.server_protocol import Link


class Pipe(Protocol):
    """A connection to the server that has what the user wants, logged in."""

    def join(self, session: PipedSession) -> None:
        """
        Hand everything on from now on.

        By C{take_piped}, C{pipe_ended}, C{hold_pipe} and C{go_on_piping} of the session.
        """

    def pass_on(self, data: bytes) -> None:
        """Send what the client sends."""

    def pause(self) -> None:
        """The client reads too slowly."""

    def resume(self) -> None:
        """It has caught up."""

    def close(self) -> None:
        """Close when everything was sent; the session is not told."""


class PipedSession(LineSession):
    """
    One connection.

    A login sets L{_pipe}; when it has been answered, and nothing else waits to be said, the pipe is joined.

    @cvar unavailable: What is said to who waits for the other server when that is lost.
    """

    unavailable: bytes

    def __init__(self, link: Link, clock: IReactorTime, limits: Limits, session_id: str) -> None:
        super().__init__(link, clock, limits, session_id)
        self._pipe: Pipe | None = None

    def take_kept(self) -> bytes:
        """All octets that are kept, which are kept no more."""
        raise NotImplementedError

    # --- for the pipe -----------------------------------------------------

    def take_piped(self, data: bytes) -> None:
        """Send what came from the other server."""
        self._heard = self.clock.seconds()
        self.flush()
        if not self._is_closing:
            self._link.write(data)

    def pipe_ended(self, *, owes: bool = False) -> None:
        """
        That server has closed the connection, or was given up.

        @param owes: The client waits for an answer, of which nothing came.
        """
        self.end(self.unavailable if owes else None)

    def hold_pipe(self) -> None:
        """That server reads too slowly."""
        self._is_paused = True
        self._link.pause()

    def go_on_piping(self) -> None:
        """It has caught up."""
        self._resume()

    # --- for the protocol -------------------------------------------------

    @override
    def receive(self, data: bytes) -> None:
        if self._pipe is not None and not self._is_working and self._turn is None and not self._is_closing:
            self._heard = self.clock.seconds()
            self._pipe.pass_on(data)
        else:
            super().receive(data)

    @override
    def hold_back(self) -> None:
        super().hold_back()
        if self._pipe is not None:
            self._pipe.pause()

    @override
    def go_on(self) -> None:
        if self._pipe is not None:
            self._pipe.resume()
        super().go_on()

    @override
    def shut_down(self) -> None:
        """The server goes; a command that runs is answered first."""
        if self._pipe is not None:
            # In the middle of an answer nothing can be said.
            self.end()
        else:
            super().shut_down()

    @override
    def let_go(self) -> None:
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            pipe.close()

    @override
    def settled(self) -> None:
        if self._pipe is not None:
            self.flush()
            self._pipe.pass_on(self.take_kept())
            self._pipe.join(self)
