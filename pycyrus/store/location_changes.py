"""What may be done to the Murder's directory, wherever it is kept: the rules of RFC 3656, and group commit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from pycyrus.errors import MailboxExists, MailboxNotFound, MailStoreError
from pycyrus.interfaces import Location, LocationState
from pycyrus.tasks import Tasks

T = TypeVar("T")

Rule = Callable[[Location | None], Location | None]
"""Makes what is to be of what is there; raises what refuses it."""


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be done to one mailbox."""

    mailbox: str
    rule: Rule


def reserve(location: Location, *, strict: bool) -> Change:
    """
    RFC 3656 section 4.9.

    @param strict: A mailbox can be reserved in one place only.
    """
    reserved = _reserved(location)

    def rule(held: Location | None) -> Location:
        if strict and held is not None and held.where != location.where:
            raise MailboxExists(location.mailbox)
        return reserved

    return Change(location.mailbox, rule)


def activate(location: Location) -> Change:
    """RFC 3656 section 4.1."""
    active = Location(location.mailbox, location.server, location.partition, location.acl)
    return Change(location.mailbox, lambda held: active)


def deactivate(location: Location) -> Change:
    """RFC 3656 section 4.3."""
    reserved = _reserved(location)

    def rule(held: Location | None) -> Location:
        if held is None or held.state is not LocationState.ACTIVE:
            raise MailboxNotFound(location.mailbox)
        return reserved

    return Change(location.mailbox, rule)


def delete(mailbox: str) -> Change:
    """RFC 3656 section 4.4."""

    def rule(held: Location | None) -> None:
        if held is None:
            raise MailboxNotFound(mailbox)

    return Change(mailbox, rule)


def _reserved(location: Location) -> Location:
    return Location(location.mailbox, location.server, location.partition, "", LocationState.RESERVED)


@dataclass(frozen=True, slots=True)
class _Request(Generic[T]):
    """Something to be done, and who waits for it."""

    work: T
    done: Deferred[None]


class ChangeQueue(Generic[T]):
    """
    Group commit: what comes while others are being done is done next, together.

    @param run: Does all of them at once, each by itself; returns what each was refused with.  Where
        it raises, none was done.
    """

    log = Logger()

    def __init__(self, run: Callable[[Sequence[T]], Awaitable[Sequence[MailStoreError | None]]]) -> None:
        self._run = run
        self._waiting: list[_Request[T]] = []
        self._is_running = False
        self._tasks = Tasks()
        self._ended: Deferred[None] | None = None

    async def add(self, work: T) -> None:
        """
        Have something done, and wait for it.

        @raise MailStoreError: It was refused.
        """
        done: Deferred[None] = Deferred()
        self._waiting.append(_Request(work, done))
        if not self._is_running:
            self._is_running = True
            self._tasks.spawn(self._run_all(), self._failed)
        await done

    async def _run_all(self) -> None:
        try:
            while self._waiting:
                requests, self._waiting = self._waiting, []
                refusals: Sequence[MailStoreError | None]
                try:
                    refusals = await self._run([request.work for request in requests])
                except MailStoreError as error:
                    refusals = [error] * len(requests)
                for request, refusal in zip(requests, refusals, strict=True):
                    if request.done.called:
                        continue
                    if refusal is None:
                        request.done.callback(None)
                    else:
                        request.done.errback(refusal)
        finally:
            self._is_running = False
            ended, self._ended = self._ended, None
            if ended is not None:
                ended.callback(None)

    def _failed(self, failure: Failure) -> None:
        self.log.failure("The directory could not be written", failure)

    async def end(self) -> None:
        """Wait until all is done."""
        if self._is_running:
            self._ended = Deferred()
            await self._ended
