"""LOGIN."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.task import deferLater
from twisted.logger import Logger

from pycyrus.errors import PlaintextRefused
from pycyrus.logins import log_login

if TYPE_CHECKING:
    from pycyrus.imap.session import Session
    from pycyrus.imap.wire.login import Login
    from pycyrus.interfaces import Authenticated

log = Logger()


async def login(session: Session, arguments: Login) -> bytes:
    """
    Log in by user name and password (RFC 9051 section 6.2.3).

    @raise PlaintextRefused: It wants TLS.
    @raise AuthenticationFailed: One answer for every reason.
    """
    channel = session.channel()
    if not session.authenticator.allows_plaintext(channel):
        raise PlaintextRefused
    authenticated = await session.authenticator.login(arguments.user, arguments.password, channel)
    if session.settings.plaintext_pause and not session.is_secure:
        await deferLater(session.clock, session.settings.plaintext_pause)
    session.log_in(authenticated)
    if session.settings.plaintext_alert and not session.is_secure:
        session.write(b"* OK [ALERT] %b\r\n" % session.settings.plaintext_alert.encode("ascii", "replace"))
    return greet(session, authenticated, "plaintext", b"User logged in")


def greet(session: Session, authenticated: Authenticated, mechanism: str, text: bytes) -> bytes:
    """
    Log a login, and write the text of its tagged OK.

    @param text: What was done.
    """
    log_login(
        log, authenticated, mechanism, peer=session.peer, is_secure=session.is_secure, session_id=session.session_id
    )
    return b"[CAPABILITY %b] %b SESSIONID=<%b>" % (session.capabilities(), text, session.session_id.encode())
