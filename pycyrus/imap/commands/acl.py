"""SETACL, DELETEACL, GETACL, LISTRIGHTS and MYRIGHTS (RFC 4314)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycyrus.errors import MailboxNotFound, PermissionDenied
from pycyrus.imap.replies import No
from pycyrus.imap.wire.acl import encode_acl, encode_listrights, encode_myrights
from pycyrus.model.acl import ADMINISTER, ALL_RIGHTS, LOOKUP, POST
from pycyrus.model.acl_changes import AclAction, AclChange
from pycyrus.model.acl_text import parse_rights

if TYPE_CHECKING:
    from pycyrus.imap.session import Session
    from pycyrus.imap.wire.acl import MailboxIdentifier, SetAcl
    from pycyrus.imap.wire.mailboxes import Named
    from pycyrus.model.names import MailboxName

_NO_RIGHTS: frozenset[str] = frozenset()
_ANY_OF = frozenset("lrikxa")
"""Rights with which MYRIGHTS is answered (RFC 4314 section 4)."""


async def setacl(session: Session, command: SetAcl) -> None:
    """
    Change what somebody may do with a mailbox (RFC 4314 section 3.1).

    @raise MailboxNotFound: Absent or hidden.
    @raise PermissionDenied: Without the right a.
    """
    rights = parse_rights(command.letters, session.settings.old_rights)
    await _change(session, command.mailbox, command.identifier, command.action, rights)


async def deleteacl(session: Session, command: MailboxIdentifier) -> None:
    """
    Take away an entry, which need not be there (RFC 4314 section 3.2).

    @raise MailboxNotFound: Absent or hidden.
    @raise PermissionDenied: Without the right a.
    """
    await _change(session, command.mailbox, command.identifier, AclAction.REPLACE, _NO_RIGHTS)


async def _change(session: Session, mailbox: bytes, identifier: str, action: AclAction, rights: frozenset[str]) -> None:
    if not session.settings.is_setacl_allowed:
        raise No(b"Command is disabled by configuration")
    change = AclChange(session.names.identifier(identifier), action, rights)
    await session.store.change_acl(session.user, session.names.decode(mailbox, utf8=session.is_utf8), change)


async def getacl(session: Session, command: Named) -> None:
    """
    Tell all entries (RFC 4314 section 3.3).

    @raise MailboxNotFound: Absent or hidden.
    @raise PermissionDenied: Without the right a.
    """
    name = session.names.decode(command.mailbox, utf8=session.is_utf8)
    acl = await session.store.acl(session.user, name)
    session.write(
        encode_acl(_wire(session, name), acl.entries, utf8=session.is_utf8, old_rights=session.settings.old_rights)
    )


async def listrights(session: Session, command: MailboxIdentifier) -> None:
    """
    Tell which rights somebody could be given (RFC 4314 section 3.4).

    @raise MailboxNotFound: Absent or hidden.
    @raise PermissionDenied: Without the right a.
    """
    name = session.names.decode(command.mailbox, utf8=session.is_utf8)
    identifier = session.names.identifier(command.identifier)
    rights = await session.store.rights(session.user, name)
    if ADMINISTER not in rights:
        raise PermissionDenied(ADMINISTER) if LOOKUP in rights else MailboxNotFound("hidden")
    if name.owner_id is not None and identifier == name.owner_id:
        required = session.user.owner_rights
    else:
        required = frozenset(POST) if name.is_inbox else _NO_RIGHTS
    optional = ALL_RIGHTS - required
    session.write(
        encode_listrights(
            _wire(session, name),
            command.identifier,
            required,
            optional,
            utf8=session.is_utf8,
            old_rights=session.settings.old_rights,
        )
    )


async def myrights(session: Session, command: Named) -> None:
    """
    Tell what the client may do (RFC 4314 section 3.5).

    @raise MailboxNotFound: Absent, or without any right that shows it.
    """
    name = session.names.decode(command.mailbox, utf8=session.is_utf8)
    rights = await session.store.rights(session.user, name)
    if not rights & _ANY_OF:
        raise MailboxNotFound("hidden")
    session.write(
        encode_myrights(_wire(session, name), rights, utf8=session.is_utf8, old_rights=session.settings.old_rights)
    )


def _wire(session: Session, name: MailboxName) -> bytes:
    return session.names.encode(name, utf8=session.is_utf8)
