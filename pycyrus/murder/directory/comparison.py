"""
A server's mailboxes and what the MUPDATE master has of them: C{ctl_mboxlist -m}.

What the master says is on another server is left alone on both sides: mail is never
removed because of what somebody else says.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.logger import Logger

from pycyrus.errors import MailboxNotFound
from pycyrus.interfaces import Location, LocationState
from pycyrus.mupdate.client import MupdateClient

log = Logger()

_AT_ONCE = 64
"""Mailboxes that a master is told of before it has answered."""

Find = Callable[[str], Location | None]


@dataclass(frozen=True, slots=True)
class Here:
    """
    The mailboxes of this server.

    @ivar all: Makes each of them, once.
    @ivar find: What is here under an internal name at this moment.
    """

    all: Callable[[], Iterable[Location]]
    find: Find


@dataclass(slots=True)
class Compared:
    """
    What a comparison found.

    @ivar changed: Entries that were changed, or would be.
    @ivar conflicts: Mailboxes that are here, and that the master has elsewhere.
    """

    changed: int = 0
    conflicts: int = 0


@dataclass(frozen=True, slots=True)
class Order:
    """
    How to compare.

    @ivar told: Given what is done, in Cyrus's words, and the mailbox.
    @ivar dry_run: Change nothing.
    @ivar is_right: What is here is, whatever the master has elsewhere.
    @ivar wanted: Given the same, whether to do it.
    """

    told: Callable[[str, str], None] = lambda what, mailbox: None
    dry_run: bool = False
    is_right: bool = False
    wanted: Callable[[str, str], bool] = lambda what, mailbox: True


async def compare(
    client: MupdateClient,
    server: str,
    here: Here,
    reactor: Any,
    order: Order = Order(),
) -> Compared:
    """
    Tell a master what it does not know of a server's mailboxes.

    Mailboxes may be made, changed and removed meanwhile, by any process.

    @param server: Its name in locations; empty where all share one spool, of which nobody knows
        then what is not there any more.
    @raise StoreUnavailable: The master does not answer any more.
    """
    found = await client.list_begun(f"{server}!") if server else ()
    known = {location.mailbox: location for location in found}
    done = Compared()
    for piece in _pieces(here.all()):
        unlike = [each for each in piece if known.pop(each.mailbox, None) != each]

        async def tell(mailbox: Location) -> None:
            held = await client.find(mailbox.mailbox)
            if held == mailbox or (held is not None and _is_handed_over(mailbox, held, server)):
                return
            # What the other has not activated it has not got: it handed it over.
            is_elsewhere = held is not None and held.server != server and held.state is LocationState.ACTIVE
            if held is not None and is_elsewhere and not order.is_right:
                _conflict(held, order, done)
                return
            if _is_to_do("Force Activate", mailbox.mailbox, order, done):
                await settle(client, server, mailbox.mailbox, here.find)

        if unlike:
            await in_pieces(unlike, tell)
        else:
            await _turn(reactor)

    async def forget(mailbox: str) -> None:
        if here.find(mailbox) is None and _is_to_do("Remove from MUPDATE", mailbox, order, done):
            await settle(client, server, mailbox, here.find)

    await in_pieces(list(known), forget)
    return done


def _is_handed_over(mailbox: Location, held: Location, server: str) -> bool:
    """Whether a mailbox that is on its way to another server is known to be there."""
    return mailbox.state is LocationState.RESERVED and held.server != server


def _is_to_do(what: str, mailbox: str, order: Order, done: Compared) -> bool:
    if not order.wanted(what, mailbox):
        return False
    order.told(what, mailbox)
    done.changed += 1
    return not order.dry_run


def _conflict(held: Location, order: Order, done: Compared) -> None:
    done.conflicts += 1
    order.told("Conflict", held.mailbox)
    log.error(
        "{mailbox} is here, and the MUPDATE master has it at {server}: remove one of them",
        mailbox=held.mailbox,
        server=held.server,
    )


async def settle(client: MupdateClient, server: str, mailbox: str, find: Find) -> None:
    """
    Have the master know what has become of one mailbox, whoever else tells it something of it.

    Whoever changes it later tells the master later; what was told here may yet arrive after
    that, so it is looked at again.

    @raise StoreUnavailable: The master does not answer any more.
    """
    while True:
        here = find(mailbox)
        if here is None:
            await withdraw(client, server, mailbox)
        elif here.state is LocationState.RESERVED:
            await _hold(client, server, here)
        else:
            await client.activate(here)
        if find(mailbox) == here:
            return


async def _hold(client: MupdateClient, server: str, here: Location) -> None:
    """Have the master know that a mailbox is on its way to another server, unless it is there."""
    # Cyrus dies of a DEACTIVATE of what is not active.
    found = await client.find(here.mailbox)
    if found is None:
        await client.reserve(here)
    elif found.server == server and found.state is LocationState.ACTIVE:
        await client.deactivate(here)


async def withdraw(client: MupdateClient, server: str, mailbox: str) -> None:
    """Have the master forget a mailbox of a server, if it knows it there."""
    # Cyrus dies of a DELETE of what is not there.
    found = await client.find(mailbox)
    if found is not None and found.server == server:
        with contextlib.suppress(MailboxNotFound):
            await client.delete(mailbox)


async def in_pieces(values: Sequence[Any], function: Callable[[Any], Coroutine[Deferred[Any], Any, None]]) -> None:
    """
    Do something for each of many, some at a time: a master syncs once for all that it was sent.

    @raise MailStoreError: The first failure; nothing more is begun after it.
    """
    for piece in _pieces(values):
        waiting = [Deferred.fromCoroutine(function(value)) for value in piece]
        try:
            await gatherResults(waiting, consumeErrors=True)
        except FirstError as error:
            error.subFailure.raiseException()


def _pieces(values: Iterable[Any]) -> Iterable[list[Any]]:
    piece: list[Any] = []
    for value in values:
        piece.append(value)
        if len(piece) >= _AT_ONCE:
            yield piece
            piece = []
    if piece:
        yield piece


async def _turn(reactor: Any) -> None:
    """Let others have their turn."""
    turn: Deferred[None] = Deferred()
    reactor.callLater(0, turn.callback, None)
    await turn
