"""Quotas: arguments to values, and their responses (RFC 9208)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pycyrus.imap.wire.grammar import BadSyntax, Cursor, astring
from pycyrus.model.quota import RESOURCES, Limit, Quota

MAX_LIMITS = 16


@dataclass(frozen=True, slots=True)
class SetQuota:
    """
    A SETQUOTA (RFC 9208 section 4.1.3).

    @ivar limits: None if one is of a resource that is not known.
    @ivar anywhere: Cyrus's leading C{+}: also where there is no mailbox.
    """

    root: bytes
    limits: tuple[Limit, ...] | None
    anywhere: bool


def parse_setquota(cursor: Cursor) -> SetQuota:
    """C{setquota}, behind its name."""
    cursor.space()
    root = cursor.astring()
    cursor.space()
    cursor.expect(b"(")
    limits: list[Limit | None] = []
    while not cursor.take(b")"):
        if len(limits) >= MAX_LIMITS:
            raise BadSyntax(b"Too many arguments")
        limits.append(_parse_limit(cursor))
        # cyradm writes two limits as `(STORAGE 2000MESSAGE 10 )`.
        cursor.take(b" ")
    cursor.end()
    known = [limit for limit in limits if limit is not None]
    if len({limit.resource for limit in known}) < len(known):
        raise BadSyntax(b"Duplicate resource in SETQUOTA")
    anywhere = root.startswith(b"+")
    return SetQuota(root[1:] if anywhere else root, tuple(known) if len(known) == len(limits) else None, anywhere)


def _parse_limit(cursor: Cursor) -> Limit | None:
    name = cursor.atom().upper().decode("ascii")
    cursor.space()
    value = cursor.number64()
    return Limit(name, value) if name in RESOURCES else None


def encode_quota(root: bytes, quota: Quota, *, utf8: bool) -> bytes:
    """Write a QUOTA response, with the resources that have a limit (RFC 9208 section 4.2.1)."""
    triples = b" ".join(
        b"%b %d %d" % (limit.name.encode("ascii"), quota.used(limit), limit.value) for limit in quota.limits
    )
    return b"* QUOTA %b (%b)\r\n" % (astring(root, utf8=utf8), triples)


def encode_quotaroot(mailbox: bytes, roots: Sequence[bytes], *, utf8: bool) -> bytes:
    """Write a QUOTAROOT response (RFC 9208 section 4.2.2)."""
    return b"* QUOTAROOT %b\r\n" % b" ".join(astring(name, utf8=utf8) for name in (mailbox, *roots))
