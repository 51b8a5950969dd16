"""GETMETADATA and SETMETADATA (RFC 5464)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycyrus.errors import LimitExceeded
from pycyrus.imap.commands.changing import demand_changes_allowed
from pycyrus.imap.replies import No
from pycyrus.imap.wire.metadata import encode_metadata

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pycyrus.imap.session import Session
    from pycyrus.imap.wire.metadata import GetMetadata, SetMetadata
    from pycyrus.model.names import MailboxName


async def getmetadata(session: Session, command: GetMetadata) -> bytes | None:
    """
    Tell values (RFC 5464 section 4.2).

    @raise MailboxNotFound: Absent or hidden.
    """
    name = session.names.decode(command.mailbox, utf8=session.is_utf8) if command.mailbox else None
    values = await session.store.annotations(session.user, name)
    told, longest = _chosen(values, command.entries, command.depth, command.max_size)
    if told:
        wire = session.names.encode(name, utf8=session.is_utf8) if name is not None else b""
        session.write(encode_metadata(wire, told, utf8=session.is_utf8))
    return b"[METADATA LONGENTRIES %d] Completed" % longest if longest else None


async def metadata_line(session: Session, name: MailboxName, entries: Sequence[str]) -> bytes:
    """
    Make a METADATA response with what was asked for, and nothing below it (RFC 9590 section 3).

    @raise MailboxNotFound: As for L{getmetadata}.
    """
    values = await session.store.annotations(session.user, name)
    told, _ = _chosen(values, entries, depth=0)
    return encode_metadata(session.names.encode(name, utf8=session.is_utf8), told, utf8=session.is_utf8)


def _chosen(
    values: Mapping[str, bytes], asked: Iterable[str], depth: int | None, max_size: int | None = None
) -> tuple[list[tuple[str, bytes | None]], int]:
    """
    What is to be told of all values.

    @return: Entries with their values, and the size of the longest value that was left out for it.
    """
    told: dict[str, bytes | None] = {}
    longest = 0
    for each in asked:
        wanted, within = _depth_of(each.lower().rstrip("/"), depth)
        for entry, value in sorted(values.items()):
            if not _is_within(entry, wanted, within) or entry in told:
                continue
            if max_size is not None and len(value) > max_size:
                longest = max(longest, len(value))
            else:
                told[entry] = value
        if wanted not in values and within == 0:
            # RFC 5464 section 4.2.1: what is not there is NIL.
            told[wanted] = None
    return list(told.items()), longest


def _depth_of(wanted: str, depth: int | None) -> tuple[str, int | None]:
    """Cyrus takes wildcards as well, and cyradm sends them."""
    if wanted.endswith("/*"):
        return wanted[:-2], None
    if wanted.endswith("/%"):
        return wanted[:-2], 1
    return wanted, depth


def _is_within(entry: str, wanted: str, depth: int | None) -> bool:
    if entry == wanted:
        return True
    if depth == 0 or not entry.startswith(wanted + "/"):
        return False
    return depth is None or entry.count("/") <= wanted.count("/") + depth


async def setmetadata(session: Session, command: SetMetadata) -> None:
    """
    Set values, all or none (RFC 5464 section 4.3).

    @raise MailboxNotFound: Absent or hidden.
    @raise PermissionDenied: Without the rights for one of them.
    @raise No: There is no such entry, or it does not take this value.
    """
    demand_changes_allowed(session)
    name = session.names.decode(command.mailbox, utf8=session.is_utf8) if command.mailbox else None
    try:
        refused = await session.store.annotate(session.user, name, dict(command.values))
    except LimitExceeded as error:
        code = b"METADATA TOOMANY" if "many" in error.reason else b"METADATA MAXSIZE 65536"
        raise No(error.reason.encode("ascii", "replace"), code) from None
    if refused is not None:
        raise No(b"Invalid annotation entry or value: " + refused.encode("ascii", "replace"))
