"""What changes the annotations of messages (RFC 5257); permission is none of this module's business."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pycyrus.interfaces import Stored
from pycyrus.model.uids import UidArray, number_ranges
from pycyrus.store.columns import as_positions
from pycyrus.store.files import store_error
from pycyrus.store.layout import microseconds
from pycyrus.store.mailbox import MailboxState
from pycyrus.store.message_annotations import Change, encode


async def annotate(
    state: MailboxState,
    uids: UidArray,
    changes: Sequence[Change],
    unchanged_since: int | None,
    admit: Callable[[int], None],
) -> Stored:
    """
    Change annotations of messages, all or none, durably.

    @param admit: Told how many octets more there will be; raises L{OverQuota}
        where there is no room.
    @raise LimitExceeded: A value is too long, or there would be too many.
    """
    await state.enter()
    try:
        columns = state.contents.columns
        positions = as_positions(columns.positions(uids))
        modified = columns.uids[positions[:0]]
        if unchanged_since is not None:
            late = columns.modseqs[positions] > unchanged_since
            modified = columns.uids[positions[late]]
            positions = positions[~late]
        changed = columns.uids[positions].copy()
        if not len(changed):
            return Stored(changed, modified, None)
        admit(state.contents.annotations.check(changed, changes))
        modseq, now = state.next_modseq(), microseconds()
        ranges = number_ranges(changed)
        # Only the last uses a modseq: a write that stops half-way leaves whole records.
        records = [encode(change, ranges, 0, now) for change in changes[:-1]]
        records.append(encode(changes[-1], ranges, modseq, now))
        state.write(state.reserve_ahead() + b"".join(records))
    except OSError as error:
        raise store_error(error, "annotations cannot be changed") from error
    finally:
        state.leave()
    await state.commit([state.paths.journal])
    return Stored(changed, modified, modseq)
