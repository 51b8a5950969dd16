"""
SYNCAPPLY, SYNCGET and MUPDATEPUSH: what a server of Cyrus's says when it moves mailboxes here (X-REPLICATION).

Their arguments are lists of any length, and files among them; they are read here, and not
cut into lines and literals before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycyrus.errors import MailStoreError, OperationNotSupported, PermissionDenied
from pycyrus.imap.commands.arriving import LARGEST_FILE, octets, take_file
from pycyrus.imap.replies import Bad, Bye
from pycyrus.imap.wire.dlist import Announced, Part, Reader, Value, announced, encode
from pycyrus.imap.wire.grammar import BadSyntax
from pycyrus.model.identity import AdminScope

if TYPE_CHECKING:
    from pycyrus.imap.session import Session
    from pycyrus.imap.wire.mailboxes import Named
    from pycyrus.interfaces import ISyncFile, ISyncIntake

LONGEST_LINE = 64 << 20
"""Octets; a mailbox is one line, with some hundred octets for each message."""
MOST_OCTETS = 256 << 20
"""Of one command, without its files."""
_LONGEST_RESTART = 65_536
_LONG = 65_536
"""Octets that take so long to read that others should go on meanwhile."""


async def sync_apply(session: Session, command: None) -> bytes:
    """
    Take a part of what comes.

    @raise MailStoreError: It was not taken.
    """
    kind, value = await _read(session)
    answer = await _intake(session).apply(kind, value)
    _tell(session, answer)
    return b"success"


async def sync_get(session: Session, command: None) -> bytes:
    """
    Tell what has come.

    @raise MailStoreError: It cannot be told.
    """
    kind, value = await _read(session)
    _tell(session, await _intake(session).get(kind, value))
    return b"success"


async def sync_restart(session: Session, command: None) -> bytes:
    """Begin anew: locks are given back, of which there are none here."""
    await session.dialogue.read_long_line(_LONGEST_RESTART)
    return b"Restarting"


async def sync_restore(session: Session, command: None) -> bytes:
    """
    Give a mailbox back to a server that lost it.

    @raise OperationNotSupported: Always: that is what C{XFER} is for.
    """
    await _read(session)
    raise OperationNotSupported("SYNCRESTORE")


async def mupdatepush(session: Session, command: Named) -> None:
    """
    Tell the Murder's master of a mailbox; if it just came, it is this server's from now on.

    @raise MailboxNotFound: There is none.
    """
    name = session.names.decode(command.mailbox, utf8=session.is_utf8)
    await _intake(session).push(name)


def _intake(session: Session) -> ISyncIntake:
    if session.user.admin is not AdminScope.GLOBAL:
        raise PermissionDenied("an administrator's")
    if session.settings.is_read_only or session.transfers is None:
        raise OperationNotSupported("mailboxes do not move here")
    if session.sync is None:
        session.sync = session.transfers.sync(session.user)
    return session.sync


def _tell(session: Session, answer: list[tuple[str, Value]]) -> None:
    for word, value in answer:
        session.write(b"* %b %b\r\n" % (word.encode("ascii"), encode(value, plus=False)))


async def _read(session: Session) -> tuple[str, Value]:
    """
    Read the arguments to their end, whatever they are.

    @return: The first word, and the value behind it.
    @raise Bye: They are too long.
    @raise MailStoreError: A file could not be taken.
    """
    parts: list[Part] = []
    failure: MailStoreError | None = None
    total = 0
    while True:
        line = await session.dialogue.read_long_line(LONGEST_LINE)
        follows = announced(line)
        parts.append(line if follows is None else follows.text)
        total += len(line)
        if follows is None:
            break
        if follows.file is None:
            total += follows.size
        if total > MOST_OCTETS or follows.size > LARGEST_FILE:
            raise Bye(b"[TOOBIG] Too much at once")
        if follows.file is None:
            parts.append(b"".join([data async for data in octets(session, follows.size)]))
            continue
        parts.append(follows.file)
        try:
            await take_file(_begin_file(session, follows), octets(session, follows.size))
        except MailStoreError as error:
            failure = failure or error
    if failure is not None:
        raise failure
    return await session.in_thread(lambda: _parse(parts)) if total > _LONG else _parse(parts)


async def _begin_file(session: Session, follows: Announced) -> ISyncFile:
    assert follows.file is not None
    return await _intake(session).file(follows.file.guid.decode("ascii"), follows.size)


def _parse(parts: list[Part]) -> tuple[str, Value]:
    reader = Reader(parts)
    try:
        kind = reader.word().decode("ascii", "replace").upper()
        value = reader.value()
        reader.end()
    except BadSyntax as error:
        raise Bad(error.text) from None
    return kind, value
