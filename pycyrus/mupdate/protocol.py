"""MUPDATE on a Twisted transport: the only file of the server's side that knows one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from typing_extensions import override

from pycyrus.interfaces import IAuthenticator, ILocations
from pycyrus.mupdate.commands import run
from pycyrus.mupdate.parts import Parts
from pycyrus.mupdate.session import MupdateSession
from pycyrus.mupdate.settings import MupdateSettings
from pycyrus.mupdate.turns import Turns
from pycyrus.net import session_id
from pycyrus.net.compression import Deflate
from pycyrus.net.limits import ConnectionLimits
from pycyrus.net.server_protocol import ServerFactory, ServerProtocol

if TYPE_CHECKING:
    from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IReactorTime


class MupdateProtocol(ServerProtocol[MupdateSession]):
    """One connection, which may be compressed."""

    _deflate: Deflate | None = None
    _is_held = _is_over = False

    @override
    def dataReceived(self, data: bytes) -> None:
        if self._deflate is None:
            super().dataReceived(data)
        elif not self._is_over:
            self._deflate.feed(data)
            self._inflate(self._deflate)

    def _inflate(self, deflate: Deflate) -> None:
        """Hand on what came, as long as the session takes it: a few octets may be very many."""
        try:
            while not self._is_held and (piece := deflate.next_piece()):
                self.hand_on(piece)
        except ValueError as error:
            self.log.info("compressed data cannot be read: {error}", error=str(error))
            self.abort()

    @override
    def send(self, data: bytes) -> None:
        super().send(data if self._deflate is None else self._deflate.compress(data))

    @override
    def pause(self) -> None:
        self._is_held = True
        super().pause()

    @override
    def resume(self) -> None:
        self._is_held = self._is_over
        if self._deflate is not None:
            self._inflate(self._deflate)
        if not self._is_held:
            super().resume()

    @override
    def close(self) -> None:
        self._is_held = self._is_over = True
        super().close()

    @override
    def abort(self) -> None:
        self._is_held = self._is_over = True
        super().abort()

    def start_compression(self) -> None:
        """Compress what follows, both ways."""
        self._deflate = Deflate()


class MupdateFactory(ServerFactory[MupdateSession]):
    """
    Makes the connections of one MUPDATE service.

    @param catch_up: As for L{Parts}.
    """

    protocol = MupdateProtocol  # type: ignore[assignment] # a class is what Twisted calls to build one

    def __init__(
        self,
        locations: ILocations,
        authenticator: IAuthenticator,
        settings: MupdateSettings,
        limits: ConnectionLimits | None,
        tls: IOpenSSLServerConnectionCreator | None,
        reactor: IReactorTime,
        catch_up: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(limits, tls)
        self.parts = Parts(locations, authenticator, settings, reactor, tls is not None, Turns(reactor), catch_up)

    @override
    def make_session(self, link: ServerProtocol[MupdateSession], peer: str, local_address: str) -> MupdateSession:
        """Make the session of a connection."""
        assert isinstance(link, MupdateProtocol)
        return MupdateSession(
            link,
            self.parts,
            run,
            peer=peer,
            local_address=local_address,
            session_id=session_id.make(self.parts.settings.server_name),
        )
