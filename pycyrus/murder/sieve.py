"""ManageSieve of a frontend: after the login, octets go to and fro between the client and its backend (RFC 5804)."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from pycyrus.errors import MechanismUnavailable
from pycyrus.interfaces import Authenticated, IMailboxDirectory
from pycyrus.managesieve.parts import Referral
from pycyrus.murder.home import home_of
from pycyrus.murder.servers.backends import Backends
from pycyrus.murder.servers.login import entering, log_in
from pycyrus.murder.servers.settings import DEFAULT_PORTS
from pycyrus.murder.servers.sieve_link import SieveLink


class SieveRoutes:
    """Finds a user's scripts on another server."""

    def __init__(self, directory: IMailboxDirectory, backends: Backends, reactor: Any, *, refers: bool = False) -> None:
        """@param refers: Clients are sent there, instead of being brought (C{sieve_allowreferrals})."""
        self._directory = directory
        self._backends = backends
        self._reactor = reactor
        self._refers = refers

    async def open(self, authenticated: Authenticated) -> SieveLink | Referral | None:
        """
        Log in for a user where the INBOX is.

        @return: None if it is here.
        @raise MailboxNotFound: There is none.
        @raise StoreUnavailable: That server cannot be reached, or does not let us in.
        """
        server = await home_of(authenticated, self._directory, self._backends)
        if not server:
            return None
        if self._refers:
            return Referral(self._url(server, authenticated))
        address = self._backends.settings.address(server, "sieve")
        link = SieveLink(server, self._reactor)
        await self._backends.connect(server, "sieve", link)
        with entering(link):
            await link.hear_capabilities()
            if address.skips_login:
                raise MechanismUnavailable("nobody says who the user is, where there is no login")
            await log_in(link, self._backends.settings, authenticated.identity.user_id)
        return link

    def _url(self, server: str, authenticated: Authenticated) -> str:
        """Where a client is sent (RFC 5804 section 3)."""
        address = self._backends.settings.address(server, "sieve")
        host = f"[{address.host}]" if ":" in address.host else address.host
        port = "" if address.port == DEFAULT_PORTS["sieve"] else f":{address.port}"
        user, came_by = authenticated.identity.user_id, authenticated.authenticated_as
        # Who acts for another says so there again.
        acting = f"{quote(came_by)};{quote(user)}@" if user != came_by else ""
        return f"sieve://{acting}{host}{port}"
