"""The commands of MUPDATE (RFC 3656 section 4)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass
from typing import Any

from pycyrus.errors import MailboxNotFound
from pycyrus.interfaces import Location, LocationState
from pycyrus.mupdate.replies import Refused
from pycyrus.mupdate.session import MupdateSession
from pycyrus.mupdate.wire import decode, location_line, split_where
from pycyrus.sasl import converse
from pycyrus.wire.words import Word

PAGE = 100
"""Entries written before other connections have their turn."""
MAX_HOSTS = 30

Function = Callable[[MupdateSession, bytes, list[bytes]], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Row:
    """
    One command.

    @ivar needs_login: It may be used after a login only.
    @ivar changes: It is for the master.
    @ivar is_streamed: It may be used after UPDATE.
    """

    function: Function
    least: int = 0
    most: int = 0
    needs_login: bool = True
    changes: bool = False
    is_streamed: bool = False


async def run(session: MupdateSession, words: list[Word]) -> None:
    """
    Find and run a command.

    @param words: The tag, the command, and its arguments.
    @raise Refused: It is not to be.
    @raise MailStoreError: It failed.
    """
    tag, name, *arguments = words
    if name.is_string:
        raise Refused(b"BAD", b"Null command")
    row = ROWS.get(name.value.upper())
    if session.identity is None and (row is None or row.needs_login):
        raise Refused(b"BAD", b"Please login first")
    if row is None:
        raise Refused(b"BAD", b"Unrecognized command")
    if session.stream is not None and not row.is_streamed:
        raise Refused(b"BAD", b"not legal when streaming")
    if len(arguments) < row.least:
        raise Refused(b"BAD", b"Missing arguments")
    if len(arguments) > row.most:
        raise Refused(b"BAD", b"Extra arguments")
    # Not every database has the character NUL.
    if not all(word.is_string and b"\0" not in word.value for word in arguments):
        raise Refused(b"BAD", b"Badly formed arguments")
    if row.changes and session.settings.master:
        raise Refused(b"BAD", b"read-only session")
    await row.function(session, tag.value, [word.value for word in arguments])


# --- the connection ---------------------------------------------------------


async def authenticate(session: MupdateSession, tag: bytes, arguments: list[bytes]) -> None:
    """RFC 3656 section 4.2."""
    if session.identity is not None:
        raise Refused(b"BAD", b"already authenticated")
    mechanism = arguments[0].upper()
    exchange = session.authenticator.start(mechanism.decode("ascii", "replace"), session.channel())
    try:
        result = await converse(exchange, arguments[1] if len(arguments) > 1 else None, session.ask)
        session.logged_in(result, mechanism)
    except Exception:
        session.count_error()
        raise
    session.reply(tag, b"OK", b"Authenticated")


async def starttls(session: MupdateSession, tag: bytes, arguments: list[bytes]) -> None:
    """RFC 3656 section 4.11."""
    if session.identity is not None:
        raise Refused(b"BAD", b"Can't Starttls after authentication")
    if session.is_secure or session.is_compressed:
        raise Refused(b"BAD", b"Can't Starttls after TLS or compression")
    if not session.can_start_tls:
        raise Refused(b"NO", b"STARTTLS is not available")
    session.write(tag + b" OK Begin TLS negotiation now\r\n")
    session.start_tls()


async def compress(session: MupdateSession, tag: bytes, arguments: list[bytes]) -> None:
    """As in IMAP (RFC 4978)."""
    if session.is_compressed:
        raise Refused(b"BAD", b"DEFLATE active via COMPRESS")
    if arguments[0].upper() != b"DEFLATE":
        raise Refused(b"NO", b"Unknown COMPRESS algorithm: " + arguments[0])
    session.write(tag + b" OK DEFLATE active\r\n")
    session.start_compression()


async def logout(session: MupdateSession, tag: bytes, arguments: list[bytes]) -> None:
    """RFC 3656 section 4.8."""
    session.reply(tag, b"OK", b"bye-bye")
    session.end()


async def noop(session: MupdateSession, tag: bytes, arguments: list[bytes]) -> None:
    """RFC 3656 section 4.10: whoever follows knows all that was done before, when it is answered."""
    if session.catch_up is not None:
        await session.catch_up()
    await session.push()
    session.reply(tag, b"OK", b"Noop done")


# --- looking ----------------------------------------------------------------


async def find(session: MupdateSession, tag: bytes, arguments: list[bytes]) -> None:
    """RFC 3656 section 4.5."""
    location = session.locations.find(decode(arguments[0]))
    if location is not None:
        session.write(location_line(tag, location))
    session.reply(tag, b"OK", b"Search completed")


async def list_(session: MupdateSession, tag: bytes, arguments: list[bytes]) -> None:
    """RFC 3656 section 4.7; with Cyrus's argument, the beginning of locations."""
    wanted = decode(arguments[0]) if arguments else ""
    server, mark, _ = wanted.partition("!")
    await _tell(session, tag, {server} if mark else None, wanted)
    session.reply(tag, b"OK", b"list complete")


