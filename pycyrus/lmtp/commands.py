"""
The commands of LMTP: one row for each verb, and their functions.

RFC 2033 section 4, RFC 5321 section 4.1.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from zope.interface import implementer

from pycyrus.errors import (
    AuthorizationDenied,
    MailStoreError,
    MechanismUnavailable,
)
from pycyrus.interfaces import Authenticated, Challenge, ISaslExchange, Recipient
from pycyrus.lmtp import replies
from pycyrus.lmtp.binary import BinaryBody
from pycyrus.lmtp.session import Chunk, LmtpSession
from pycyrus.lmtp.wire import (
    Auth,
    BadArguments,
    Bdat,
    Lhlo,
    MailFrom,
    RcptTo,
    Reply,
    UnknownParameter,
    parse_anything,
    parse_auth,
    parse_bdat,
    parse_lhlo,
    parse_mail,
    parse_nothing,
    parse_rcpt,
    split_verb,
)
from pycyrus.model.identity import POSTMAN, AdminScope
from pycyrus.model.view import LARGEST_MESSAGE
from pycyrus.sasl import SaslDialogue


@dataclass(frozen=True, slots=True)
class Command:
    """
    A verb.

    @ivar parser: Arguments to what the function takes.
    @ivar function: Its reply; None if it has sent its own.
    @ivar login: Only after a login, or where none is needed.
    @ivar in_transaction: True: only between MAIL and the end of the body.
        False: only outside of that.  None: anywhere.
    """

    verb: bytes
    parser: Callable[[LmtpSession, bytes], Any]
    function: Callable[[LmtpSession, Any], Coroutine[Any, Any, Reply | None]]
    login: bool = False
    in_transaction: bool | None = None
    rfc: str = ""


async def run(session: LmtpSession, line: bytes) -> Reply | None:
    """
    Run one command line, or one response of an AUTH exchange.

    @param line: Without its CRLF.
    """
    if session.exchange is not None:
        return await respond(session, line)
    try:
        verb, arguments = split_verb(line)
    except BadArguments:
        session.count_error()
        return replies.SYNTAX_ERROR
    command = COMMANDS.get(verb)
    if command is None:
        session.count_error()
        return replies.SYNTAX_ERROR
    unmet = _unmet(session, command)
    if unmet is not None:
        session.count_error()
        return unmet
    try:
        parsed = command.parser(session, arguments)
    except BadArguments:
        session.count_error()
        return replies.BAD_PARAMETERS
    except UnknownParameter:
        session.count_error()
        return replies.UNKNOWN_PARAMETER
    return await command.function(session, parsed)


def _unmet(session: LmtpSession, command: Command) -> Reply | None:
    if command.in_transaction is False and session.transaction is not None:
        return replies.NESTED_MAIL
    if command.login and not session.trusted:
        if session.settings.tls_required and not session.is_secure:
            return replies.TLS_FIRST
        return replies.LOGIN_FIRST_SOFT if session.settings.soft_noauth else replies.LOGIN_FIRST
    if command.in_transaction and session.transaction is None:
        return replies.NEED_MAIL
    return None


# --- the dialogue ---------------------------------------------------------------


async def lhlo(session: LmtpSession, command: Lhlo) -> Reply:
    """Tell the extensions (RFC 2033 section 4.1); a transaction under way is forgotten."""
    session.reset_transaction()
    session.client_name = command.client_name
    limit = session.settings.max_message_size
    lines = [
        session.settings.server_name,
        "8BITMIME",
        "ENHANCEDSTATUSCODES",
        "PIPELINING",
        "CHUNKING",
        "BINARYMIME",
        "SMTPUTF8",
        f"SIZE {limit}" if limit else "SIZE",
    ]
    if _may_start_tls(session):
        lines.append("STARTTLS")
    if session.settings.preauthenticated:
        lines.append("AUTH EXTERNAL")
    elif not session.trusted and not _tls_first(session):
        mechanisms = session.authenticator.mechanisms(session.channel())
        if mechanisms:
            lines.append("AUTH " + " ".join(mechanisms))
    lines += ["IGNOREQUOTA", f"Ok SESSIONID=<{session.session_id}>"]
    return Reply(250, "", tuple(lines))


async def noop(session: LmtpSession, arguments: bytes) -> Reply:
    """RFC 5321 section 4.1.1.9."""
    return replies.NOOP_OK


async def vrfy(session: LmtpSession, arguments: bytes) -> Reply:
    """Tell nothing (RFC 5321 section 7.3)."""
    return replies.CANNOT_VERIFY


async def not_supported(session: LmtpSession, arguments: bytes) -> Reply:
    """HELO, EHLO (RFC 2033 section 4.1 forbids them), HELP, EXPN."""
    session.count_error()
    return replies.NOT_SUPPORTED


async def rset(session: LmtpSession, arguments: None) -> Reply:
    """RFC 5321 section 4.1.1.5."""
    session.reset_transaction()
    session.renew_session_id()
    return replies.reset(session.session_id)


async def quit_(session: LmtpSession, arguments: None) -> None:
    """RFC 5321 section 4.1.1.10."""
    session.leave(replies.BYE)


# --- TLS and login ----------------------------------------------------------------


def _may_start_tls(session: LmtpSession) -> bool:
    return session.tls_available and not session.is_secure and not session.trusted


def _tls_first(session: LmtpSession) -> bool:
    return session.settings.tls_required and not session.is_secure


async def starttls(session: LmtpSession, arguments: None) -> Reply | None:
    """RFC 3207; what came along with it unprotected is not looked at."""
    if not session.tls_available:
        session.count_error()
        return replies.SYNTAX_ERROR
    if not _may_start_tls(session) or session.transaction is not None:
        return replies.STARTTLS_NOT_NOW
    session.send(replies.BEGIN_TLS)
    session.start_tls()
    return None


@implementer(ISaslExchange)
class Preauthenticated:
    """EXTERNAL on a trusted connection: it stays what it is."""

    async def step(self, response: bytes | None) -> Challenge | Authenticated:
        """Ask for the response that RFC 4422 appendix A wants, and heed it not."""
        if response is None:
            return Challenge(b"")
        return Authenticated(POSTMAN, "")


async def auth(session: LmtpSession, command: Auth) -> Reply | None:
    """RFC 4954 section 4."""
    if session.transaction is not None:
        return replies.AUTH_IN_TRANSACTION
    if session.trusted and not session.settings.preauthenticated:
        return replies.ALREADY_AUTHENTICATED
    if _tls_first(session) and not session.trusted:
        return replies.TLS_FIRST
    try:
        if session.settings.preauthenticated:
            if command.mechanism != "EXTERNAL":
                raise MechanismUnavailable
            exchange: ISaslExchange = Preauthenticated()
        else:
            exchange = session.authenticator.start(command.mechanism, session.channel())
        session.exchange = SaslDialogue(exchange, command.mechanism)
        return _next(session, session.exchange, await session.exchange.begin(command.initial))
    except MailStoreError as error:
        return _refused(session, error)


async def respond(session: LmtpSession, line: bytes) -> Reply | None:
    """Take a line that answers a 334."""
    exchange = session.exchange
    assert exchange is not None
    try:
        return _next(session, exchange, await exchange.answer(line))
    except MailStoreError as error:
        return _refused(session, error)


def _next(session: LmtpSession, exchange: SaslDialogue, challenge: bytes | None) -> Reply:
    if challenge is not None:
        return Reply(334, "", (challenge.decode("ascii"),))
    return _succeed(session, exchange.result, exchange.mechanism)


def _succeed(session: LmtpSession, result: Authenticated, mechanism: str) -> Reply:
    session.exchange = None
    if session.settings.preauthenticated:
        return replies.AUTHENTICATED
    # Who may authenticate here may post for anybody, so it must be an administrator.
    if result.identity.admin is AdminScope.NONE:
        raise AuthorizationDenied
    session.authenticated(result, mechanism)
    return replies.AUTHENTICATED


def _refused(session: LmtpSession, error: MailStoreError) -> Reply:
    session.exchange = None
    session.count_error()
    return replies.reply_to_error(error)


# --- transactions -----------------------------------------------------------------


async def mail(session: LmtpSession, command: MailFrom) -> Reply:
    """RFC 5321 section 4.1.1.2, RFC 1870 section 6.1."""
    limit = session.settings.max_message_size or LARGEST_MESSAGE
    if command.size is not None and command.size > limit:
        return replies.announced_too_big(limit)
    session.begin_transaction(command)
    return replies.SENDER_OK


async def rcpt(session: LmtpSession, command: RcptTo) -> Reply:
    """RFC 5321 section 4.1.1.3."""
    transaction = session.transaction
    assert transaction is not None
    if transaction.chunked:
        session.count_error()
        return replies.CHUNKED
    # Those refused count as well, or anybody could ask for all the names there are.
    if max(transaction.recipients, transaction.refused) >= session.settings.max_recipients:
        return replies.TOO_MANY_RECIPIENTS
    address = command.recipient
    try:
        await transaction.delivery.add_recipient(Recipient(address.local_part, address.domain, command.ignore_quota))
    except MailStoreError as error:
        transaction.refused += 1
        return replies.reply_to_error(
            error, session_id=session.session_id, over_quota_permanent=session.settings.over_quota_permanent
        )
    transaction.recipients += 1
    return replies.RECIPIENT_OK


async def data(session: LmtpSession, arguments: None) -> Reply:
    """RFC 2033 section 4.2: without an accepted recipient there is nothing to receive."""
    transaction = session.transaction
    if transaction is None or not transaction.recipients:
        return replies.NO_RECIPIENTS
    if transaction.chunked:
        session.count_error()
        return replies.CHUNKED
    if transaction.mail.binary:
        # RFC 3030 section 3: DATA ends at a line with a dot, as binary octets may have it.
        session.count_error()
        return replies.BINARY
    try:
        await transaction.delivery.begin()
    except MailStoreError as error:
        session.reset_transaction()
        return replies.reply_to_error(error, session_id=session.session_id)
    session.begin_body()
    return replies.GO_AHEAD


async def bdat(session: LmtpSession, command: Bdat | None) -> None:
    """RFC 3030 section 2: whatever comes of it, the octets that follow are no commands."""
    if command is None:
        session.leave(replies.BAD_PARAMETERS)
    session.chunk = Chunk(command.size, command.last, command.size, await _refusal_of_chunk(session))


async def _refusal_of_chunk(session: LmtpSession) -> Reply | None:
    if not session.trusted:
        session.count_error()
        return replies.LOGIN_FIRST_SOFT if session.settings.soft_noauth else replies.LOGIN_FIRST
    transaction = session.transaction
    if transaction is None or not transaction.recipients:
        return replies.NO_RECIPIENTS
    if not transaction.chunked:
        try:
            await transaction.delivery.begin()
        except MailStoreError as error:
            session.reset_transaction()
            return replies.reply_to_error(error, session_id=session.session_id)
        transaction.chunked = True
        if transaction.mail.binary:
            transaction.binary = BinaryBody()
    return None


# --- the table --------------------------------------------------------------------


def _plain(parser: Callable[[bytes], Any]) -> Callable[[LmtpSession, bytes], Any]:
    return lambda session, arguments: parser(arguments)


def _parse_mail(session: LmtpSession, arguments: bytes) -> MailFrom:
    return parse_mail(arguments, strict=session.settings.strict_rfc2821)


def _parse_rcpt(session: LmtpSession, arguments: bytes) -> RcptTo:
    utf8 = session.transaction is not None and session.transaction.mail.utf8
    return parse_rcpt(arguments, strict=session.settings.strict_rfc2821, utf8=utf8)


_NOTHING = _plain(parse_nothing)
_ANYTHING = _plain(parse_anything)

COMMANDS: dict[bytes, Command] = {
    row.verb: row
    for row in (
        Command(b"LHLO", _plain(parse_lhlo), lhlo, rfc="2033 4.1"),
        Command(b"STARTTLS", _NOTHING, starttls, rfc="3207 4"),
        Command(b"AUTH", _plain(parse_auth), auth, rfc="4954 4"),
        Command(b"MAIL", _parse_mail, mail, login=True, in_transaction=False, rfc="5321 4.1.1.2"),
        Command(b"RCPT", _parse_rcpt, rcpt, in_transaction=True, rfc="5321 4.1.1.3"),
        Command(b"DATA", _NOTHING, data, rfc="2033 4.2"),
        Command(b"BDAT", _plain(parse_bdat), bdat, rfc="3030 2"),
        Command(b"RSET", _NOTHING, rset, rfc="5321 4.1.1.5"),
        Command(b"NOOP", _ANYTHING, noop, rfc="5321 4.1.1.9"),
        Command(b"VRFY", _ANYTHING, vrfy, rfc="5321 4.1.1.6"),
        Command(b"QUIT", _NOTHING, quit_, rfc="5321 4.1.1.10"),
        Command(b"HELO", _ANYTHING, not_supported, rfc="2033 4.1"),
        Command(b"EHLO", _ANYTHING, not_supported, rfc="2033 4.1"),
        Command(b"EXPN", _ANYTHING, not_supported, rfc="5321 4.1.1.7"),
        Command(b"HELP", _ANYTHING, not_supported, rfc="5321 4.1.1.8"),
    )
}
