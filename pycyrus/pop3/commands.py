"""Every POP3 command: a row each, from which dispatch and CAPA come."""

from __future__ import annotations

import enum
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from hmac import compare_digest
from typing import Any

from twisted.internet.task import deferLater

from pycyrus.errors import MailStoreError, PlaintextRefused
from pycyrus.interfaces import Authenticated, IMessageFile
from pycyrus.net.line_session import Goodbye
from pycyrus.pop3 import replies
from pycyrus.pop3.ahead import MESSAGES, gather
from pycyrus.pop3.maildrop import Maildrop
from pycyrus.pop3.replies import Err
from pycyrus.pop3.session import Pop3Session
from pycyrus.sasl import converse
from pycyrus.wire.dots import DotWriter, stuff

PIECE = 65_536
"""Octets of a message read at a time; a message no longer than that is sent in one piece."""
MAX_TOP_LINES = 1 << 31
_LANGUAGES = ("i-default The default language", "en English")


class State(enum.Flag):
    """RFC 1939 section 3; UPDATE takes no commands."""

    AUTHORIZATION = enum.auto()
    TRANSACTION = enum.auto()


ANY = State.AUTHORIZATION | State.TRANSACTION


@dataclass(frozen=True, slots=True)
class Row:
    """
    A command.

    @ivar function: Gives the reply line; empty if all was written.
    @ivar least: Arguments that it needs.
    @ivar most: Arguments that it takes; None for all that follows as one.
    """

    states: State
    function: Callable[[Pop3Session, list[bytes]], Coroutine[Any, Any, bytes]]
    least: int = 0
    most: int | None = 0


async def run(session: Pop3Session, line: bytes) -> bytes:
    """
    Run the command of a line.

    @raise Err: It is none, or not now, or fails.
    """
    verb, _, rest = line.partition(b" ")
    row = (_IN_AUTHORIZATION if session.maildrop is None else _IN_TRANSACTION).get(verb.upper())
    if row is None:
        session.count_error()
        raise Err(replies.UNRECOGNIZED)
    # A password may have spaces, also at its ends.
    arguments = ([rest] if rest else []) if row.most is None else rest.split()
    if len(arguments) < row.least:
        session.count_error()
        raise Err(b"Missing argument")
    if row.most is not None and len(arguments) > row.most:
        session.count_error()
        raise Err(b"Unexpected extra argument")
    return await row.function(session, arguments)


# --- any state --------------------------------------------------------------


async def capa(session: Pop3Session, arguments: list[bytes]) -> bytes:
    """Tell what is possible (RFC 2449 section 5)."""
    settings = session.settings
    lines = []
    # What is possible before the login is told after it, too.
    mechanisms = session.authenticator.mechanisms(session.channel())
    if mechanisms:
        lines.append("SASL " + " ".join(mechanisms))
    if session.can_start_tls:
        lines.append("STLS")
    lines.append("EXPIRE NEVER" if settings.expire is None else f"EXPIRE {settings.expire}")
    lines.append(f"LOGIN-DELAY {int(settings.login_delay)}")
    lines += ["TOP", "UIDL", "PIPELINING", "RESP-CODES", "AUTH-RESP-CODE", "UTF8", "LANG"]
    if session.authenticator.allows_plaintext(session.channel()):
        lines.append("USER")
    if settings.serves_frontends and session.maildrop is None:
        lines += ["XDONE", "XAHEAD"]
    if settings.product:
        lines.append(f"IMPLEMENTATION {settings.product}")
    return _listing(session, b"List of capabilities follows", lines)


def _listing(session: Pop3Session, text: bytes, lines: Sequence[str]) -> bytes:
    session.write(b"+OK %b\r\n%b.\r\n" % (text, "".join(f"{line}\r\n" for line in lines).encode("utf-8")))
    return b""


async def noop(session: Pop3Session, arguments: list[bytes]) -> bytes:
    """Do nothing (RFC 1939 section 5)."""
    return b"+OK"


async def quit_(session: Pop3Session, arguments: list[bytes]) -> bytes:
    """
    End the session, and remove what was deleted (RFC 1939 section 6).

    @raise Goodbye: Always.
    """
    if session.maildrop is not None:
        await _update(session, session.maildrop)
    raise Goodbye(b"+OK")


async def _update(session: Pop3Session, maildrop: Maildrop) -> None:
    """
    Remove what was deleted.

    @raise Goodbye: Not all of it could be.
    """
    try:
        await maildrop.update()
    except MailStoreError as error:
        session.log.warn("QUIT of {session} failed: {error}", session=session.session_id, error=error)
        raise Goodbye(b"-ERR [SYS/TEMP] some deleted messages not removed") from None


