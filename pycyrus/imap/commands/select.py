"""SELECT and EXAMINE."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pycyrus.errors import MailStoreError
from pycyrus.imap.annotation_changes import AnnotationChanges
from pycyrus.imap.commands.quota import warn_of_quota
from pycyrus.imap.leaving import leave
from pycyrus.imap.opening import Opening
from pycyrus.imap.pace import Pace
from pycyrus.imap.replies import Bad
from pycyrus.imap.selected import SelectedMailbox
from pycyrus.imap.selection import BLOCK, CONDSTORE, NO_UIDS, QRESYNC, WRITING_RIGHTS
from pycyrus.imap.wire import grammar
from pycyrus.imap.wire.annotations import MAX_SIZE
from pycyrus.imap.wire.fetch import Column
from pycyrus.imap.wire.fetch_lines import line_format
from pycyrus.imap.wire.flags import encode_defined_flags
from pycyrus.model.acl import READ
from pycyrus.model.uids import UidArray, encode_numbers

if TYPE_CHECKING:
    from pycyrus.imap.session import Session
    from pycyrus.imap.wire.select import Resync, Select
    from pycyrus.model.uids import SequenceSet

_NUMBERS = (
    b"* OK [UIDVALIDITY %d] Ok\r\n* OK [UIDNEXT %d] Ok\r\n* OK [HIGHESTMODSEQ %d] Ok\r\n* OK [MAILBOXID (%b)] Ok\r\n"
    b"* OK [ANNOTATIONS %b] Ok\r\n"
)
# RFC 5257 section 4.2
_ANNOTATING, _NO_ANNOTATING = b"%d" % MAX_SIZE, b"READ-ONLY"
_CLOSED = b"* OK [CLOSED] Ok\r\n"
_READ_ONLY, _READ_WRITE = b"[READ-ONLY] Completed", b"[READ-WRITE] Completed"
_RESYNC_FORMAT = line_format((Column.UID, Column.FLAGS, Column.MODSEQ))


async def select(session: Session, command: Select) -> bytes:
    """
    Select a mailbox (RFC 9051 section 6.3.2).

    @raise MailboxNotFound: Absent or hidden; then none is selected.
    @raise PermissionDenied: Without the right to read; likewise.
    """
    return await _select(session, command, read_only=False)


async def examine(session: Session, command: Select) -> bytes:
    """
    Select a mailbox without changing anything in it (RFC 9051 section 6.3.3).

    @raise MailboxNotFound: As L{select}.
    @raise PermissionDenied: As L{select}.
    """
    return await _select(session, command, read_only=True)


async def _select(session: Session, command: Select, *, read_only: bool) -> bytes:
    if command.resync is not None and QRESYNC not in session.enabled:
        raise Bad(b"QRESYNC must be enabled first")
    if command.is_condstore or command.resync is not None:
        session.enabled.add(CONDSTORE)
    if (unchanged := _unchanged(session, command, is_examine=read_only)) is not None:
        return await _select_again(session, unchanged)
    await deselect(session)
    is_examine = read_only
    name = session.names.decode(command.mailbox, utf8=session.is_utf8)
    mailbox = await session.store.open(session.user, name, READ)
    try:
        await warn_of_quota(session, mailbox)
        # From here to the telling nobody else has a turn: what is told is of one time.
        rights = mailbox.rights()
        read_only = read_only or not rights & WRITING_RIGHTS
        selected = SelectedMailbox(
            mailbox,
            read_only=read_only,
            enabled=session.enabled,
            becomes_empty=not session.settings.leaves_vanished,
        )
        text = _encode_state(session, selected)
        session.write(text)
        if not selected.recent_ranges():
            extensions = len(session.enabled)
            selected.opening = Opening(
                command.mailbox, is_examine, extensions, selected.counter, mailbox.name, rights, text
            )
        if command.resync is not None and command.resync.uidvalidity == mailbox.uidvalidity:
            await _resync(session, selected, command.resync)
    except BaseException:
        mailbox.close()
        raise
    if command.is_annotate:
        selected.annotation_changes = AnnotationChanges(selected)
    session.selected = selected
    return _READ_ONLY if read_only else _READ_WRITE


def _unchanged(session: Session, command: Select, *, is_examine: bool) -> SelectedMailbox | None:
    """
    Find what is selected, if it is what is asked for and would be told as it was.

    Clients select their mailbox again and again, to have a look at it.
    """
    selected = session.selected
    opening = None if selected is None else selected.opening
    if selected is None or opening is None or session.telling.notices is not None:
        return None
    if session.settings.expunges_when_left or command.is_annotate or selected.annotation_changes is not None:
        return None
    asked = (command.mailbox, is_examine, len(session.enabled))
    if asked != (opening.asked, opening.is_examine, opening.extensions):
        return None
    # Neither a saved result nor a context outlives what was selected (RFC 5182 section 2.1, RFC 5267 section 4.3).
    if selected.contexts or selected.saved is not NO_UIDS:
        return None
    mailbox, resync = selected.mailbox, command.resync
    try:
        counter, rights, name = mailbox.refresh(), mailbox.rights(), mailbox.name
    except MailStoreError:
        # Why, is for those who open it.
        return None
    if counter != opening.counter or name != opening.name or rights != opening.rights:
        return None
    if resync is not None and resync.uidvalidity == mailbox.uidvalidity and resync.modseq < mailbox.highest_modseq():
        return None
    return selected


async def _select_again(session: Session, selected: SelectedMailbox) -> bytes:
    assert selected.opening is not None
    session.write(_CLOSED)
    try:
        await warn_of_quota(session, selected.mailbox)
    except BaseException:
        session.selected = None
        selected.close()
        raise
    session.write(selected.opening.text)
    return _READ_ONLY if selected.read_only else _READ_WRITE


async def deselect(session: Session) -> None:
    """Leave the selected mailbox for another; what follows is of that one (RFC 7162 section 3.2.11)."""
    if session.selected is not None:
        await leave(session)
        session.write(_CLOSED)


def _encode_state(session: Session, selected: SelectedMailbox) -> bytes:
    """Say what the mailbox is like, in Cyrus's order."""
    mailbox = selected.mailbox
    lines = [b"* %d EXISTS\r\n" % len(selected.view)]
    if selected.has_recent:
        lines.append(b"* %d RECENT\r\n" % selected.recent_count())
    lines.append(encode_defined_flags(mailbox.keyword_names()))
    lines.append(selected.encode_permanent_flags())
    if selected.has_recent:
        first_unseen = mailbox.counts().first_unseen
        if first_unseen and not selected.is_uid_only:
            lines.append(b"* OK [UNSEEN %d] Ok\r\n" % first_unseen)
    lines.append(
        _NUMBERS
        % (
            mailbox.uidvalidity,
            mailbox.uidnext(),
            mailbox.highest_modseq(),
            mailbox.unique_id.encode("ascii"),
            _NO_ANNOTATING if selected.read_only else _ANNOTATING,
        )
    )
    if not selected.has_recent:
        # RFC 9051 section 6.3.2 demands a LIST response.
        name = grammar.astring(session.names.encode(mailbox.name, utf8=True), utf8=True)
        lines.append(b"* LIST () %b %b\r\n" % (grammar.quoted(session.names.separator), name))
    return b"".join(lines)