async def update(session: MupdateSession, tag: bytes, arguments: list[bytes]) -> None:
    """RFC 3656 section 4.12: all there is, and then what changes; with Cyrus's arguments only of some servers."""
    hosts = frozenset(map(decode, arguments))
    # What changes meanwhile may be told twice, which RFC 3656 section 4.12 allows for, but never not at all.
    position = session.locations.last_change()
    await _tell(session, tag, hosts or None)
    session.reply(tag, b"OK", b"streaming starts")
    session.start_stream(tag, hosts, position)


async def _tell(session: MupdateSession, tag: bytes, servers: Collection[str] | None, begin: str = "") -> None:
    """
    Write an entry for each mailbox, a page at a time; writers are not held up.

    @param servers: Only of these.
    """
    for server in [None] if servers is None else sorted(servers):
        after = ""
        while page := session.locations.page("", after, PAGE, server):
            session.write(
                b"".join(location_line(tag, location) for location in page if location.where.startswith(begin))
            )
            after = page[-1].mailbox
            await session.others()


# --- changing ---------------------------------------------------------------


async def reserve(session: MupdateSession, tag: bytes, arguments: list[bytes]) -> None:
    """RFC 3656 section 4.9."""
    await session.locations.reserve(_location(arguments, LocationState.RESERVED))
    session.reply(tag, b"OK", b"done")


async def activate(session: MupdateSession, tag: bytes, arguments: list[bytes]) -> None:
    """RFC 3656 section 4.1."""
    await session.locations.activate(_location(arguments, LocationState.ACTIVE))
    session.reply(tag, b"OK", b"done")


async def deactivate(session: MupdateSession, tag: bytes, arguments: list[bytes]) -> None:
    """RFC 3656 section 4.3."""
    try:
        await session.locations.deactivate(_location(arguments, LocationState.RESERVED))
    except MailboxNotFound:
        raise Refused(b"NO", b"mailbox not currently active") from None
    session.reply(tag, b"OK", b"done")


async def delete(session: MupdateSession, tag: bytes, arguments: list[bytes]) -> None:
    """RFC 3656 section 4.4."""
    await session.locations.delete(decode(arguments[0]))
    session.reply(tag, b"OK", b"done")


def _location(arguments: list[bytes], state: LocationState) -> Location:
    mailbox, where = decode(arguments[0]), decode(arguments[1])
    if not mailbox or where.count("!") > 1:
        raise Refused(b"BAD", b"Badly formed arguments")
    server, partition = split_where(where)
    return Location(mailbox, server, partition, decode(arguments[2]) if len(arguments) > 2 else "", state)


ROWS: dict[bytes, Row] = {
    b"AUTHENTICATE": Row(authenticate, 1, 2, needs_login=False),
    b"STARTTLS": Row(starttls, needs_login=False),
    b"COMPRESS": Row(compress, 1, 1, needs_login=False),
    b"LOGOUT": Row(logout, needs_login=False, is_streamed=True),
    b"NOOP": Row(noop, is_streamed=True),
    b"FIND": Row(find, 1, 1),
    b"LIST": Row(list_, 0, 1),
    b"UPDATE": Row(update, 0, MAX_HOSTS),
    b"RESERVE": Row(reserve, 2, 2, changes=True),
    b"ACTIVATE": Row(activate, 3, 3, changes=True),
    b"DEACTIVATE": Row(deactivate, 2, 2, changes=True),
    b"DELETE": Row(delete, 1, 1, changes=True),
}
