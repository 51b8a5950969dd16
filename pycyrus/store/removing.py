"""
Files of messages that have gone for good: they go after the record of it, and never a moment before.

Whoever removes a file must be sure of two things: that the record will outlive the power, which may be another
process's that is just being synced, and that the directory is still the mailbox's, for it may be renamed, and
another mailbox, with the same UIDs, may have come to its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pycyrus.errors import MailboxNotFound, MailStoreError
from pycyrus.store import files
from pycyrus.store.shield import shielded
from pycyrus.store.threads import in_thread

if TYPE_CHECKING:
    from pycyrus.store.layout import MailboxPaths
    from pycyrus.store.mailbox import MailboxState

_HERE = 64
"""Files of more messages than this are removed in a thread."""
_AT_ONCE = 1024
"""Messages whose files are removed while others wait for the lock."""


async def remove_files(state: MailboxState, uids: Sequence[int]) -> None:
    """
    Remove the files of messages of which a durable record says that they have gone.

    What cannot be removed now is removed by the next expiry, which finds it by its UID.
    """
    for start in range(0, len(uids), _AT_ONCE):
        try:
            await shielded(_remove(state, uids[start : start + _AT_ONCE]))
        except MailboxNotFound:
            # Its files went with it.
            return
        except MailStoreError as error:
            state.log.warn(
                "Files of removed messages remain in {mailbox}: {error}", mailbox=state.unique_id, error=str(error)
            )
            return


async def _remove(state: MailboxState, uids: Sequence[int]) -> None:
    if len(uids) <= _HERE:
        await state.enter()
        try:
            state.check_place()
            files.unlink_all(_paths(state.paths, uids))
        finally:
            state.leave()
        return
    lock = await state.enter_apart(0)
    try:
        state.check_place()
        await in_thread(state.services.reactor, files.unlink_all, _paths(state.paths, uids))
    finally:
        files.close(lock)


def _paths(paths: MailboxPaths, uids: Sequence[int]) -> list[str]:
    return [path for uid in uids for path in paths.places(uid)]