async def utf8(session: Pop3Session, arguments: list[bytes]) -> bytes:
    """Let headers and replies be UTF-8, which messages here are anyway (RFC 6856 section 2.1)."""
    session.is_utf8 = True
    return b"+OK UTF8 enabled"


async def lang(session: Pop3Session, arguments: list[bytes]) -> bytes:
    """Tell or choose the language of replies (RFC 6856 section 3.2)."""
    if not arguments:
        return _listing(session, b"Language listing follows:", _LANGUAGES)
    wanted = arguments[0].lower()
    if wanted in (b"*", b"en", b"en-us", b"en-gb"):
        return b"+OK en Natural Language Change"
    if wanted == b"i-default":
        return b"+OK i-default Natural Language Change"
    raise Err(b"invalid language %b" % (arguments[0] if arguments[0].isalnum() else b""))


# --- authorization ----------------------------------------------------------


async def stls(session: Pop3Session, arguments: list[bytes]) -> bytes:
    """Begin TLS (RFC 2595 section 4)."""
    if session.is_secure:
        raise Err(b"TLS already active")
    if not session.can_start_tls:
        raise Err(b"STLS not available")
    session.start_tls(b"+OK Begin TLS negotiation now")
    return b""


async def user(session: Pop3Session, arguments: list[bytes]) -> bytes:
    """Name the user; it is not said whether there is one (RFC 1939 section 7)."""
    if not session.authenticator.allows_plaintext(session.channel()):
        raise PlaintextRefused
    if session.name is not None:
        raise Err(b"[AUTH] Must give PASS command")
    session.name = arguments[0]
    return b"+OK Name is a valid mailbox"


async def pass_(session: Pop3Session, arguments: list[bytes]) -> bytes:
    """Give the password (RFC 1939 section 7)."""
    name, session.name = session.name, None
    if name is None:
        raise Err(b"[AUTH] Must give USER command")
    try:
        authenticated = await session.authenticator.login(name, arguments[0], session.channel())
        if session.settings.plaintext_pause and not session.is_secure:
            await deferLater(session.clock, session.settings.plaintext_pause)
        return await session.log_in(authenticated, "plaintext")
    except (Err, MailStoreError):
        session.count_error()
        raise


async def auth(session: Pop3Session, arguments: list[bytes]) -> bytes:
    """Log in by a SASL exchange, or list the mechanisms (RFC 5034)."""
    if not arguments:
        # RFC 1734 had no such form, but old clients ask so.
        mechanisms = session.authenticator.mechanisms(session.channel())
        return _listing(session, b"List of supported mechanisms follows", mechanisms)
    mechanism = arguments[0].decode("ascii", "replace").upper()
    try:
        return await session.log_in(await _exchange(session, mechanism, arguments[1:]), mechanism)
    except (Err, MailStoreError):
        session.count_error()
        raise


async def _exchange(session: Pop3Session, mechanism: str, initial: list[bytes]) -> Authenticated:
    async def ask(challenge: bytes) -> bytes:
        session.write(b"+ %b\r\n" % challenge)
        return await session.read_line()

    exchange = session.authenticator.start(mechanism, session.channel())
    return await converse(exchange, initial[0] if initial else None, ask)


async def apop(session: Pop3Session, arguments: list[bytes]) -> bytes:
    """Log in by a digest over the timestamp of the greeting (RFC 1939 section 7)."""
    try:
        if not session.timestamp:
            # The client cannot have meant it.
            raise Err(b"[AUTH] APOP is not available")
        # One timestamp is good for one answer: whoever guesses gets a new connection each time.
        said, session.timestamp = session.timestamp, b""
        name, digest = arguments
        authenticated = await session.authenticator.apop(name, digest.lower(), said, session.channel())
        return await session.log_in(authenticated, "APOP")
    except (Err, MailStoreError):
        session.count_error()
        raise


async def xlink(session: Pop3Session, arguments: list[bytes]) -> bytes:
    """
    Agree, before anybody has logged in, on a word that only the frontend knows.

    What clients say is handed on as it is, so without the word C{XUSER} would be theirs as well.
    """
    if session.came_by or session.link_word or not session.settings.serves_frontends:
        session.count_error()
        raise Err(replies.UNRECOGNIZED)
    session.link_word = arguments[0]
    return b"+OK"


