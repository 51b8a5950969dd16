"""
LMTP of a frontend: each recipient's copy goes to the server that has the mailbox.

The message is spooled once, and goes to all servers at the same time.  Nothing is
acknowledged to the sender before the backend has acknowledged it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from pycyrus.delivery.headers import trace_fields
from pycyrus.delivery.recipients import catchall_target, resolve
from pycyrus.delivery.settings import DeliverySettings
from pycyrus.errors import InvalidMailboxName, MailboxNotFound, MailStoreError, StoreUnavailable
from pycyrus.interfaces import (
    Envelope,
    IDelivery,
    IDeliveryAgent,
    IMailboxDirectory,
    Location,
    LocationState,
    Recipient,
)
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.murder.servers.backends import Backends
from pycyrus.murder.servers.lmtp_link import LmtpLink
from pycyrus.murder.servers.login import entering, log_in
from pycyrus.murder.spool import Spool
from pycyrus.tasks import gather

_KEPT_PER_SERVER = 64
"""As many as a burst may use at a time: a login costs more than a delivery."""
_KEEP_FOR = 50.0
"""Seconds; what was not used for longer is not used again."""


class LmtpBackends:
    """Connections to the backends' LMTP, logged in as the frontend; kept for the next message."""

    def __init__(self, backends: Backends, own_name: str, within: float, reactor: Any) -> None:
        self._backends = backends
        self._own_name = own_name
        self._within = within
        self._reactor = reactor
        self._kept: dict[str, list[LmtpLink]] = {}

    def check_first(self, came_by: str, server: str) -> None:
        """As L{Backends.check_first}."""
        self._backends.check_first(came_by, server)

    async def link(self, server: str) -> LmtpLink:
        """
        A connection, between two messages.

        @raise StoreUnavailable: There is none.
        """
        kept = self._kept.get(server, [])
        while kept:
            link = kept.pop()
            if link.lost_reason is None and self._reactor.seconds() - link.used < _KEEP_FOR:
                return link
            link.end()
        link = LmtpLink(server, self._own_name, self._reactor, self._within)
        await self._backends.connect(server, "lmtp", link)
        with entering(link):
            await link.greet()
            if self._wants_login(link):
                await log_in(link, self._backends.settings, "")
        return link

    def _wants_login(self, link: LmtpLink) -> bool:
        address = self._backends.settings.address(link.server, "lmtp")
        # EXTERNAL alone is what C{lmtpd -a} offers, where whoever connects is trusted.
        is_trusted = all(each.upper() == "EXTERNAL" for each in link.mechanisms)
        return not address.skips_login and (address.wants_tls or not is_trusted)

    def keep(self, link: LmtpLink) -> None:
        """Take a connection back whose last message was answered."""
        kept = self._kept.setdefault(link.server, [])
        if link.lost_reason is not None or len(kept) >= _KEPT_PER_SERVER:
            link.end()
        else:
            kept.append(link)

    def close(self) -> None:
        """End those that are kept."""
        for kept in self._kept.values():
            for link in kept:
                link.end()
        self._kept.clear()


@dataclass(slots=True)
class _Group:
    """What goes to one server."""

    recipients: list[Recipient]
    places: list[int]


