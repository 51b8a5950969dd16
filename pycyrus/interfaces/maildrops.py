"""Maildrops that one session at a time has."""

from __future__ import annotations

from collections.abc import Callable

from zope.interface import Interface


class LoginTooSoon(Exception):
    """The last session began a too short time ago (RFC 2449 section 6.5)."""


class IMaildropClaims(Interface):
    """Keeps two POP3 sessions out of one mailbox, across all processes (RFC 1939 section 4)."""

    def claim(unique_id: str, delay: float, burst: int) -> Callable[[], None] | None:
        """
        Take a mailbox for a session; a process that dies gives back what it has.

        @param delay: Seconds that a session costs; 0 for no such limit.
        @param burst: Sessions that may be begun in a row, one of which comes back
            after each C{delay}.
        @return: Call it to give the mailbox back; None if another session has it.
        @raise LoginTooSoon: More sessions were begun than the limit allows.
        @raise StoreUnavailable: Nobody can tell.
        """
