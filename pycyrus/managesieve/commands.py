"""
Every command of ManageSieve: a row each (RFC 5804 section 2).

After a login at a frontend they are the other server's.  What is here is what comes before
that, and what a server answers that runs no scripts itself.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from pycyrus.errors import MailStoreError
from pycyrus.managesieve.replies import LOGIN_FIRST, NO_COMMAND, NO_SCRIPTS, Refused
from pycyrus.managesieve.session import SieveSession
from pycyrus.sasl import SaslDialogue
from pycyrus.wire.sasl import encode_challenge
from pycyrus.wire.words import Word

MAX_TAG = 1024
"""Octets of what NOOP gives back."""

Function = Callable[[SieveSession, list[bytes]], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Row:
    """
    One command.

    @ivar least: Strings that it needs.
    @ivar most: Strings that it takes.
    @ivar needs_login: It may be used after a login only.
    """

    function: Function
    least: int = 0
    most: int = 0
    needs_login: bool = False


async def run(session: SieveSession, words: list[Word]) -> None:
    """
    Find and run a command.

    @raise Refused: It is not to be.
    @raise MailStoreError: It failed.
    """
    row = None if not words or words[0].is_string else ROWS.get(words[0].value.upper())
    if row is None:
        session.count_error()
        raise Refused(NO_COMMAND)
    if session.referral and row.function is not logout:
        # Cyrus's clients expect a referral in answer to a command, and not to AUTHENTICATE.
        session.refer()
        return
    if row.needs_login and not session.user_id:
        session.count_error()
        raise Refused(LOGIN_FIRST)
    if not row.least <= len(words) - 1 <= row.most:
        session.count_error()
        raise Refused(b"Wrong number of arguments")
    await row.function(session, [word.value for word in words[1:]])


async def authenticate(session: SieveSession, arguments: list[bytes]) -> None:
    """RFC 5804 section 2.1."""
    if session.user_id:
        raise Refused(b"Already authenticated")
    mechanism = arguments[0].decode("ascii", "replace").upper()
    try:
        exchange = session.authenticator.start(mechanism, session.channel())
        dialogue = SaslDialogue(exchange, mechanism, data_with_success=True)
        challenge = await dialogue.begin(arguments[1] if len(arguments) > 1 else None)
        while challenge is not None:
            challenge = await dialogue.answer(await session.ask(challenge))
        result = dialogue.result
        await session.log_in(result, mechanism)
    except (Refused, MailStoreError):
        session.count_error()
        raise
    session.reply(b"OK", code=b"" if result.data is None else b'SASL "%b"' % encode_challenge(result.data))


async def starttls(session: SieveSession, arguments: list[bytes]) -> None:
    """RFC 5804 section 2.2."""
    if session.is_secure:
        raise Refused(b"TLS already active")
    if not session.can_start_tls:
        raise Refused(b"STARTTLS is not available")
    session.reply(b"OK", b"Begin TLS negotiation now")
    session.start_tls()


async def logout(session: SieveSession, arguments: list[bytes]) -> None:
    """RFC 5804 section 2.3."""
    session.reply(b"OK", b"Logout Complete")
    session.end()


async def capability(session: SieveSession, arguments: list[bytes]) -> None:
    """RFC 5804 section 2.4."""
    session.tell_capabilities()
    session.reply(b"OK")


async def noop(session: SieveSession, arguments: list[bytes]) -> None:
    """RFC 5804 section 2.13."""
    tag = arguments[0] if arguments else b""
    if len(tag) > MAX_TAG:
        raise Refused(b"That is too long")
    session.reply(b"OK", b"Done", b"TAG {%d}\r\n%b" % (len(tag), tag) if arguments else b"")


async def no_scripts(session: SieveSession, arguments: list[bytes]) -> None:
    """Whatever is about scripts, where none are run: clients must not believe that one is in use."""
    raise Refused(NO_SCRIPTS)


ROWS: dict[bytes, Row] = {
    b"AUTHENTICATE": Row(authenticate, 1, 2),
    b"STARTTLS": Row(starttls),
    b"LOGOUT": Row(logout),
    b"CAPABILITY": Row(capability),
    b"NOOP": Row(noop, 0, 1),
    b"HAVESPACE": Row(no_scripts, 2, 2, needs_login=True),
    b"PUTSCRIPT": Row(no_scripts, 2, 2, needs_login=True),
    b"LISTSCRIPTS": Row(no_scripts, needs_login=True),
    b"SETACTIVE": Row(no_scripts, 1, 1, needs_login=True),
    b"GETSCRIPT": Row(no_scripts, 1, 1, needs_login=True),
    b"DELETESCRIPT": Row(no_scripts, 1, 1, needs_login=True),
    b"RENAMESCRIPT": Row(no_scripts, 2, 2, needs_login=True),
    b"CHECKSCRIPT": Row(no_scripts, 1, 1, needs_login=True),
}