@implementer(IDelivery)
class ProxiedDelivery:
    """One message on its way to several servers, this one perhaps among them."""

    log = Logger()

    def __init__(self, agent: MurderDeliveryAgent, envelope: Envelope) -> None:
        self._agent = agent
        self._envelope = envelope
        self._local: IDelivery | None = None
        self._local_places: list[int] = []
        self._groups: dict[str, _Group] = {}
        self._count = 0
        self._spool: Spool | None = None
        self._error: MailStoreError | None = None

    async def add_recipient(self, recipient: Recipient) -> None:
        """
        Accept a recipient; see L{IDelivery}.

        @raise MailboxNotFound: No such user.
        @raise StoreUnavailable: Nobody knows where it is now.
        """
        recipient, location = await self._agent.find(self._envelope, recipient)
        if location.server:
            self._agent.links.check_first(self._envelope.identity.user_id, location.server)
            group = self._groups.setdefault(location.server, _Group([], []))
            group.recipients.append(recipient)
            group.places.append(self._count)
        else:
            if self._local is None:
                self._local = self._agent.local.start(self._envelope)
            await self._local.add_recipient(recipient)
            self._local_places.append(self._count)
        self._count += 1

    async def begin(self) -> None:
        """The body follows; see L{IDelivery}."""
        if self._local is not None:
            await self._local.begin()
        if self._groups:
            self._spool = Spool()
            self.write_trace(self._spool)

    def write_trace(self, spool: Spool) -> None:
        """RFC 5321 section 4.4: this server was on the way, too."""
        fields = trace_fields(self._envelope, self._agent.settings, self._agent.now())
        # What delivery itself puts in is the backend's.
        spool.write(fields.replace(b"X-Sieve: CMU Sieve 3.0\r\n", b""))

    def write(self, data: bytes) -> None:
        """A piece of the body; see L{IDelivery}."""
        if self._local is not None:
            self._local.write(data)
        if self._spool is not None and self._error is None:
            try:
                self._spool.write(data)
            except StoreUnavailable as error:
                self._error = error

    async def commit(self) -> Sequence[Exception | None]:
        """Deliver everywhere, at the same time; see L{IDelivery}."""
        outcomes: list[Exception | None] = [StoreUnavailable("not delivered")] * self._count
        jobs = [self._pass_on(server, group, outcomes) for server, group in self._groups.items()]
        if self._local is not None:
            jobs.append(self._commit_here(self._local, outcomes))
        for outcome in await gather(jobs):
            if isinstance(outcome, Failure):
                outcome.raiseException()
        return outcomes

    async def _commit_here(self, local: IDelivery, outcomes: list[Exception | None]) -> None:
        for place, outcome in zip(self._local_places, await local.commit(), strict=True):
            outcomes[place] = outcome

    async def _pass_on(self, server: str, group: _Group, outcomes: list[Exception | None]) -> None:
        try:
            found: Sequence[Exception | None] = await self._deliver(server, group)
        except StoreUnavailable as error:
            found = [error] * len(group.places)
        for place, outcome in zip(group.places, found, strict=True):
            outcomes[place] = outcome
            if outcome is not None:
                self.log.info(
                    "not delivered at {server}, {session}: {error}",
                    server=server,
                    session=self._envelope.session_id,
                    error=str(outcome),
                )

    async def _deliver(self, server: str, group: _Group) -> list[MailStoreError | None]:
        if self._error is not None:
            raise self._error
        assert self._spool is not None
        links = self._agent.links
        link = await links.link(server)
        try:
            outcomes = await link.deliver(self._envelope, group.recipients, self._spool)
        except BaseException:
            link.abort("broken off")
            raise
        links.keep(link)
        return outcomes

    def abort(self) -> None:
        """Forget it; see L{IDelivery}."""
        if self._local is not None:
            self._local.abort()
        spool, self._spool = self._spool, None
        if spool is not None:
            spool.discard()


@implementer(IDeliveryAgent)
class MurderDeliveryAgent:
    """
    Delivers to the mailboxes of all servers.

    @ivar local: For mailboxes of this one.
    @ivar now: Seconds since the epoch.
    """

    def __init__(
        self,
        local: IDeliveryAgent,
        settings: DeliverySettings,
        directory: IMailboxDirectory,
        links: LmtpBackends,
        now: Callable[[], float],
    ) -> None:
        self.local = local
        self.settings = settings
        self.links = links
        self.now = now
        self._directory = directory

    def start(self, envelope: Envelope) -> IDelivery:
        """Begin a transaction."""
        return ProxiedDelivery(self, envelope)

    async def find(self, envelope: Envelope, recipient: Recipient) -> tuple[Recipient, Location]:
        """
        Find where a recipient's copy goes.

        @return: The recipient, or who gets unknown users' mail; and where.
        @raise MailboxNotFound: No such user.
        @raise StoreUnavailable: It is being moved.
        """
        try:
            target = resolve(recipient, self.settings)
        except InvalidMailboxName as error:
            raise MailboxNotFound from error
        identity = envelope.identity
        name = target.inbox or target.folder
        if name is None or not (identity.postman or identity.administers(target.domain)):
            raise MailboxNotFound
        location = await self._locate(name)
        if location is not None:
            return recipient, location
        fallback = catchall_target(self.settings)
        location = await self._locate(fallback.inbox) if fallback is not None and fallback.inbox is not None else None
        if location is None:
            raise MailboxNotFound
        user, _, domain = self.settings.catchall.partition("@")
        return Recipient(user, domain, recipient.ignore_quota), location

    async def _locate(self, name: MailboxName) -> Location | None:
        location = await self._directory.locate(name, surely=True)
        if location is not None and location.state is LocationState.RESERVED:
            raise StoreUnavailable("it is being created or moved")
        return location
