"""On which server a new mailbox is made (CREATE through a frontend)."""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from twisted.logger import Logger

from pycyrus.errors import AuthenticationUnavailable, PermissionDenied, StoreUnavailable
from pycyrus.imap.replies import No
from pycyrus.imap.wire.frames import Frame, Literal
from pycyrus.imap.wire.grammar import BadSyntax, Cursor, astring
from pycyrus.imap.wire.mailboxes import Create, parse_create
from pycyrus.interfaces import IUserDefaults
from pycyrus.model.identity import Identity
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.model.naming_policy import check_policy
from pycyrus.murder.imap.visibility import check_may_create, nearest_above, unless_hidden
from pycyrus.murder.servers.backends import Backends

if TYPE_CHECKING:
    from pycyrus.murder.imap.routes import SessionRoutes

_SPACE = re.compile(rb"([0-9]{1,19});([0-9]{1,19})")
_ENTRY = b"/shared/vendor/cmu/cyrus-imapd/freespace/"


@dataclass(frozen=True, slots=True)
class ServerChoiceSettings:
    """
    How a server is chosen for a mailbox that has no parent.

    @ivar servers: C{serverlist}.
    @ivar first: Goes before all others, if it answers (C{defaultserver}).
    @ivar mode: C{serverlist_select_mode}.
    @ivar soft_limit: Percent of use from which one is left out, unless all are
        (C{serverlist_select_soft_usage_limit}).
    @ivar reuse: For how many choices what was learnt of space holds
        (C{serverlist_select_usage_reinit}).
    """

    servers: tuple[str, ...] = ()
    first: str = ""
    mode: str = "freespace-most"
    soft_limit: int = 0
    reuse: int = 0


@dataclass(frozen=True, slots=True)
class _Space:
    server: str
    free: int
    total: int

    @property
    def percent_free(self) -> float:
        return 100 * self.free / self.total if self.total else 0.0


class ServerChoice:
    """Chooses servers."""

    log = Logger()

    def __init__(
        self,
        settings: ServerChoiceSettings,
        backends: Backends,
        user_defaults: IUserDefaults | None = None,
        pick: random.Random | None = None,
    ) -> None:
        """
        @param user_defaults: Knows what server is laid down for single users.
        @param pick: Where chance comes from.
        """
        self._user_defaults = user_defaults
        self._settings = settings
        self._backends = backends
        self._random = pick or random.SystemRandom()
        self._known: list[_Space] = []
        self._uses_left = 0

    @property
    def servers(self) -> frozenset[str]:
        """All that might be chosen, in small letters."""
        return frozenset(server.lower() for server in (*self._settings.servers, self._settings.first) if server)

    async def choose(self, identity: Identity, name: MailboxName) -> str:
        """
        Choose a server.

        @param identity: For whom they are asked about their space.
        @param name: Of the mailbox to be; a user's may have a server laid down.
        @raise StoreUnavailable: There is none, or it cannot be told now.
        """
        settings = self._settings
        laid_down = await self._laid_down(name)
        if laid_down:
            return laid_down
        if settings.first:
            return settings.first
        if not settings.servers:
            raise StoreUnavailable("serverlist names no server")
        if settings.mode == "random" or len(settings.servers) == 1:
            return self._random.choice(settings.servers)
        if self._uses_left <= 0 or not self._known:
            self._known = await self._ask_all(identity)
            self._uses_left = settings.reuse
        self._uses_left -= 1
        return self._pick(self._known)

    async def _laid_down(self, name: MailboxName) -> str:
        """The server that is laid down for a user; empty for none."""
        if self._user_defaults is None or name.owner is None:
            return ""
        try:
            host = (await self._user_defaults.defaults_of(str(name.owner_id))).mail_host
        except AuthenticationUnavailable as error:
            raise StoreUnavailable(f"what server {name.owner_id} has cannot be told now") from error
        for server in (*self._settings.servers, self._settings.first):
            if host and host in (server.lower(), server.lower().partition(":")[0]):
                return server
        if host:
            # We would show it our own password: only who keeps our options may name servers.
            self.log.error("{user} shall be on {host}, which is not in serverlist", user=name.owner_id, host=host)
        return ""

    def _pick(self, spaces: Sequence[_Space]) -> str:
        """The server that the mode demands."""
        settings = self._settings
        if not spaces:
            raise StoreUnavailable("no server of serverlist tells its space")
        if settings.soft_limit:
            spaces = [space for space in spaces if 100 - space.percent_free < settings.soft_limit] or spaces
        if settings.mode == "freespace-most":
            return max(spaces, key=lambda space: space.free).server
        if settings.mode == "freespace-percent-most":
            return max(spaces, key=lambda space: space.percent_free).server
        least = min(space.percent_free for space in spaces) if settings.mode.endswith("-delta") else 0.0
        weights = [space.percent_free - least + 0.5 for space in spaces]
        return self._random.choices(spaces, weights)[0].server

    async def _ask_all(self, identity: Identity) -> list[_Space]:
        found = []
        for server in self._settings.servers:
            try:
                space = await self._ask(server, identity)
            except StoreUnavailable as error:
                self.log.warn("not asked for its space: {error}", error=str(error))
                continue
            if space is not None:
                found.append(space)
        return found

    async def _ask(self, server: str, identity: Identity) -> _Space | None:
        entry = _ENTRY + (b"total" if self._settings.mode == "freespace-most" else b"percent/most")
        async with self._backends.borrowed(server, identity) as link:
            untagged, status, _ = await link.ask(b'GETMETADATA "" (%b)' % entry)
        match = _SPACE.search(untagged) if status == b"OK" else None
        # One that does not tell is as good as an empty one is bad.
        return _Space(server, int(match[1]), int(match[2])) if match is not None else _Space(server, 0, 1)