async def _resync(session: Session, selected: SelectedMailbox, resync: Resync) -> None:
    """Tell what happened since the client was last here (RFC 7162 section 3.2.5)."""
    view = selected.view
    vanished = selected.mailbox.vanished_since(resync.modseq)
    matched = _last_match(resync.sequence_match, view.uids)
    vanished = vanished[vanished > matched]
    if resync.known_uids is not None:
        vanished = vanished[resync.known_uids.uid_positions(vanished)]
    if len(vanished):
        session.write(b"* VANISHED (EARLIER) %b\r\n" % encode_numbers(vanished))
    changed = np.flatnonzero(view.modseqs > np.uint64(resync.modseq))
    if resync.known_uids is not None:
        changed = changed[resync.known_uids.uid_positions(view.uids[changed])]
    pace = Pace(session)
    for start in range(0, len(changed), BLOCK):
        session.write(_RESYNC_FORMAT.encode(selected.rows(changed[start : start + BLOCK])))
        await session.drain()
        await pace.breathe()


def _last_match(match: tuple[SequenceSet, SequenceSet] | None, uids: UidArray) -> int:
    """
    Find the highest UID up to which the client's message numbers are still right.

    None of the messages up to it can have vanished (RFC 7162 section 3.2.5.2).

    @return: 0 if there is none.
    """
    if match is None:
        return 0
    most = len(uids)
    numbers = _members(match[0], most)
    known = _members(match[1], most)
    for number, uid in zip(reversed(numbers[: len(known)]), reversed(known[: len(numbers)]), strict=True):
        if number <= most and int(uids[number - 1]) == uid:
            return uid
    return 0


def _members(numbers: SequenceSet, most: int) -> list[int]:
    """The first C{most} numbers of a set, ascending."""
    members: list[int] = []
    for low, high in numbers.resolve(0):
        members.extend(range(low, min(high, low + most - len(members) - 1) + 1))
        if len(members) >= most:
            break
    return members
