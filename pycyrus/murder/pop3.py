"""POP3 of a frontend: after the login, octets go to and fro between the client and its backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pycyrus.errors import StoreUnavailable
from pycyrus.interfaces import Authenticated, IMailboxDirectory
from pycyrus.murder.home import home_of
from pycyrus.murder.servers.backends import Backends
from pycyrus.murder.servers.login import entering, log_in
from pycyrus.murder.servers.pop3_link import KeptLinks, Pop3Link
from pycyrus.pop3.replies import Err

_REMEMBER_FOR = 60.0
"""Seconds for which a server need not be asked what it can."""


class Pop3Routes:
    """Finds a user's maildrop on another server."""

    def __init__(self, directory: IMailboxDirectory, backends: Backends, reactor: Any) -> None:
        self._directory = directory
        self._backends = backends
        self._reactor = reactor
        self._known: dict[str, tuple[float, Mapping[bytes, list[bytes]]]] = {}
        self._kept = KeptLinks(reactor)

    def close(self) -> None:
        """End the connections that are kept."""
        self._kept.close()

    async def open(self, authenticated: Authenticated, folder: str) -> Pop3Link | None:
        """
        Log in for a user where the maildrop is.

        @param folder: What followed the user's name behind a plus sign.
        @return: None if it is here.
        @raise MailboxNotFound: There is none.
        @raise StoreUnavailable: That server cannot be reached, or does not let us in.
        """
        identity = authenticated.identity
        server = await home_of(authenticated, self._directory, self._backends)
        if not server:
            return None
        user = f"{identity.user_id}+{folder}" if folder else identity.user_id
        kept = await self._take_kept(server, user)
        if kept is not None:
            return kept
        link = Pop3Link(server, self._reactor)
        await self._backends.connect(server, "pop3", link)
        try:
            with entering(link):
                await self._log_in(link, user)
        except StoreUnavailable:
            self._known.pop(server, None)
            raise
        return link

    async def _take_kept(self, server: str, user: str) -> Pop3Link | None:
        """
        A connection on which somebody else's session was.

        @return: None if there is none.
        @raise StoreUnavailable: The server does not let this user in.
        """
        while (link := self._kept.take(server)) is not None:
            try:
                is_in = await link.act_for(user)
            except StoreUnavailable:
                # It went while nobody looked.
                continue
            except Err:
                self._kept.keep(link)
                raise
            except BaseException:
                link.abort("given up")
                raise
            if not is_in:
                self._kept.keep(link)
                raise StoreUnavailable(f"{server}: does not let {user} in")
            return link
        return None

    async def _log_in(self, link: Pop3Link, user: str) -> None:
        greeting = await link.line()
        if not greeting.startswith(b"+OK"):
            raise StoreUnavailable(f"{link.server}: {greeting[:100]!r}")
        link.capabilities = await self._can(link)
        await log_in(link, self._backends.settings, user)
        if link.serves_others:
            link.give_back = self._kept.keep
        link.begin()

    async def _can(self, link: Pop3Link) -> Mapping[bytes, list[bytes]]:
        """What a server can before TLS; it is asked now and then."""
        now: float = self._reactor.seconds()
        known = self._known.get(link.server)
        if known is None or known[0] < now:
            known = self._known[link.server] = now + _REMEMBER_FOR, await link.ask_capabilities()
        return known[1]
