"""What a session stands on: its connection, and what all sessions of a service share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pycyrus.interfaces import Authenticated, IAuthenticator, IMaildropClaims, IMailStore, IStoreObserver
from pycyrus.net.piping import Pipe
from pycyrus.pop3.settings import Pop3Settings

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime


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
