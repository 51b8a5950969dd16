"""What a session stands on: its connection, and what all sessions of a service share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pycyrus.interfaces import IAuthenticator, ILocations
from pycyrus.mupdate.settings import MupdateSettings

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime


class Link(Protocol):
    """What a session asks of its connection."""

    def write(self, data: bytes) -> None:
        """Send octets; when the client reads slowly, C{hold_back} is called."""

    def pause(self) -> None:
        """Read nothing until C{resume}."""

    def resume(self) -> None:
        """Read again."""

    def start_tls(self) -> None:
        """Begin the server's side of a TLS handshake, after what was written."""

    def start_compression(self) -> None:
        """Compress what follows, both ways."""

    def tls_exporter(self) -> Callable[[bytes, int], bytes] | None:
        """Keying material of the TLS connection; None without TLS."""

    def client_certificate(self) -> bytes | None:
        """The client's verified certificate as DER; None if it showed none."""

    def logged_in(self, user_id: str) -> None:
        """
        Count the connection for a user.

        @raise LimitExceeded: The user has too many.
        """

    def close(self) -> None:
        """Close the connection once all was sent."""

    def abort(self) -> None:
        """Close it now."""


@dataclass(frozen=True, slots=True)
class Parts:
    """
    What all sessions of a service share.

    @ivar catch_up: Has a copy ask its master for what is new; None at the master.
    """

    locations: ILocations
    authenticator: IAuthenticator
    settings: MupdateSettings
    clock: IReactorTime
    has_tls: bool
    catch_up: Callable[[], Awaitable[None]] | None = None
