"""What all sessions of a ManageSieve service share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pycyrus.interfaces import Authenticated, IAuthenticator
from pycyrus.managesieve.settings import SieveSettings
from pycyrus.net.piping import Pipe

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime


@dataclass(frozen=True, slots=True)
class Referral:
    """
    The client is to go to another server itself (RFC 5804 section 1.3).

    @ivar url: C{sieve://} and where.
    """

    url: str


class Elsewhere(Protocol):
    """The scripts of other servers, of which this one is a frontend."""

    async def open(self, authenticated: Authenticated) -> Pipe | Referral | None:
        """
        Go where a user's scripts are.

        @return: None if that is here.
        @raise MailStoreError: There is no way.
        """


@dataclass(frozen=True, slots=True)
class Parts:
    """
    What all sessions of a service share.

    @ivar elsewhere: None where this server is no frontend.
    """

    authenticator: IAuthenticator
    settings: SieveSettings
    clock: IReactorTime
    has_tls: bool
    elsewhere: Elsewhere | None = None
