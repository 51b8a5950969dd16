"""GETQUOTA, GETQUOTAROOT and SETQUOTA (RFC 9208), and what SELECT warns of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycyrus.errors import InvalidMailboxName
from pycyrus.imap.replies import No
from pycyrus.imap.wire.quota import encode_quota, encode_quotaroot
from pycyrus.model.acl import EXPUNGE
from pycyrus.model.names import MailboxName
from pycyrus.model.quota import Resource

if TYPE_CHECKING:
    from pycyrus.imap.session import Session
    from pycyrus.imap.settings import QuotaWarnings
    from pycyrus.imap.wire.mailboxes import Named
    from pycyrus.imap.wire.quota import SetQuota
    from pycyrus.interfaces import IMailbox
    from pycyrus.model.quota import Limit, Quota

_WARN_AGAIN = 600.0
"""Seconds after which a session is warned of the same root again."""


async def getquota(session: Session, command: Named) -> None:
    """
    Tell limits and use of a quota root (RFC 9208 section 4.1.1).

    @raise PermissionDenied: It is not the client's, nor the client its administrator.
    @raise QuotaRootNotFound: There is none of that name.
    """
    _tell(session, await session.store.quota(session.user, _decode(session, command.mailbox)))


async def getquotaroot(session: Session, command: Named) -> None:
    """
    Tell which quota holds for a mailbox (RFC 9208 section 4.1.2).

    @raise MailboxNotFound: Absent or hidden.
    @raise PermissionDenied: Without the right r.
    """
    name = session.names.decode(command.mailbox, utf8=session.is_utf8)
    quota = await session.store.quota_of(session.user, name)
    roots = [] if quota is None else [_encode(session, quota.root)]
    session.write(encode_quotaroot(_encode(session, name), roots, utf8=session.is_utf8))
    if quota is not None:
        _tell(session, quota)


async def setquota(session: Session, command: SetQuota) -> None:
    """
    Set all limits of a quota root (RFC 9208 section 4.1.3).

    @raise MailboxNotFound: There is no mailbox of that name or below.
    @raise PermissionDenied: Not an administrator.
    """
    if command.limits is None:
        raise No(b"Unsupported quota resource")
    root = _decode(session, command.root)
    await session.store.set_quota(session.user, root, command.limits, anywhere=command.anywhere)
    _tell(session, await session.store.quota(session.user, root))


async def warn_of_quota(session: Session, mailbox: IMailbox) -> None:
    """Tell who can expunge, now and then, that little room is left (C{quotawarn} and the like)."""
    if EXPUNGE not in mailbox.rights():
        return
    quota = await session.store.quota_of(session.user, mailbox.name)
    if quota is None:
        return
    now = session.clock.seconds()
    if now - session.warned_of.get(quota.root, -_WARN_AGAIN) < _WARN_AGAIN:
        return
    for limit in quota.limits:
        warning = _warning(quota, limit, session.settings.quota_warnings)
        if warning is not None:
            session.write(b"* NO [ALERT] %b\r\n" % warning.encode("ascii"))
            session.warned_of[quota.root] = now


def _warning(quota: Quota, limit: Limit, warnings: QuotaWarnings) -> str | None:
    used, resource = quota.usage.of(limit.resource), limit.resource
    allowed = limit.value * resource.unit
    if used > allowed:
        return f"Mailbox is over {limit.name} quota"
    if not allowed:
        return None
    least = {Resource.STORAGE: warnings.kibibytes * 1024, Resource.MESSAGE: warnings.messages}.get(resource, 0)
    percent = used * 100 // allowed
    if percent >= warnings.percent or allowed - used < least:
        return f"Mailbox is at {percent}% of {limit.name} quota"
    return None


def _tell(session: Session, quota: Quota) -> None:
    session.write(encode_quota(_encode(session, quota.root), quota, utf8=session.is_utf8))


def _decode(session: Session, root: bytes) -> MailboxName:
    """The root of a whole domain is an @ with the domain."""
    if root.startswith(b"@"):
        try:
            return MailboxName(root[1:].decode("ascii").lower(), None, ())
        except UnicodeDecodeError:
            raise InvalidMailboxName("not a domain") from None
    return session.names.decode(root, utf8=session.is_utf8)


def _encode(session: Session, name: MailboxName) -> bytes:
    if name.owner is None and not name.path:
        return b"@" + name.domain.encode("ascii")
    return session.names.encode(name, utf8=session.is_utf8)
