"""POP3 of a frontend: after the login, octets go to and fro between the client and its backend."""

from __future__ import annotations

from typing import Any

from pycyrus.errors import AuthenticationFailed, MalformedExchange, MechanismUnavailable, StoreUnavailable
from pycyrus.interfaces import Authenticated, IMailboxDirectory
from pycyrus.murder.pipe import home_of
from pycyrus.murder.servers.backends import Backends
from pycyrus.murder.servers.lines import LineClient
from pycyrus.murder.servers.pop3_link import KeptLinks, Pop3Link

_MOST_CAPABILITIES = 100
_REMEMBER_FOR = 60.0
"""Seconds for which a server need not be asked what it can."""


class Pop3Routes:
    """Finds a user's maildrop on another server."""

    def __init__(self, directory: IMailboxDirectory, backends: Backends, reactor: Any) -> None:
        self._directory = directory
        self._backends = backends
        self._reactor = reactor
        self._known: dict[str, tuple[float, dict[bytes, list[bytes]]]] = {}
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
        if not folder:
            kept = await self._take_kept(server, identity.user_id)
            if kept is not None:
                return kept
        link = Pop3Link(server, self._reactor)
        await self._backends.connect(server, "pop3", link)
        user = f"{identity.user_id}+{folder}" if folder else identity.user_id
        try:
            await self._log_in(link, user)
        except (AuthenticationFailed, MalformedExchange, MechanismUnavailable) as error:
            link.abort("cannot log in")
            self._known.pop(server, None)
            raise StoreUnavailable(f"{server}: cannot log in: {error}") from error
        except BaseException:
            link.abort("given up")
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
        settings = self._backends.settings
        capabilities = await self._can(link)
        mechanisms = _mechanisms(capabilities)
        wants_tls = settings.address(link.server, "pop3").wants_tls
        is_secure = False
        if settings.tls is not None and b"STLS" in capabilities:
            try:
                settings.exchange(link.server, user, mechanisms, tls=False, may_be_clear=False, service="pop")
            except MechanismUnavailable:
                wants_tls = True
        if wants_tls:
            link.send(b"STLS\r\n")
            if settings.tls is None or not (await link.line()).startswith(b"+OK"):
                raise MechanismUnavailable("no TLS")
            link.start_tls(settings.tls(settings.address(link.server, "pop3").host))
            is_secure = True
            mechanisms = _mechanisms(await _capabilities(link))
        may_be_clear = is_secure or settings.allow_plaintext
        exchange = settings.exchange(
            link.server, user, mechanisms, tls=is_secure, may_be_clear=may_be_clear, service="pop"
        )
        await link.authenticate(b"AUTH", exchange, b"+ ", lambda line: line.startswith(b"+OK"))
        if b"XDONE" in capabilities:
            link.give_back = self._kept.keep

    async def _can(self, link: LineClient) -> dict[bytes, list[bytes]]:
        """What a server can before TLS; it is asked now and then."""
        now: float = self._reactor.seconds()
        known = self._known.get(link.server)
        if known is None or known[0] < now:
            known = self._known[link.server] = now + _REMEMBER_FOR, await _capabilities(link)
        return known[1]


async def _capabilities(link: LineClient) -> dict[bytes, list[bytes]]:
    """RFC 2449 section 5."""
    link.send(b"CAPA\r\n")
    found: dict[bytes, list[bytes]] = {}
    if not (await link.line()).startswith(b"+OK"):
        return found
    for _ in range(_MOST_CAPABILITIES):
        line = await link.line()
        if line == b".":
            return found
        words = line.upper().split()
        if words:
            found[words[0]] = words[1:]
    raise StoreUnavailable(f"{link.server}: no end of capabilities")


def _mechanisms(capabilities: dict[bytes, list[bytes]]) -> list[str]:
    return [word.decode("ascii", "replace") for word in capabilities.get(b"SASL", [])]
