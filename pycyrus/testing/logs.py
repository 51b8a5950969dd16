"""What was logged, for tests to look at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from constantly import NamedConstant
from twisted.logger import LogEvent, LogLevel, formatEvent, globalLogPublisher


class Captured:
    """The events of a time."""

    def __init__(self) -> None:
        self.events: list[LogEvent] = []

    def texts(self) -> list[str]:
        """Their texts, in order."""
        return [formatEvent(event) for event in self.events]


@contextmanager
def captured(lowest: NamedConstant = LogLevel.info) -> Iterator[Captured]:
    """
    Keep what is logged in the block.

    @param lowest: The least level that is kept.
    """
    found = Captured()

    def observe(event: LogEvent) -> None:
        if event["log_level"] >= lowest:
            found.events.append(event)

    globalLogPublisher.addObserver(observe)
    try:
        yield found
    finally:
        globalLogPublisher.removeObserver(observe)
