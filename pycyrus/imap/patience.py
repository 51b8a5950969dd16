"""How long a session may be silent, and how much it may ask for before somebody is logged in."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from pycyrus.imap.settings import ImapSettings


class Patience:
    """
    What one client has used up of it.

    @ivar heard: When something last came from the client, in seconds of the clock.
    """

    __slots__ = ("_bad_commands", "_clock", "_commands", "_opened", "_passed", "_settings", "_timer", "heard")

    def __init__(self, clock: IReactorTime, settings: ImapSettings, passed: Callable[[], None]) -> None:
        """@param passed: Called when the time may be over, and by L{wait}."""
        self._clock = clock
        self._settings = settings
        self._passed = passed
        self._timer: IDelayedCall | None = None
        self.heard = 0.0
        self.begin()

    def begin(self) -> None:
        """Somebody came who is not logged in, or logged out (RFC 8437 section 3)."""
        self._bad_commands = self._commands = 0
        self._opened = self.heard = self._clock.seconds()
        self.wait(self._settings.login_timeout)

    # --- commands before login ---

    def has_asked(self) -> bool:
        """A command came; whether those before login are too many now."""
        self._commands += 1
        return self._commands > self._settings.max_commands_before_login

    def has_failed(self) -> None:
        """A command before login was answered by NO or BAD."""
        self._bad_commands += 1

    @property
    def is_over(self) -> bool:
        """Whether too many commands before login failed."""
        return self._bad_commands >= self._settings.max_bad_commands

    # --- time ---

    def wait(self, seconds: float) -> None:
        """Look again after a while."""
        self.stop()
        self._timer = self._clock.callLater(seconds, self._time_passed)

    def _time_passed(self) -> None:
        self._timer = None
        self._passed()

    def left(self, *, is_logged_in: bool, is_idling: bool, is_served: bool) -> float:
        """
        Seconds until the session is to end (RFC 9051 section 5.4); none are left from 0 on.

        @param is_served: A command is at work, so it is not the client who is slow.
        """
        now = self._clock.seconds()
        settings = self._settings
        if not is_logged_in:
            # However much the client sends meanwhile.
            return self._opened + settings.login_timeout - now
        if is_served:
            return settings.silence
        return self.heard + (settings.idle_silence if is_idling else settings.silence) - now

    def stop(self) -> None:
        """Look no more."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
