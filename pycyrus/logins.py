"""What the log says when somebody has logged in, one line for all services."""

from __future__ import annotations

from twisted.logger import Logger

from pycyrus.interfaces import Authenticated


def log_login(
    log: Logger, authenticated: Authenticated, mechanism: str, *, peer: str, is_secure: bool, session_id: str
) -> None:
    """
    Tell of a login, as C{conf/fail2ban} and other readers of logs know it.

    @param mechanism: Of SASL, or C{plaintext} for a command with a password.
    @param peer: Address of the client.
    @param is_secure: TLS has begun.
    """
    user, proved = authenticated.identity.user_id, authenticated.authenticated_as
    log.info(
        "login: {peer} {user} {mechanism} User logged in SESSIONID=<{session}>",
        peer=peer,
        user=user if proved == user else f"{user} by {proved}",
        mechanism=f"{mechanism}+TLS" if is_secure else mechanism,
        session=session_id,
    )
