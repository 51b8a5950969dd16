"""What a session stands on: its connection, and what all sessions of a service share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pycyrus.interfaces import Authenticated, IAuthenticator, IMaildropClaims, IMailStore, IStoreObserver
from pycyrus.pop3.settings import Pop3Settings

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from pycyrus.pop3.session import Pop3Session


class Pipe(Protocol):
    """A connection to the server that has the maildrop, logged in."""

    def join(self, session: Pop3Session) -> None:
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


class Elsewhere(Protocol):
    """The maildrops of other servers, of which this one is a frontend."""

    async def open(self, authenticated: Authenticated, folder: str) -> Pipe | None:
        """
        Open a maildrop.

        @param folder: What followed the user's name behind a plus sign.
        @return: None if it is here.
        @raise MailStoreError: It cannot be opened.
        """


@dataclass(frozen=True, slots=True)
class Parts:
    """
    What all sessions of a service share.

    @ivar elsewhere: None where all maildrops are here.
    @ivar watcher: Who is told what sessions do; None for nobody.
    """

    store: IMailStore
    authenticator: IAuthenticator
    settings: Pop3Settings
    claims: IMaildropClaims
    clock: IReactorTime
    has_tls: bool
    elsewhere: Elsewhere | None = None
    watcher: IStoreObserver | None = None
