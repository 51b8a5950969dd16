"""
The directory in PostgreSQL, as a MUPDATE master serves it.

Changes are made there.  Reading, and telling others of changes, is done from a copy of this
server's own, C{mupdate.db}, which one of its processes keeps up to date; so nobody waits for
PostgreSQL to read, and the copy serves while none of its servers answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from pycyrus.errors import InvalidMailboxName, MailStoreError, StoreUnavailable
from pycyrus.interfaces import ILocations, Location, LocationChange
from pycyrus.murder.shared import entries
from pycyrus.murder.shared.asking import PATIENCE, Asking, Listening
from pycyrus.murder.shared.entries import Mark, News
from pycyrus.murder.shared.position import Position
from pycyrus.murder.shared.postgresql import Access, Postgresql
from pycyrus.murder.turns import TRY_EVERY, Turn
from pycyrus.store import location_changes
from pycyrus.store.location_changes import Change, ChangeQueue
from pycyrus.store.locations import Locations, all_of
from pycyrus.store.threads import sleep
from pycyrus.tasks import Tasks

LOCK = "mupdate.shared.lock"
_PAGE = 200
_AGAIN = 0.5
"""Seconds after which a copy that could not be brought up to date is tried again."""
_WAIT = 10.0
"""Seconds to wait for the copy."""
_LATE = "the directory's copy does not get up to date"
_LOOK_EVERY = 0.01
"""Seconds between two looks whether another process has brought the copy up to date."""


@implementer(ILocations)
class SharedLocations:
    """
    The directory, shared by all masters.

    @param copy: This server's; belongs to this object from now on.
    @param directory: Where the copy is.
    @param strict: As in L{Locations}.
    @param patience: Seconds for an answer of PostgreSQL.
    """

    log = Logger()

    def __init__(
        self,
        copy: Locations,
        directory: Path,
        access: Access,
        reactor: Any,
        *,
        strict: bool = True,
        patience: float = PATIENCE,
    ) -> None:
        self._copy = copy
        self._directory = directory
        self._reactor = reactor
        self._strict = strict
        self._queue: ChangeQueue[Change] = ChangeQueue(self._apply)
        self._writer = Asking(Postgresql(access, entries.prepare), reactor, patience=patience)
        self._reader = Asking(Postgresql(access, entries.prepare), reactor, patience=patience)
        self._listening = Listening(Postgresql(access, entries.prepare), self._heard, reactor)
        self._position = Position(directory)
        self._turn = Turn(directory / LOCK)
        self._tasks = Tasks()
        self._written: Mark | None = None
        self._is_pulling = self._is_behind = self._is_closed = False
        self._pulled: list[Deferred[None]] = []
        self._asked: list[Deferred[Mark]] = []
        self._is_asking = False
        self._timer: IDelayedCall | None = None

    def start(self) -> None:
        """Keep the copy up to date, now or when it is our turn."""
        self._timer = None
        if self._is_closed:
            return
        if self._turn.take():
            self._listening.start()
        else:
            self._timer = self._reactor.callLater(TRY_EVERY, self.start)

    async def close(self) -> None:
        """End what was begun, and give files and connections back."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._listening.close()
        self._writer.close()
        self._reader.close()
        self._tasks.cancel_all()
        waiting, self._pulled = self._pulled, []
        _end(waiting, StoreUnavailable("shutting down"))
        await self._queue.end()
        await self._copy.close()
        self._turn.give_back()

    # --- reading ------------------------------------------------------------------

    def _check(self) -> None:
        """What is not whole yet would have those who copy it forget the rest."""
        if self._position.mark() is None:
            raise StoreUnavailable("the directory's copy was never whole")

    def find(self, mailbox: str) -> Location | None:
        """See L{ILocations.find}."""
        self._check()
        return self._copy.find(mailbox)

    def page(
        self, prefix: str, after: str, limit: int, server: str | None = None, *, shared: bool = False
    ) -> Sequence[Location]:
        """See L{ILocations.page}."""
        self._check()
        return self._copy.page(prefix, after, limit, server, shared=shared)

    def last_change(self) -> int:
        """See L{ILocations.last_change}."""
        return self._copy.last_change()

    def changes(self, after: int, limit: int) -> Sequence[LocationChange]:
        """See L{ILocations.changes}."""
        return self._copy.changes(after, limit)

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """See L{ILocations.listen}."""
        return self._copy.listen(listener)

    async def catch_up(self) -> None:
        """
        Wait until the copy has all that any master has said is done.

        @raise StoreUnavailable: Nobody knows how much that is.
        """
        await self._until(await self._head())

    async def _head(self) -> Mark:
        """Many want to know at the same time; who comes while one asks may have missed something, and asks next."""
        waiting: Deferred[Mark] = Deferred()
        self._asked.append(waiting)
        if not self._is_asking:
            self._is_asking = True
            self._tasks.spawn(self._ask_all(), self._failed)
        return await waiting

    async def _ask_all(self) -> None:
        try:
            while self._asked:
                asked, self._asked = self._asked, []
                try:
                    mark = await self._reader.ask(entries.mark_now)
                except MailStoreError as error:
                    for waiting in asked:
                        waiting.errback(error)
                else:
                    for waiting in asked:
                        waiting.callback(mark)
        finally:
            self._is_asking = False

    # --- changing -----------------------------------------------------------------

    async def reserve(self, location: Location) -> None:
        """See L{ILocations.reserve}."""
        await self._change(location_changes.reserve(_checked(location), strict=self._strict))

    async def activate(self, location: Location) -> None:
        """See L{ILocations.activate}."""
        await self._change(location_changes.activate(_checked(location)))

    async def deactivate(self, location: Location) -> None:
        """See L{ILocations.deactivate}."""
        await self._change(location_changes.deactivate(_checked(location)))

    async def delete(self, mailbox: str) -> None:
        """See L{ILocations.delete}."""
        _check_text(mailbox)
        await self._change(location_changes.delete(mailbox))

    async def _change(self, change: Change) -> None:
        await self._queue.add(change)
        if self._written is None:
            return
        try:
            await self._until(self._written)
        except StoreUnavailable as error:
            # It is done, and will be heard of.
            self.log.info("The directory's copy could not be brought up to date: {error}", error=str(error))

    async def _apply(self, changes: Sequence[Change]) -> Sequence[MailStoreError | None]:
        refusals, mark = await self._writer.ask(partial(entries.apply, changes=changes))
        self._written = mark or self._written
        return refusals

    # --- the copy -----------------------------------------------------------------

    async def _until(self, mark: Mark) -> None:
        """Wait until the copy has what was done up to this mark."""
        if self._turn.is_ours:
            if self._position.mark() != mark:
                done: Deferred[None] = Deferred()
                self._pulled.append(done)
                give_up = self._reactor.callLater(_WAIT, self._is_late, done)
                self._heard()
                try:
                    await done
                finally:
                    if give_up.active():
                        give_up.cancel()
            return
        until = time.monotonic() + _WAIT
        while (found := self._position.read()) is None or found.number < mark.number:
            if time.monotonic() > until:
                raise StoreUnavailable(_LATE)
            await sleep(self._reactor, _LOOK_EVERY)

    @staticmethod
    def _is_late(done: Deferred[None]) -> None:
        # As where a million mailboxes are compared.
        done.errback(StoreUnavailable(_LATE))

    def _heard(self) -> None:
        self._is_behind = True
        if not self._is_pulling and not self._is_closed:
            self._is_pulling = True
            self._tasks.spawn(self._pull_all(), self._failed)

    async def _pull_all(self) -> None:
        waiting: list[Deferred[None]] = []
        try:
            while self._is_behind:
                self._is_behind = False
                waiting, self._pulled = self._pulled, []
                await self._pull()
                _end(waiting, None)
        except MailStoreError as error:
            _end(waiting, error)
            if self._timer is None and not self._is_closed:
                self._timer = self._reactor.callLater(_AGAIN, self._try_again)
        finally:
            self._is_pulling = False
            # Whatever went wrong: nobody waits for ever.
            _end(waiting, StoreUnavailable(_LATE))

    def _try_again(self) -> None:
        self._timer = None
        self._heard()

    async def _pull(self) -> None:
        """Have the copy follow."""
        mark = self._position.mark()
        while mark is not None:
            found: News | None = await self._reader.ask(partial(entries.news, mark=mark))
            if found is None:
                break
            if found.mark != mark:
                await self._copy.follow(found.changes)
                mark = found.mark
                self._position.set(mark)
            if found.is_all:
                return
        await self._compare()

    async def _compare(self) -> None:
        """Have the copy be as the directory, whatever it was."""
        if await self._reader.ask(lambda connection: entries.seed(connection, all_of(self._directory))):
            self.log.warn("The directory in PostgreSQL was empty: it has what this server knew")
        # What changes meanwhile comes afterwards, perhaps once more.
        mark: Mark = await self._reader.ask(entries.mark_now)
        after, is_last = "", False
        while not is_last:
            there = await self._reader.ask(partial(entries.page, after=after, limit=_PAGE))
            is_last = len(there) < _PAGE
            upto = None if is_last else there[-1].mailbox
            changes = await self._differences({each.mailbox: each for each in there}, after, upto)
            if changes:
                await self._copy.follow(changes)
            after = upto or ""
        self._position.set(mark)
        # There may be more by now.
        self._is_behind = True
        self.log.info("The directory is that in PostgreSQL")

    async def _differences(self, there: dict[str, Location], after: str, upto: str | None) -> list[Location | str]:
        changes: list[Location | str] = []
        while page := self._copy.page("", after, _PAGE):
            for each in page:
                if upto is not None and each.mailbox > upto:
                    break
                wanted = there.pop(each.mailbox, None)
                if wanted is None:
                    changes.append(each.mailbox)
                elif wanted != each:
                    changes.append(wanted)
            after = page[-1].mailbox
            if upto is not None and after >= upto:
                break
            await sleep(self._reactor, 0)
        return [*changes, *there.values()]

    def _failed(self, failure: Failure) -> None:
        self.log.failure("The directory's copy is followed no more", failure)


def _end(waiting: Sequence[Deferred[None]], error: MailStoreError | None) -> None:
    """Tell those who wait, and have not given up."""
    for done in waiting:
        if done.called:
            continue
        if error is None:
            done.callback(None)
        else:
            done.errback(error)


def _checked(location: Location) -> Location:
    for text in (location.mailbox, location.server, location.partition, location.acl):
        _check_text(text)
    return location


def _check_text(text: str) -> None:
    # The only character that PostgreSQL does not have; it would spoil the changes of others.
    if "\0" in text:
        raise InvalidMailboxName(text)
