"""What ANNOTATE adds to STORE, FETCH and APPEND (RFC 5257)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycyrus.errors import LimitExceeded, OperationNotSupported
from pycyrus.imap.commands.condstore import use_condstore
from pycyrus.imap.commands.expunge import writable
from pycyrus.imap.message_limit import demand_within_limit
from pycyrus.imap.pace import Pace
from pycyrus.imap.replies import GONE, Bad, No
from pycyrus.imap.selection import BLOCK
from pycyrus.imap.wire.annotations import Annotation, encode_annotation
from pycyrus.imap.wire.fetch import Column
from pycyrus.imap.wire.fetch_lines import Arguments, ItemFormat, Rows, line_format
from pycyrus.mime.sections import SectionText, locate
from pycyrus.model.annotations import part_of
from pycyrus.model.uids import Positions, encode_numbers
from pycyrus.model.view import CachedItem

if TYPE_CHECKING:
    from pycyrus.imap.selected import SelectedMailbox
    from pycyrus.imap.session import Session
    from pycyrus.imap.wire.store import StoreAnnotations
    from pycyrus.model.uids import UidArray


async def store_annotations(session: Session, command: StoreAnnotations) -> bytes | None:
    """
    Change annotations of messages (RFC 5257 section 4.5).

    @raise Bad: One of them is about a part that a message has not got; none was changed.
    @raise PermissionDenied: Without the right for one of them; none was changed.
    @raise No: There is no such entry, or it does not take this value, or it is too much.
    """
    selected = writable(session)
    if command.unchanged_since is not None:
        use_condstore(session)
    positions = selected.positions(command.sequence, by_uid=command.by_uid)
    if not len(positions):
        return None
    demand_within_limit(session, len(positions))
    uids = selected.view.uids[positions]
    await _demand_parts(session, selected, uids, command)
    try:
        stored = await selected.mailbox.annotate(uids, dict(command.values), command.unchanged_since)
    except OperationNotSupported:
        raise No(b"Invalid annotation entry or value", b"CANNOT") from None
    except LimitExceeded as error:
        raise annotations_refused(error) from None
    if selected.is_condstore and stored.modseq is not None:
        # RFC 7162 section 3.1.3: whatever of a message changes, its modseq is told.
        await _tell_modseqs(session, selected, selected.positions_of_uids(stored.changed), by_uid=command.by_uid)
    selected.was_told(stored.modseq)
    if selected.annotation_changes is not None:
        selected.annotation_changes.own(stored.changed)
    if len(stored.modified):
        modified = stored.modified
        if not command.by_uid:
            modified = (selected.positions_of_uids(modified) + 1).astype(modified.dtype)
        return b"[MODIFIED %b] Conditional STORE failed" % encode_numbers(modified)
    if len(stored.changed) < len(positions) and not command.by_uid:
        return GONE
    return None


async def _demand_parts(session: Session, selected: SelectedMailbox, uids: UidArray, command: StoreAnnotations) -> None:
    """
    Make sure that there are the parts that are annotated.

    @raise Bad: One of them is not there (RFC 5257 section 3.2.1).
    """
    parts = {part for (_, entry), _ in command.values if (part := part_of(entry))}
    if not parts:
        return
    pace = Pace(session)
    done = 0
    while done < len(uids):
        some = uids[done : done + pace.size]
        [structures] = selected.rows(selected.positions_of_uids(some)).cached((CachedItem.SECTIONS,))
        if any(locate(structure, part, SectionText.WHOLE) is None for structure in structures for part in parts):
            raise Bad(b"There is no such part")
        done += len(some)
        await pace.did(len(some), is_last=done >= len(uids))


async def _tell_modseqs(session: Session, selected: SelectedMailbox, positions: Positions, *, by_uid: bool) -> None:
    columns = (Column.UID, Column.MODSEQ) if by_uid or selected.is_qresync else (Column.MODSEQ,)
    lines = line_format(columns)
    for start in range(0, len(positions), BLOCK):
        session.write(lines.encode(selected.rows(positions[start : start + BLOCK])))
        await session.drain()


def annotations_refused(error: LimitExceeded) -> No:
    """The reply where there would be too much (RFC 5257 section 4.5)."""
    code = b"ANNOTATE TOOMANY" if "many" in error.reason else b"ANNOTATE TOOBIG"
    return No(error.reason.encode("ascii", "replace"), code)


def annotation_format(selected: SelectedMailbox, asked: Annotation) -> ItemFormat:
    """How FETCH tells annotations."""
    mailbox = selected.mailbox

    def arguments(rows: Rows, _: list[bytes]) -> tuple[Arguments, ...]:
        return ([encode_annotation(asked, mailbox.annotations(uid)) for uid in rows.uids.tolist()],)

    return ItemFormat(b"ANNOTATION %b", arguments)
