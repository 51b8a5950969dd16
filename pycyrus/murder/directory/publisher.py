"""
What a server with mailboxes tells the Murder's master of them.

Names are claimed before they are used.  Everything else is told after it was
done; while the master does not answer it is not, and when it answers again both lists
are compared.  The mailbox list here is the truth of what is here, so nothing is queued.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectingCancelledError
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from pycyrus.errors import MailboxExists, MailStoreError, StoreUnavailable
from pycyrus.interfaces import IMailboxPublisher, Location, LocationState, Published
from pycyrus.model.internal_names import internal
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.mupdate.client import MupdateClient
from pycyrus.murder.directory.comparison import Here, compare, in_pieces, settle
from pycyrus.murder.pauses import Pause
from pycyrus.tasks import Tasks

LOCK = "mupdate-push.lock"
_FIRST_WAIT = 5.0
"""Seconds that a claim waits for a connection that is being made."""

Dial = Callable[[Callable[[str], None]], Awaitable[MupdateClient]]


@implementer(IMailboxPublisher)
class Publisher:
    """
    One process's connection to the master.

    @param dial: Connects; given who is to be told of the end.
    @param server: Name of this server, as it stands in locations.
    @param here: What is here.
    """

    log = Logger()

    def __init__(
        self,
        dial: Dial,
        server: str,
        here: Here,
        reactor: Any,
        *,
        directory: Path,
        deleted_prefix: str = "DELETED",
        retry_delay: float = 20.0,
        compares: bool = True,
    ) -> None:
        """
        @param directory: For the lock that has one process of this server compare at a time.
        @param compares: Both lists, whenever the master is there again; not for tools.
        """
        self._dial = dial
        self._server = server
        self._mailboxes = here
        self._reactor = reactor
        self._directory = directory
        self._deleted_prefix = deleted_prefix
        self._delay = retry_delay
        self._client: MupdateClient | None = None
        self._waiting: list[Deferred[None]] = []
        self._tasks = Tasks()
        self._pause = Pause(reactor)
        self._is_closed = False
        self._has_missed = False
        self._has_started = False
        self._is_dialling = False
        self._compares = compares

    def start(self) -> None:
        """Connect, and stay connected; without it, when there is something to tell."""
        self._has_started = self._is_dialling = True
        self._tasks.spawn(self._stay_connected(), self._failed)

    def close(self) -> None:
        """End the connection."""
        self._is_closed = True
        self._tasks.cancel_all()
        if self._client is not None:
            self._client.log_out()
        self._wake()

    # --- what the store says ------------------------------------------------------

    async def claim(self, name: MailboxName, partition: str) -> None:
        """See L{IMailboxPublisher.claim}."""
        client = await self._connected()
        mailbox = self._text(name)
        # Cyrus takes a RESERVE of what is active at the same place for a deactivation.
        found = await client.find(mailbox)
        if found is not None and found.server != self._server:
            raise MailboxExists(f"at {found.server}")
        if found is None:
            await client.reserve(Location(mailbox, self._server, partition, "", LocationState.RESERVED))

    async def publish(self, gone: Sequence[MailboxName], there: Sequence[Published]) -> None:
        """See L{IMailboxPublisher.publish}."""
        names = [self._text(name) for name in (*gone, *(mailbox.name for mailbox in there))]
        try:
            client = await self._connected()
            await in_pieces(names, lambda name: settle(client, self._server, name, self._mailboxes.find))
        except MailStoreError as error:
            self._has_missed = True
            self.log.warn(
                "The MUPDATE master could not be told of {count} mailboxes, and will be: {error}",
                count=len(names),
                error=str(error),
            )

    async def push(self, names: Sequence[MailboxName]) -> None:
        """See L{IMailboxPublisher.push}."""
        client = await self._connected()
        texts = [self._text(name) for name in names]
        await in_pieces(texts, lambda name: settle(client, self._server, name, self._mailboxes.find))

    async def are_elsewhere(self, names: Sequence[MailboxName]) -> bool:
        """See L{IMailboxPublisher.are_elsewhere}."""
        return all(
            each is not None and each.server != self._server and each.state is not LocationState.RESERVED
            for each in await self._find(names)
        )

    async def are_nowhere(self, names: Sequence[MailboxName]) -> bool:
        """See L{IMailboxPublisher.are_nowhere}."""
        return all(each is None for each in await self._find(names))

    async def claimed_at(self, names: Sequence[MailboxName]) -> str:
        """See L{IMailboxPublisher.claimed_at}."""
        return claimant(await self._find(names), self._server)

    async def _find(self, names: Sequence[MailboxName]) -> list[Location | None]:
        client = await self._connected()
        found: list[Location | None] = []

        async def look(name: str) -> None:
            found.append(await client.find(name))

        await in_pieces([self._text(name) for name in names], look)
        return found

    def _text(self, name: MailboxName) -> str:
        return internal(name, self._deleted_prefix)

    # --- the connection -----------------------------------------------------------

    async def _connected(self) -> MupdateClient:
        if not self._has_started:
            self.start()
        if self._client is None and self._is_dialling and not self._is_closed:
            waiting: Deferred[None] = Deferred()
            self._waiting.append(waiting)
            give_up = self._reactor.callLater(_FIRST_WAIT, lambda: None if waiting.called else waiting.callback(None))
            try:
                await waiting
            finally:
                if give_up.active():
                    give_up.cancel()
        if self._client is None or self._client.lost_reason is not None:
            raise StoreUnavailable("no connection to the MUPDATE master")
        return self._client

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.called:
                each.callback(None)

    async def _stay_connected(self) -> None:
        while not self._is_closed:
            self._is_dialling = True
            try:
                client = await self._dial(self._gone)
                self._client = client
                self._is_dialling = False
                self._wake()
                if self._compares:
                    await self._compare(client)
                while client.lost_reason is None:
                    await self._pause.wait(self._delay)
                    if client.lost_reason is None:
                        if self._has_missed and self._compares:
                            await self._compare(client)
                        await client.noop()
            except MailStoreError as error:
                if not self._is_closed:
                    self.log.warn("The MUPDATE master cannot be told of mailboxes now: {error}", error=str(error))
            finally:
                self._is_dialling = False
                lost, self._client = self._client, None
                if lost is not None:
                    lost.log_out()
            self._wake()
            if not self._is_closed:
                await self._pause.wait(self._delay)

    def _gone(self, reason: str) -> None:
        # Of a connection that was given up nobody need hear.
        if self._client is not None:
            self._pause.end()

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError, ConnectingCancelledError):
            self.log.failure("The MUPDATE master is told of mailboxes no more", failure)

    # --- comparing ----------------------------------------------------------------

    async def _compare(self, client: MupdateClient) -> None:
        """Have the master know what is here: Cyrus's C{ctl_mboxlist -m}."""
        with self._alone() as is_alone:
            if not is_alone:
                return
            self._has_missed = False
            done = await compare(client, self._server, self._mailboxes, self._reactor)
        if done.changed:
            self.log.info("The MUPDATE master was told of {count} mailboxes", count=done.changed)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether no other process of this server is at it."""
        fd = os.open(self._directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(fd)


def claimant(found: Sequence[Location | None], server: str) -> str:
    """
    See L{IMailboxPublisher.claimed_at}.

    @param found: What the master has of each mailbox.
    @param server: This one.
    """
    known = [each for each in found if each is not None]
    servers = {each.server for each in known}
    if len(servers) != 1 or any(each.state is not LocationState.RESERVED for each in known):
        return ""
    (claiming,) = servers
    return "" if claiming == server else claiming
