"""
The mailboxes that this process has in memory.

A mailbox that somebody has open stays; of the others the last used ones are
kept, up to limits, so that opening them again costs nothing.
"""

from __future__ import annotations

from collections import OrderedDict

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from pycyrus.errors import MailboxNotFound
from pycyrus.store import files, recovery
from pycyrus.store.files import store_error
from pycyrus.store.mailbox import MailboxPaths, MailboxState, StateServices
from pycyrus.store.shield import shielded
from pycyrus.store.threads import in_thread


class MailboxStates:
    """
    Finds or loads the state of a mailbox, and counts who uses it.

    @param kept: Mailboxes that nobody has open and that are kept.
    @param kept_octets: Memory that their columns may take together.
    """

    log = Logger()

    def __init__(self, services: StateServices, *, kept: int = 256, kept_octets: int = 64 << 20) -> None:
        self.services = services
        self._kept = kept
        self._kept_octets = kept_octets
        self._used: dict[str, tuple[MailboxState, int]] = {}
        self._idle: OrderedDict[str, tuple[MailboxState, int]] = OrderedDict()
        self._idle_octets = 0
        self._loading: dict[str, list[Deferred[None]]] = {}
        self._closed = False

    async def open(self, unique_id: str, paths: MailboxPaths) -> MailboxState:
        """
        Get a mailbox's state; L{release} gives it back.

        @raise MailboxNotFound: There is no mailbox in that place, or another.
        @raise StoreUnavailable: It cannot be read.
        """
        while True:
            state = self._find(unique_id, paths)
            if state is not None:
                return state
            waiting = self._loading.get(unique_id)
            if waiting is None:
                # Shielded, for what is loaded belongs to all who wait.
                await shielded(self._load(unique_id, paths))
            else:
                done: Deferred[None] = Deferred()
                waiting.append(done)
                await done

    def peek(self, unique_id: str) -> MailboxState | None:
        """The state, if it is in memory; it is not counted."""
        used = self._used.get(unique_id)
        found = used if used is not None else self._idle.get(unique_id)
        return found[0] if found is not None else None

    def release(self, state: MailboxState) -> None:
        """One user less."""
        unique_id = state.unique_id
        used = self._used.get(unique_id)
        if used is None or used[0] is not state:
            return
        if used[1] > 1:
            self._used[unique_id] = (state, used[1] - 1)
            return
        del self._used[unique_id]
        if state.gone or self._closed:
            state.close()
            return
        self._keep(state)
        self._shrink()

    def forget(self, unique_id: str) -> None:
        """The mailbox was removed, or must be read anew: whoever has it open is told."""
        idle = self._take_idle(unique_id)
        if idle is not None:
            idle.close()
        used = self._used.get(unique_id)
        if used is not None:
            used[0].notify()

    async def close(self) -> None:
        """Make everything durable, and give everything back."""
        self._closed = True
        await self.services.committers.close()
        for state, _ in [*self._idle.values(), *self._used.values()]:
            state.close()
        self._idle.clear()
        self._used.clear()
        if self.services.watcher is not None:
            self.services.watcher.close()

    def __len__(self) -> int:
        return len(self._used) + len(self._idle)

    def _find(self, unique_id: str, paths: MailboxPaths) -> MailboxState | None:
        used = self._used.get(unique_id)
        if used is not None and not used[0].gone:
            state = used[0]
            self._used[unique_id] = (state, used[1] + 1)
        else:
            idle = self._take_idle(unique_id)
            if idle is None:
                return None
            if idle.gone:
                idle.close()
                return None
            state = idle
            self._used[unique_id] = (state, 1)
        state.relocate(paths)
        return state

    async def _load(self, unique_id: str, paths: MailboxPaths) -> None:
        waiting = self._loading[unique_id] = []
        try:
            loaded = await in_thread(self.services.reactor, recovery.open_mailbox, paths)
        except OSError as error:
            raise store_error(error, "mailbox cannot be read") from error
        finally:
            del self._loading[unique_id]
            # They look again when this coroutine has put it in its place.
            for done in waiting:
                self.services.reactor.callLater(0, done.callback, None)
        if loaded.header.unique_id != unique_id or self._closed:
            files.close(loaded.fd)
            raise MailboxNotFound("another mailbox is in its place")
        state = MailboxState(paths, loaded, self.services)
        self._keep(state)
        state.maintain()

    def _keep(self, state: MailboxState) -> None:
        octets = state.contents.columns.nbytes
        self._idle[state.unique_id] = (state, octets)
        self._idle_octets += octets

    def _take_idle(self, unique_id: str) -> MailboxState | None:
        found = self._idle.pop(unique_id, None)
        if found is None:
            return None
        self._idle_octets -= found[1]
        return found[0]

    def _shrink(self) -> None:
        while self._idle and (len(self._idle) > self._kept or self._idle_octets > self._kept_octets):
            _, (state, octets) = self._idle.popitem(last=False)
            self._idle_octets -= octets
            state.close()