async def xuser(session: Pop3Session, arguments: list[bytes]) -> bytes:
    """Log another user in, after C{XDONE}: the connection is there, is secured, and who logged in was proved."""
    word, _, user_id = arguments[0].partition(b" ")
    _check_frontend(session, word)
    try:
        authenticated = await session.authenticator.act(session.came_by, user_id, session.channel())
        reply = await session.log_in(authenticated, "XUSER")
        if session.maildrop is None:
            return reply
        # Most clients ask for these first.
        return b"%b STAT=%d/%d" % (reply, session.maildrop.count, session.maildrop.octets)
    except (Err, MailStoreError):
        session.count_error()
        raise


def _check_frontend(session: Pop3Session, word: bytes) -> None:
    if not session.came_by or not session.link_word or not compare_digest(word, session.link_word):
        session.count_error()
        raise Err(replies.UNRECOGNIZED)


# --- transaction ------------------------------------------------------------


def _maildrop(session: Pop3Session) -> Maildrop:
    assert session.maildrop is not None
    return session.maildrop


def _number(argument: bytes) -> int:
    if not argument.isdigit() or len(argument) > 10:
        raise Err(replies.NOT_A_NUMBER)
    return int(argument)


async def stat(session: Pop3Session, arguments: list[bytes]) -> bytes:
    """Count messages and octets (RFC 1939 section 5)."""
    maildrop = _maildrop(session)
    return b"+OK %d %d" % (maildrop.count, maildrop.octets)


async def list_(session: Pop3Session, arguments: list[bytes]) -> bytes:
    """Tell the size of one message, or of all (RFC 1939 section 5)."""
    maildrop = _maildrop(session)
    if arguments:
        number = _number(arguments[0])
        return b"+OK %d %d" % (number, maildrop.size(number))
    session.write(b"+OK scan listing follows\r\n")
    session.write(maildrop.listing())
    session.write(b".\r\n")
    return b""


async def uidl(session: Pop3Session, arguments: list[bytes]) -> bytes:
    """Tell the unique id of one message, or of all (RFC 1939 section 7)."""
    maildrop = _maildrop(session)
    form = session.settings.uidl_format
    if arguments:
        number = _number(arguments[0])
        return b"+OK %d %b" % (number, maildrop.uidl(number, form))
    session.write(b"+OK unique-id listing follows\r\n")
    session.write(maildrop.uidls(form))
    session.write(b".\r\n")
    return b""


async def retr(session: Pop3Session, arguments: list[bytes]) -> bytes:
    """Send a message (RFC 1939 section 5)."""
    maildrop = _maildrop(session)
    number = _number(arguments[0])
    file = maildrop.open(number)
    try:
        if file.size <= PIECE:
            data = file.read(0, file.size)
            session.write(b"+OK Message follows\r\n")
            session.write(stuff(data))
        else:
            await _send(session, file)
    finally:
        file.close()
    maildrop.retrieved(number)
    return b""


async def _send(session: Pop3Session, file: IMessageFile) -> None:
    """Send a large message in pieces, as fast as the client reads."""
    writer = DotWriter()
    data = file.read(0, PIECE)
    session.write(b"+OK Message follows\r\n")
    offset = 0
    while offset < file.size:
        if not data:
            # More was promised.
            session.abort()
            return
        session.write(writer.write(data))
        offset += len(data)
        await session.drain()
        try:
            data = file.read(offset, min(PIECE, file.size - offset))
        except MailStoreError as error:
            session.log.error("a message of {session} cannot be read: {error}", session=session.session_id, error=error)
            session.abort()
            return
    session.write(writer.end())


async def top(session: Pop3Session, arguments: list[bytes]) -> bytes:
    """Send the header and some lines of a message (RFC 1939 section 7)."""
    number = _number(arguments[0])
    if not arguments[1].isdigit() or len(arguments[1]) > 10:
        raise Err(b"Invalid number of lines")
    lines = min(int(arguments[1]), MAX_TOP_LINES)
    file = _maildrop(session).open(number)
    try:
        data = file.read(0, min(PIECE, file.size))
        session.write(b"+OK Message follows\r\n")
        writer = DotWriter()
        offset = 0
        header, tail = True, b""
        while data:
            offset += len(data)
            cut, header, lines = _top_of(tail, data, header, lines)
            session.write(writer.write(data[:cut]))
            await session.drain()
            if cut < len(data) or offset >= file.size:
                break
            tail = (tail + data)[-3:]
            data = file.read(offset, min(PIECE, file.size - offset))
        session.write(writer.end())
    finally:
        file.close()
    return b""


