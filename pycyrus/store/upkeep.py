"""What a process does for a mailbox in passing: snapshots, short journals, a whole cache."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from twisted.logger import Logger
from twisted.python.failure import Failure

from pycyrus.errors import MailboxNotFound, MailStoreError
from pycyrus.store import checkpoint, journal, snapshot
from pycyrus.store.cache_renewal import is_wasteful
from pycyrus.store.files import store_error
from pycyrus.store.layout import MailboxPaths, microseconds
from pycyrus.store.threads import in_thread

if TYPE_CHECKING:
    from pycyrus.store.mailbox import MailboxState

FEW = 16_384
"""Messages, with those that are retained, whose columns are copied within a millisecond."""
_MANY_OCTETS = 1 << 16
"""Octets of annotations of which the same is true."""
THINK_EVERY = 1 << 16
"""Octets of journal between two thoughts about snapshots."""


class Upkeep:
    """
    The upkeep of one mailbox.

    @ivar snapshot_offset: What the last snapshot stands for; 0 if there is
        none for this journal.
    """

    log = Logger()

    def __init__(self, state: MailboxState, snapshot_offset: int) -> None:
        self._state = state
        self._busy = False
        self._repairing = False
        self._think_at = 0
        self.snapshot_offset = snapshot_offset

    def restart(self, snapshot_offset: int) -> None:
        """It is another journal from now on."""
        self.snapshot_offset = snapshot_offset
        self._think_at = 0

    def consider(self, offset: int) -> None:
        """
        Have a snapshot taken, or the journal rewritten, when it is worth it.

        @param offset: The end of the journal.
        """
        if self._busy or offset < self._think_at:
            return
        self._think_at = offset + THINK_EVERY
        contents = self._state.contents
        count = contents.columns.count
        if checkpoint.wants_compaction(offset, checkpoint.needed(contents)) and self._keeps_too_much(offset):
            self._start(partial(checkpoint.compact, retention=self._state.services.undo_retention), offset)
        elif checkpoint.wants_snapshot(offset, self.snapshot_offset, count):
            self._start(self._snapshot(offset), offset)

    def _snapshot(self, offset: int) -> Callable[[MailboxPaths], int]:
        """How to take a snapshot now."""
        state = self._state
        contents = state.contents
        if contents.columns.count + len(contents.retained) > FEW or contents.annotations.weight > _MANY_OCTETS:
            return checkpoint.take_snapshot
        # Here it is a copy of some arrays; to read the mailbox in a thread
        # would keep the reactor from running for many times as long.
        data = snapshot.encode(contents, state.generation, offset, state.unique_id)
        return partial(
            checkpoint.put_snapshot, data=data, generation=state.generation, unique_id=state.unique_id, offset=offset
        )

    def _keeps_too_much(self, offset: int) -> bool:
        contents, retention = self._state.contents, self._state.services.undo_retention
        least = checkpoint.needed(contents)
        try:
            return checkpoint.keeps_too_much(self._state.paths, offset, least, retention)
        except (OSError, MailboxNotFound):
            # It is being moved or removed.
            return False

    def _start(self, work: Callable[[MailboxPaths], int], offset: int) -> None:
        self._busy = True

        def done(stands_for: int) -> None:
            self._busy = False
            self.snapshot_offset = max(self.snapshot_offset, stands_for)

        def failed(failure: Failure) -> None:
            self._busy = False
            # Tried again when the tail is as long again.
            self.snapshot_offset = offset
            self._tell_failure(failure)

        in_thread(self._state.services.reactor, work, self._state.paths).addCallbacks(done, failed)  # type: ignore[unused-awaitable] # nobody waits

    async def renew_cache(self) -> bool:
        """
        Write the cache anew if much of it is about messages that are gone.

        @return: Whether it was written.
        @raise StoreUnavailable: It could not be; the old one is still there.
        """
        state = self._state
        if self._busy:
            return False
        self._busy = True
        try:
            if not await in_thread(state.services.reactor, is_wasteful, state.paths, state.contents):
                return False
            retention = state.services.undo_retention
            await in_thread(state.services.reactor, checkpoint.compact, state.paths, retention, renew_cache=True)
        except OSError as error:
            raise store_error(error, "cache cannot be written anew") from error
        finally:
            self._busy = False
        state.refresh()
        return True

    def _tell_failure(self, failure: Failure) -> None:
        if failure.check(MailboxNotFound) is not None:
            return
        mailbox = self._state.unique_id
        if failure.check(OSError, MailStoreError) is None:
            self.log.failure("Upkeep of {mailbox} crashed", failure, mailbox=mailbox)
        else:
            self.log.warn("Upkeep of {mailbox} failed: {error}", mailbox=mailbox, error=failure.getErrorMessage())

    def repair_soon(self) -> None:
        """Write the cache records that had to be made again, when there is time."""
        if not self._repairing:
            self._repairing = True
            self._state.services.reactor.callLater(0, self.repair)

    def repair(self) -> bool:
        """
        Write the cache records that were made.

        @return: Whether they are written.
        """
        self._repairing = False
        state = self._state
        lost, state.items.lost = state.items.lost, {}
        if state.gone or not lost:
            return False
        try:
            if not state.enter_now():
                return False
            try:
                rows = [record.encode() for record in lost.values()]
                offset = state.items.append(rows)
                places = []
                for uid, row in zip(lost, rows, strict=True):
                    places.append((uid, len(row), offset))
                    offset += len(row)
                state.write_aside(journal.cache_record(places, microseconds()))
            finally:
                state.leave()
        except MailboxNotFound:
            return False
        except (OSError, MailStoreError) as error:
            # They are made again when they are next asked for.
            self.log.warn("Cache of {mailbox} cannot be mended: {error}", mailbox=state.unique_id, error=str(error))
            return False
        return True
