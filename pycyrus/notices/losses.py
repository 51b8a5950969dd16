"""Counting what could not be told, and saying so now and then."""

from __future__ import annotations

import time

from twisted.logger import Logger

SILENCE = 60.0
"""Seconds between two complaints about the same place."""


class Losses:
    """
    Notices that got lost on their way to one place.

    @ivar count: How many.
    """

    log = Logger()

    def __init__(self, place: str) -> None:
        """@param place: For the log."""
        self.count = 0
        self._place = place
        self._complained = float("-inf")

    def add(self, reason: str) -> None:
        """One more."""
        self.count += 1
        now = time.monotonic()
        if now - self._complained >= SILENCE:
            self._complained = now
            self.log.warn(
                "notices are lost ({lost} until now): {place}: {reason}",
                lost=self.count, place=self._place, reason=reason,
            )  # fmt: skip
