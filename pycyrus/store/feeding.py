"""
Adding the texts of messages to the text logs soon after they came, so that the first search is fast.

It waits until a process has nothing to deliver, but not for long; and then it
works a little, and rests much longer.  What is lost of its work, when the process
ends, is done with the next message of that mailbox, or by a search.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from twisted.logger import Logger

from pycyrus.errors import MailStoreError
from pycyrus.store.leisure import Leisure
from pycyrus.store.threads import StoreReactor, sleep

if TYPE_CHECKING:
    from pycyrus.store.mailbox import MailboxState
    from pycyrus.store.shield import Shield

QUIET = 1.0
"""Seconds without a delivery after which the work begins."""
PATIENCE = 5.0
"""Seconds after which it begins in any case."""
REST = 9.0
"""How many times as long as it worked it rests."""
BUSY_REST = 30.0
"""The same while messages come: those who deliver want the interpreter."""
BLOCK = 4
"""Messages read at a time: some milliseconds of a thread."""
BLOCKS = 16
"""After so many other mailboxes have their turn."""
MOST_WAITING = 10_000
"""Mailboxes that wait; others are left to their next message."""


class TextFeeder:
    """
    One for each process.

    @param hold: Gives the state of a mailbox by its unique id.
    @param release: Takes it back.
    """

    log = Logger()

    def __init__(
        self,
        reactor: StoreReactor,
        shield: Shield,
        hold: Callable[[str], Awaitable[MailboxState]],
        release: Callable[[MailboxState], None],
    ) -> None:
        self._reactor = reactor
        self._shield = shield
        self._hold = hold
        self._release = release
        self._waiting: dict[str, None] = {}
        self._leisure = Leisure(reactor, self._begin, quiet=QUIET, patience=PATIENCE)
        self._is_busy = self._is_stopped = False
        self._last = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def came(self, unique_id: str) -> None:
        """A mailbox got messages just now."""
        if self._is_stopped or len(self._waiting) >= MOST_WAITING:
            return
        self._waiting[unique_id] = None
        self._last = self._reactor.seconds()
        if not self._is_busy:
            self._leisure.came()

    def stop(self) -> None:
        """Begin with nothing more."""
        self._is_stopped = True
        self._waiting.clear()
        self._leisure.stop()

    def _begin(self) -> None:
        self._is_busy = True
        self._shield.spawn(self._work())

    async def _work(self) -> None:
        try:
            while self._waiting:
                unique_id = next(iter(self._waiting))
                del self._waiting[unique_id]
                await self._feed(unique_id)
        finally:
            self._is_busy = False

    async def _feed(self, unique_id: str) -> None:
        try:
            state = await self._hold(unique_id)
            try:
                await self._feed_some(state)
            finally:
                self._release(state)
        except MailStoreError as error:
            # Its next message, or a search, tries again.
            self.log.info("no texts of {mailbox} were made ready: {error}", mailbox=unique_id, error=error)

    async def _feed_some(self, state: MailboxState) -> None:
        for _ in range(BLOCKS):
            if self._is_stopped:
                return
            begun = self._reactor.seconds()
            state.refresh()
            left = await state.texts.feed(state.view(), BLOCK)
            now = self._reactor.seconds()
            await sleep(self._reactor, (now - begun) * (REST if now - self._last >= QUIET else BUSY_REST))
            if not left:
                return
        self._waiting[state.unique_id] = None