def _top_of(tail: bytes, data: bytes, header: bool, lines: int) -> tuple[int, bool, int]:
    """
    Find how much of a piece belongs to the top of a message.

    @param tail: The last octets of the piece before.
    @param header: Its end was not seen yet.
    @return: How many octets, and what becomes of the last two parameters.
    """
    at = 0
    if header:
        if not tail and data.startswith(b"\r\n"):
            at, header = 2, False
        else:
            found = (tail + data).find(b"\r\n\r\n")
            if found < 0:
                return len(data), True, lines
            at, header = max(found + 4 - len(tail), 0), False
    while lines:
        end = data.find(b"\n", at)
        if end < 0:
            return len(data), header, lines
        at = end + 1
        lines -= 1
    return at, header, lines


async def dele(session: Pop3Session, arguments: list[bytes]) -> bytes:
    """Mark a message to be removed at QUIT (RFC 1939 section 5)."""
    _maildrop(session).delete(_number(arguments[0]))
    return b"+OK message deleted"


async def rset(session: Pop3Session, arguments: list[bytes]) -> bytes:
    """Unmark all (RFC 1939 section 5)."""
    _maildrop(session).reset()
    return b"+OK"


async def xdone(session: Pop3Session, arguments: list[bytes]) -> bytes:
    """
    End what a user does as QUIT does, but keep the connection for the next one, who comes by C{XUSER}.

    @raise Goodbye: Not all could be removed that was deleted.
    """
    word, answer = arguments
    _check_frontend(session, word)
    await _update(session, _maildrop(session))
    session.log_out()
    return b"+OK " + answer


async def xahead(session: Pop3Session, arguments: list[bytes]) -> bytes:
    """
    Send a message and some that follow it: how many octets the answer to RETR has for each, and these answers.

    One that is large is sent as by RETR.  Those that follow count as retrieved when C{XGOT} says so.
    """
    number = _number(arguments[0])
    answers = gather(_maildrop(session), number, session.clock.seconds)
    if not answers:
        return await retr(session, arguments)
    _maildrop(session).retrieved(number)
    sizes = b"".join(b" %d" % len(answer) for answer in answers)
    session.write(b"+OK AHEAD%b\r\n%b" % (sizes, b"".join(answers)))
    return b""


async def xgot(session: Pop3Session, arguments: list[bytes]) -> bytes:
    """Note which messages a client was given of those that C{XAHEAD} sent.  Nothing is answered if they are there."""
    for number in map(_number, arguments):
        _maildrop(session).given(number)
    return b""


async def last(session: Pop3Session, arguments: list[bytes]) -> bytes:
    """Tell the highest number used (RFC 1460), for clients of that time."""
    return b"+OK %d" % _maildrop(session).last


ROWS: dict[bytes, Row] = {
    b"CAPA": Row(ANY, capa),
    b"QUIT": Row(ANY, quit_),
    b"LANG": Row(ANY, lang, most=1),
    b"STLS": Row(State.AUTHORIZATION, stls),
    b"UTF8": Row(State.AUTHORIZATION, utf8),
    b"USER": Row(State.AUTHORIZATION, user, 1, None),
    b"PASS": Row(State.AUTHORIZATION, pass_, 1, None),
    b"AUTH": Row(State.AUTHORIZATION, auth, 0, 2),
    b"APOP": Row(State.AUTHORIZATION, apop, 2, 2),
    b"NOOP": Row(State.TRANSACTION, noop),
    b"XUSER": Row(State.AUTHORIZATION, xuser, 1, None),
    b"XLINK": Row(State.AUTHORIZATION, xlink, 1, 1),
    b"XDONE": Row(State.TRANSACTION, xdone, 2, 2),
    b"XAHEAD": Row(State.TRANSACTION, xahead, 1, 1),
    b"XGOT": Row(State.TRANSACTION, xgot, 1, MESSAGES),
    b"STAT": Row(State.TRANSACTION, stat),
    b"LIST": Row(State.TRANSACTION, list_, most=1),
    b"UIDL": Row(State.TRANSACTION, uidl, most=1),
    b"RETR": Row(State.TRANSACTION, retr, 1, 1),
    b"TOP": Row(State.TRANSACTION, top, 2, 2),
    b"DELE": Row(State.TRANSACTION, dele, 1, 1),
    b"RSET": Row(State.TRANSACTION, rset),
    b"LAST": Row(State.TRANSACTION, last),
}
_IN_AUTHORIZATION, _IN_TRANSACTION = (
    {verb: row for verb, row in ROWS.items() if state in row.states}
    for state in (State.AUTHORIZATION, State.TRANSACTION)
)
