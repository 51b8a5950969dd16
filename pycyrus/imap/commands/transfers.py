"""XFER and XTRANSFER: mailboxes that move between servers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pycyrus.errors import MailboxNotFound, MailStoreError, OperationNotSupported, PermissionDenied, TransferFailed
from pycyrus.imap.commands.changing import demand_changes_allowed
from pycyrus.imap.replies import No
from pycyrus.imap.wire.grammar import astring
from pycyrus.imap.wire.transfers import encode_step_answer
from pycyrus.interfaces import ITransfers, ListScope, Moved, Namespace
from pycyrus.model.identity import AdminScope
from pycyrus.model.names import internal
from pycyrus.model.patterns import compile_pattern, has_wildcard

if TYPE_CHECKING:
    from pycyrus.imap.session import Session
    from pycyrus.imap.wire.mailboxes import Create, Named
    from pycyrus.imap.wire.transfers import TransferStep, Xfer
    from pycyrus.model.names import MailboxName


async def xfer(session: Session, command: Xfer) -> None:
    """
    Move a user, or a mailbox, to another server.

    @raise TransferFailed: It is still here; or it will be there, and says so.
    @raise MailboxNotFound: There is none of that name, or none that matches.
    """
    demand_changes_allowed(session)
    _demand(session)
    if has_wildcard(command.mailbox):
        matching = await _matching(session, command.mailbox)
        if not matching:
            raise MailboxNotFound("nothing matches")
        await _move_each(session, matching, command)
        return
    root = session.names.decode(command.mailbox, utf8=session.is_utf8)
    on_partition = None
    if root.owner is None:
        on_partition = await _on_partition(session, command.mailbox)
    if on_partition is None:
        await move_away(session, root, command.server, command.partition)
    else:
        await _move_each(session, on_partition, command)


async def _move_each(session: Session, roots: Sequence[MailboxName], command: Xfer) -> None:
    """
    Move several, one after the other.

    @raise No: One of them or more did not move.
    """
    failed = 0
    for root in roots:
        try:
            await move_away(session, root, command.server, command.partition)
        except (No, MailStoreError) as error:
            session.log.warn("{mailbox} did not move: {error}", mailbox=internal(root), error=str(error))
            failed += 1
        await session.drain()
    if failed:
        raise No(b"%d were not moved" % failed, b"CANNOT")


async def _matching(session: Session, pattern: bytes) -> list[MailboxName]:
    """Users, and shared mailboxes, whose names match a pattern of LIST."""
    scopes = [ListScope(Namespace.OTHER), ListScope(Namespace.SHARED)]
    matches = compile_pattern(pattern, session.names.separator)
    return [
        listing.name
        for listing in await session.store.list(session.user, scopes)
        if (listing.name.owner is None or listing.name.is_inbox)
        and matches(session.names.encode(listing.name, utf8=session.is_utf8))
    ]


async def _on_partition(session: Session, word: bytes) -> list[MailboxName] | None:
    """What is on a partition; None if that is not the name of one."""
    try:
        partition = word.decode("ascii")
    except UnicodeDecodeError:
        return None
    return await _demand(session).roots(session.user, partition)


async def localcreate(session: Session, command: Create) -> bytes:
    """
    Create a mailbox of which no other server is told.

    @raise MailboxExists: It is there already.
    """
    demand_changes_allowed(session)
    name = session.names.decode(command.mailbox, utf8=session.is_utf8)
    unique_id = await _demand(session).create_here(session.user, name, command.partition)
    return b"[MAILBOXID (%b)] Completed" % unique_id.encode("ascii")


async def localdelete(session: Session, command: Named) -> None:
    """
    Remove a mailbox for good, and tell no other server.

    @raise MailboxNotFound: There is none.
    """
    demand_changes_allowed(session)
    name = session.names.decode(command.mailbox, utf8=session.is_utf8)
    await _demand(session).delete_here(session.user, name)


async def dump(session: Session, command: Named) -> None:
    """
    Refuse to tell all of a mailbox as UNDUMP takes it: no server asks for it.

    @raise No: Always.
    """
    _demand(session)
    raise No(b"Mailboxes leave by XFER, to servers with X-REPLICATION", b"CANNOT")


async def move_away(session: Session, root: MailboxName, server: str, partition: str) -> None:
    """
    Move something, and tell of it as Cyrus does.

    @raise OperationNotSupported: It is the administrator's own, or selected.
    @raise TransferFailed: As L{xfer}.
    """
    transfers = _demand(session)
    if root.owned_by(session.user):
        raise OperationNotSupported("own INBOX")
    selected = session.selected
    if selected is not None:
        name = selected.mailbox.name
        if name == root or (root.is_inbox and (name.domain, name.owner) == (root.domain, root.owner)):
            raise OperationNotSupported("it is selected")

    def told(moved: Moved) -> None:
        if moved.root.is_inbox:
            what = b"USER %b" % astring(str(moved.root.owner_id).encode("utf-8"), utf8=session.is_utf8)
        else:
            name = session.names.encode(moved.root, utf8=session.is_utf8)
            what = b"MAILBOX %b" % astring(name, utf8=session.is_utf8)
        if moved.error:
            session.write(b"* NO %b (%b)\r\n" % (what, moved.error.encode("ascii", "replace").replace(b"\n", b" ")))
        else:
            session.write(b"* OK %b\r\n" % what)

    with _reasons_told():
        await transfers.move(session.user, root, server, partition, told)


async def transfer_step(session: Session, command: TransferStep) -> None:
    """
    Do one step of what another server asks for.

    @raise MailStoreError: It was not done.
    """
    transfers = _demand(session)
    demand_changes_allowed(session)
    if session.intake is None:
        session.intake = transfers.intake(session.user)
    with _reasons_told():
        answer = await session.intake.do(command.step, command.transfer_id, command.argument, command.data)
    if answer != b"{}":
        session.write(encode_step_answer(answer))


@contextmanager
def _reasons_told() -> Iterator[None]:
    """An administrator of all domains, or another server, may know why."""
    try:
        yield
    except TransferFailed as error:
        reason = " ".join(error.reason.split()).encode("ascii", "replace")
        raise No(reason or b"Mailbox was not moved", b"UNAVAILABLE" if error.is_temporary else b"CANNOT") from error


def _demand(session: Session) -> ITransfers:
    if session.user.admin is not AdminScope.GLOBAL:
        raise PermissionDenied("an administrator's")
    if session.transfers is None:
        raise OperationNotSupported("mailboxes do not move here")
    return session.transfers
