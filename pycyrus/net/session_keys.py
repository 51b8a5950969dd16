"""The keys of TLS session tickets, which processes share and which change every day."""

from __future__ import annotations

import time
from collections.abc import Callable

from OpenSSL import SSL

RELEASE_BUFFERS = 0x10
"""SSL_MODE_RELEASE_BUFFERS, which pyOpenSSL does not name: an idle connection gives some 34 KiB back."""

OPTIONS = SSL.OP_NO_SSLv2 | SSL.OP_NO_SSLv3 | SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_SINGLE_DH_USE

LIFETIME = 24 * 3600.0
"""Seconds for which tickets are encrypted with the same keys."""
GENERATIONS = 90
"""Keys that are made for the days ahead, at 22 KiB each, which processes share."""


class SessionKeys:
    """
    The keys of session tickets (RFC 5077, RFC 8446 section 4.6.1), which resume a session in any process that has them.

    Make them before processes are forked: those of many days, so that all go on to the
    same next ones without a word.  Keys whose day is over are forgotten, and whoever
    learns those of today cannot read the sessions of yesterday.  After the last day each
    process has keys of its own.

    They are those of an OpenSSL context without anything else: pyOpenSSL has no way to
    copy them from one to another.
    """

    def __init__(self, generations: int = GENERATIONS, clock: Callable[[], float] = time.monotonic) -> None:
        """@param clock: Seconds, the same for all processes."""
        self._clock = clock
        self._contexts = [_context() for _ in range(generations)]
        self._next = clock() + LIFETIME
        self._timeout = 0

    def expire_after(self, seconds: int) -> None:
        """Set for how long tickets hold; only what is said first has effect."""
        if seconds and not self._timeout:
            self._timeout = seconds
            for context in self._contexts:
                context.set_timeout(seconds)

    def forget(self) -> None:
        """Forget keys whose day is over."""
        while self._clock() >= self._next:
            self._next += LIFETIME
            del self._contexts[0]
            if not self._contexts:
                self._contexts.append(_context())
                if self._timeout:
                    self._contexts[0].set_timeout(self._timeout)

    def connection(self, context: SSL.Context, options: int, verify: int) -> SSL.Connection:
        """
        Make a connection whose tickets are encrypted with the keys of the day.

        What a connection copies from its context when it is made has to be said again.

        @param context: Has the certificate, and all else.
        @param options: Of the context.
        @param verify: Likewise.
        """
        self.forget()
        connection = SSL.Connection(self._contexts[0], None)
        connection.set_context(context)
        connection.set_options(options)
        connection.set_verify(verify)
        return connection


def _context() -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_options(OPTIONS)
    context.set_mode(RELEASE_BUFFERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    return context
