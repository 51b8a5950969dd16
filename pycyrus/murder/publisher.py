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
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from pycyrus.errors import MailboxExists, MailboxNotFound, MailStoreError, StoreUnavailable
from pycyrus.interfaces import IMailboxPublisher, Location, LocationState, Published
from pycyrus.model.internal_names import internal
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.mupdate.client import MupdateClient
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
    @param mailboxes: All mailboxes here.
    """

    log = Logger()

    def __init__(
        self,
        dial: Dial,
        server: str,
        mailboxes: Callable[[], Iterable[Published]],
        reactor: Any,
        *,
        directory: Path,
        deleted_prefix: str = "DELETED",
        retry_delay: float = 20.0,
    ) -> None:
        """@param directory: For the lock that has one process of this server compare at a time."""
        self._dial = dial
        self._server = server
        self._mailboxes = mailboxes
        self._reactor = reactor
        self._directory = directory
        self._deleted_prefix = deleted_prefix
        self._delay = retry_delay
        self._client: MupdateClient | None = None
        self._waiting: list[Deferred[None]] = []
        self._tasks = Tasks()
        self._timer: IDelayedCall | None = None
        self._is_closed = False
        self._has_missed = False

    def start(self) -> None:
        """Connect, and stay connected."""
        self._tasks.spawn(self._stay_connected(), self._failed)

    def close(self) -> None:
        """End the connection."""
        self._is_closed = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
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
        try:
            client = await self._connected()
            for name in gone:
                await withdraw(client, self._server, self._text(name))
            for mailbox in there:
                await client.activate(self._location(mailbox))
        except MailStoreError as error:
            self._has_missed = True
            self.log.warn(
                "The MUPDATE master could not be told of {count} mailboxes, and will be: {error}",
                count=len(gone) + len(there),
                error=str(error),
            )

    def _text(self, name: MailboxName) -> str:
        return internal(name, self._deleted_prefix)

    def _location(self, mailbox: Published) -> Location:
        return Location(self._text(mailbox.name), self._server, mailbox.partition, mailbox.acl)

    # --- the connection -----------------------------------------------------------

    async def _connected(self) -> MupdateClient:
        if self._client is None and not self._is_closed:
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
            gone: Deferred[str] = Deferred()
            try:
                client = await self._dial(lambda reason, gone=gone: _fire(gone, reason))  # type: ignore[misc]
                self._client = client
                self._wake()
                await self._compare(client)
                while client.lost_reason is None:
                    await self._pause(gone)
                    if client.lost_reason is None:
                        if self._has_missed:
                            await self._compare(client)
                        await client.noop()
            except MailStoreError as error:
                self.log.warn("The MUPDATE master cannot be told of mailboxes now: {error}", error=str(error))
            finally:
                lost, self._client = self._client, None
                if lost is not None:
                    lost.log_out()
            self._wake()
            if not self._is_closed:
                await self._pause()

    async def _pause(self, or_until: Deferred[str] | None = None) -> None:
        done: Deferred[None] = Deferred()
        self._timer = self._reactor.callLater(self._delay, lambda: _fire(done, None))
        if or_until is not None:
            or_until.addCallback(lambda reason: _fire(done, None))  # type: ignore[unused-awaitable] # done is awaited
        try:
            await done
        finally:
            if self._timer is not None and self._timer.active():
                self._timer.cancel()

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
            changed = await compare(client, self._server, map(self._location, self._mailboxes()))
        if changed:
            self.log.info("The MUPDATE master was told of {count} mailboxes", count=changed)

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


log = Logger()


async def compare(
    client: MupdateClient,
    server: str,
    mailboxes: Iterable[Location],
    told: Callable[[str, str], None] = lambda what, mailbox: None,
    *,
    dry_run: bool = False,
) -> int:
    """
    Tell a master what it does not know of a server's mailboxes.

    What the master says is on another server is left alone on both sides: mail is never
    removed because of what somebody else says.

    @param mailboxes: All that are there.
    @param told: Given what is done, in Cyrus's words, and the mailbox.
    @return: How many entries were changed.
    @raise StoreUnavailable: The master does not answer any more.
    """
    known = {location.mailbox: location for location in await client.list_begun(f"{server}!")}
    changed = 0
    for mailbox in mailboxes:
        held = known.pop(mailbox.mailbox, None)
        if held == mailbox:
            continue
        if held is None:
            elsewhere = await client.find(mailbox.mailbox)
            if elsewhere is not None and elsewhere.server != server:
                told("Conflict", mailbox.mailbox)
                log.error(
                    "{mailbox} is here, and the MUPDATE master has it at {server}: remove one of them",
                    mailbox=mailbox.mailbox,
                    server=elsewhere.server,
                )
                continue
        told("Force Activate", mailbox.mailbox)
        changed += 1
        if not dry_run:
            await client.activate(mailbox)
    for name in known:
        told("Remove from MUPDATE", name)
        changed += 1
        if not dry_run:
            await withdraw(client, server, name)
    return changed


async def withdraw(client: MupdateClient, server: str, mailbox: str) -> None:
    """Have the master forget a mailbox of a server, if it knows it there."""
    # Cyrus dies of a DELETE of what is not there.
    found = await client.find(mailbox)
    if found is not None and found.server == server:
        with contextlib.suppress(MailboxNotFound):
            await client.delete(mailbox)


def _fire(done: Deferred[Any], value: object) -> None:
    if not done.called:
        done.callback(value)
