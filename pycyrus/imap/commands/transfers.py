"""XFER and XTRANSFER: mailboxes that move between servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pycyrus.errors import OperationNotSupported, PermissionDenied, TransferFailed
from pycyrus.imap.commands.changing import demand_changes_allowed
from pycyrus.imap.replies import No
from pycyrus.imap.wire.grammar import astring
from pycyrus.imap.wire.transfers import encode_step_answer
from pycyrus.interfaces import ITransfers, Moved
from pycyrus.model.identity import AdminScope

if TYPE_CHECKING:
    from pycyrus.imap.session import Session
    from pycyrus.imap.wire.transfers import TransferStep, Xfer
    from pycyrus.model.names import MailboxName


async def xfer(session: Session, command: Xfer) -> None:
    """
    Move a user, or a mailbox, to another server.

    @raise TransferFailed: It is still here; or it will be there, and says so.
    """
    demand_changes_allowed(session)
    root = session.names.decode(command.mailbox, utf8=session.is_utf8)
    await move_away(session, root, command.server, command.partition)


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
        raise No(reason or b"Mailbox was not moved", b"CANNOT") from error


def _demand(session: Session) -> ITransfers:
    if session.user.admin is not AdminScope.GLOBAL:
        raise PermissionDenied("an administrator's")
    if session.transfers is None:
        raise OperationNotSupported("mailboxes do not move here")
    return session.transfers