async def creation(
    routes: SessionRoutes, frame: Frame, name: MailboxName
) -> tuple[str, list[bytes | Literal] | None] | None:
    """
    Where CREATE goes, and as what.

    @param name: Of the mailbox to be.
    @return: The server, and what follows the command's name there, if not what the
        client wrote; None if it is this server's affair.
    @raise No: An administrator named a server that is none.
    @raise InvalidMailboxName: It cannot be made.
    @raise PermissionDenied: Somebody else named one, or may not make it.
    @raise StoreUnavailable: No server can be found.
    """
    session = routes.session
    try:
        command = parse_create(Cursor(frame.args, utf8=session.is_utf8))
    except BadSyntax:
        return None
    shared = routes.routes
    existing = await routes.find(name)
    if existing is not None:
        if existing.server and await unless_hidden(routes, name, existing) is None:
            raise PermissionDenied("hidden")
        # Its server says so in its own words.
        return (existing.server, _without_server(command)) if existing.server else None
    own = session.settings.server_name.lower()
    command = _with_server(command, shared.choice.servers | {own})
    server = command.server
    if server is not None or command.partition is not None:
        if not session.user.administers(name.domain):
            raise PermissionDenied("only administrators choose servers")
        if server is not None and server.lower() == own:
            return None
    if server is None:
        above = await nearest_above(routes, name)
        check_policy(name, shared.deleted_prefix)
        check_may_create(session.user, name, above)
        server = None if above is None else above.location.server
    if server is None:
        server = await shared.choice.choose(session.user, name)
    if not server or server.lower() == own:
        return None
    shared.backends.check_first(session.came_by, server)
    return server, _without_server(command)


def _with_server(command: Create, servers: Collection[str]) -> Create:
    """Older administrators' programs write a server where its partition might stand, and mean any of it."""
    partition = command.partition
    if command.server is None and partition is not None and partition.lower() in servers:
        return replace(command, server=partition, partition=None)
    return command


def _without_server(command: Create) -> list[bytes | Literal] | None:
    """What follows CREATE on the server itself."""
    if command.server is None:
        return None
    name = astring(command.mailbox)
    args: list[bytes | Literal] = [b" " + name] if b"\r\n" not in name else [b" ", Literal(command.mailbox)]
    parameters = []
    if command.special_use:
        parameters.append(b"USE (%b)" % " ".join(command.special_use).encode("ascii", "replace"))
    if command.mailbox_type:
        parameters.append(b"TYPE " + command.mailbox_type.encode("ascii", "replace"))
    partition = (command.partition or "").encode("utf-8")
    if parameters:
        if partition:
            parameters.append(b"PARTITION " + partition)
        args.append(b" (" + b" ".join(parameters) + b")")
    elif partition:
        args.append(b" " + astring(partition))
    return args


__all__ = ["No", "ServerChoice", "ServerChoiceSettings", "creation"]
