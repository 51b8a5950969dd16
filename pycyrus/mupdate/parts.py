"""What a session stands on: its connection, and what all sessions of a service share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pycyrus.interfaces import IAuthenticator, ILocations
from pycyrus.mupdate.settings import MupdateSettings
from pycyrus.mupdate.turns import Turns
from pycyrus.net import server_protocol as net

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime


class Link(net.Link, Protocol):
    """What a session asks of its connection."""

    def start_compression(self) -> None:
        """Compress what follows, both ways."""


@dataclass(frozen=True, slots=True)
class Parts:
    """
    What all sessions of a service share.

    @ivar turns: Of those who are told much.
    @ivar catch_up: Has a copy ask its master for what is new; None at the master.
    """

    locations: ILocations
    authenticator: IAuthenticator
    settings: MupdateSettings
    clock: IReactorTime
    has_tls: bool
    turns: Turns
    catch_up: Callable[[], Awaitable[None]] | None = None
