"""
A copy of the master's directory, kept up to date.

Of a server's processes one has the connection, which a lock decides; when it dies
another takes its place.  The copy serves while no master answers.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from pycyrus.errors import MailStoreError, StoreUnavailable
from pycyrus.interfaces import Location
from pycyrus.mupdate.client import MupdateClient, Told
from pycyrus.murder.directory.kick import SOCKET, WAIT, KickFactory, kick
from pycyrus.murder.directory.seen import Seen
from pycyrus.murder.pauses import Pause
from pycyrus.murder.turns import TRY_EVERY, Turn
from pycyrus.store.locations import Locations
from pycyrus.tasks import Tasks

LOCK = "mupdate.lock"
_AT_ONCE = 1000
_MOST_WAITING = 20_000
"""Changes that wait to be written before the master is made to wait."""
_PAGE = 200
_LEAST_PATIENCE = 3.0
"""Seconds that a master has to answer a sign of life, if those between two are fewer."""
_REST_AFTER_ENDLESS = 600.0
"""Seconds until a master is asked again that told without end, which costs both more than anything else."""

Dial = Callable[[Callable[[Sequence[Told]], None], Callable[[str], None]], Awaitable[MupdateClient]]


class Slave:
    """
    One process's share in the copy.

    @param dial: Connects to the master; given who is to be told of changes, and of the end.
    @param retry_delay: Seconds between two signs of life, and before another attempt.
    @ivar is_connected: This process has the connection, and the copy is whole.
    """

    log = Logger()

    def __init__(
        self, locations: Locations, configdirectory: Path, dial: Dial, reactor: Any, *, retry_delay: float = 20.0
    ) -> None:
        self.is_connected = False
        self._locations = locations
        self._directory = configdirectory
        self._dial = dial
        self._reactor = reactor
        self._delay = retry_delay
        self._client: MupdateClient | None = None
        self._turn = Turn(configdirectory / LOCK)
        self._port: Any = None
        self._tasks = Tasks()
        self._waiting: list[Told] = []
        self._is_writing = False
        self._is_paused = False
        self._written: list[Deferred[None]] = []
        self._seen: Seen | None = None
        self._timer: IDelayedCall | None = None
        self._pause = Pause(reactor)
        self._is_closed = False

    def start(self) -> None:
        """Begin to follow, now or when it is our turn."""
        self._timer = None
        if self._is_closed:
            return
        if self._turn.take():
            self._listen()
            self._tasks.spawn(self._follow(), self._failed)
        else:
            self._timer = self._reactor.callLater(TRY_EVERY, self.start)

    def _listen(self) -> None:
        path = self._directory / SOCKET
        path.parent.mkdir(mode=0o755, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            # Of one who died: the lock is ours.
            path.unlink()
        self._port = self._reactor.listenUNIX(str(path), KickFactory(self.catch_up), mode=0o600)

    async def close(self) -> None:
        """End the connection, and let another process have its turn."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._tasks.cancel_all()
        if self._client is not None:
            self._client.log_out()
        port, self._port = self._port, None
        if port is not None:
            await maybeDeferred(port.stopListening)
        while self._is_writing:
            await self._until_written()
        self._turn.give_back()

    # --- for those who ask --------------------------------------------------------

    async def catch_up(self) -> None:
        """
        Wait until all is known that the master knew.

        @raise StoreUnavailable: The master does not answer.
        """
        if not self._turn.is_ours:
            await kick(self._reactor, self._directory)
            return
        client = self._client
        if client is None or not self.is_connected:
            raise StoreUnavailable("no connection to the MUPDATE master")
        done: Deferred[None] = Deferred()
        self._tasks.spawn(self._ask(client, done), self._failed)
        give_up = self._reactor.callLater(WAIT, self._no_answer, done)
        try:
            await done
        finally:
            if give_up.active():
                give_up.cancel()

    async def _ask(self, client: MupdateClient, done: Deferred[None]) -> None:
        try:
            await client.noop()
            await self._until_written()
        except MailStoreError as error:
            if not done.called:
                done.errback(error)
        else:
            if not done.called:
                done.callback(None)

    @staticmethod
    def _no_answer(done: Deferred[None]) -> None:
        # The connection may be slow, and those who stream need it.
        done.errback(StoreUnavailable("the MUPDATE master does not answer in time"))

    async def _until_written(self) -> None:
        if self._is_writing:
            done: Deferred[None] = Deferred()
            self._written.append(done)
            await done

    # --- the connection -----------------------------------------------------------

    async def _follow(self) -> None:
        while not self._is_closed:
            rest = self._delay
            try:
                await self._once()
            except MailStoreError as error:
                if not self._is_closed:
                    self.log.warn("The MUPDATE master cannot be followed now: {error}", error=str(error))
            finally:
                self.is_connected = False
                client, self._client = self._client, None
                if client is not None:
                    client.log_out()
            if client is not None and client.is_endless:
                rest = max(rest, _REST_AFTER_ENDLESS)
            if not self._is_closed:
                await self._pause.wait(rest * (1 + random.random() / 2))

    async def _once(self) -> None:
        # Before the first change is told: all that is not told is gone.
        self._seen = Seen()
        before = self._locations.last_change()
        client = self._client = await self._dial(self._told, self._gone)
        try:
            await client.update()
        except StoreUnavailable:
            if client.is_endless:
                await self._take_back(before)
            raise
        await self._until_written()
        await self._drop_others()
        # From now on it has little to tell, and who does not answer is looked for again soon.
        client.answer_within = max(_LEAST_PATIENCE, self._delay)
        self.is_connected = True
        self.log.info("The directory is that of the MUPDATE master")
        while client.lost_reason is None:
            await self._pause.wait(self._delay)
            if client.lost_reason is None:
                await self._ping(client)
        raise StoreUnavailable(client.lost_reason)

    async def _ping(self, client: MupdateClient) -> None:
        try:
            await client.noop()
        except StoreUnavailable as error:
            if client.lost_reason is not None:
                raise
            # A master that cannot tell what others did is no reason to be told everything again.
            self.log.warn("The MUPDATE master cannot tell what is new: {error}", error=str(error))

    async def _drop_others(self) -> None:
        """Forget what the master does not know."""
        seen, self._seen = self._seen or Seen(), None
        after = ""
        while page := self._locations.page("", after, _PAGE):
            after = page[-1].mailbox
            others: list[Told] = [each.mailbox for each in page if each.mailbox not in seen]
            if others:
                await self._locations.follow(others)
            else:
                # There may be a million, and others have work to do.
                await self._pause.wait(0)
        await self._forget(seen)

    async def _forget(self, seen: Seen) -> None:
        while seen.forget_some():
            await self._pause.wait(0)

    async def _take_back(self, position: int) -> None:
        """
        Forget what is new since a change: a master that tells without end would fill the disk.

        @param position: The number of that change.
        """
        await self._until_written()
        seen, self._seen = self._seen or Seen(), None
        while changes := self._locations.changes(position, _PAGE):
            position = changes[-1].number
            await self._locations.follow([each.mailbox for each in changes if each.location and not each.was_at])
        await self._forget(seen)

    def _gone(self, reason: str) -> None:
        # Of a connection that was given up nobody need hear.
        if self._client is not None:
            self._pause.end()

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError, ConnectingCancelledError):
            self.log.failure("The MUPDATE master is followed no more", failure)

    # --- what was told ------------------------------------------------------------

    def _told(self, changes: Sequence[Told]) -> None:
        self._waiting += changes
        if self._seen is not None:
            for change in changes:
                if isinstance(change, Location):
                    self._seen.add(change.mailbox)
                else:
                    self._seen.discard(change)
        if len(self._waiting) > _MOST_WAITING and self._client is not None and not self._is_paused:
            self._is_paused = True
            self._client.pause()
        if not self._is_writing:
            self._is_writing = True
            # Not of our tasks, as what was told is written to the end.
            Tasks().spawn(self._write(), self._failed)

    async def _write(self) -> None:
        try:
            while self._waiting:
                some, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
                await self._locations.follow(some)
                if self._is_paused and len(self._waiting) < _MOST_WAITING // 2 and self._client is not None:
                    self._is_paused = False
                    self._client.resume()
        except MailStoreError as error:
            # What is lost here comes with the next connection.
            self._waiting.clear()
            self.log.error("The directory cannot be written: {error}", error=str(error))
            if self._client is not None:
                self._client.log_out()
        finally:
            self._is_writing = False
            written, self._written = self._written, []
            for done in written:
                done.callback(None)
