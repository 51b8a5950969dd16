"""What was logged, for tests to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher


class Captured:
    """The events of a time."""

    def __init__(self) -> None:
        self.events: list[LogEvent] = []

    def texts(self) -> list[str]:
        """Their texts, in order."""
        return [formatEvent(event) for event in self.events]


@contextmanager
def captured(lowest: Any = LogLevel.info, observe: Callable[[LogEvent], None] | None = None) -> Iterator[Captured]:
    """
    Keep what is logged in the block.

    @param lowest: The least level that is kept.
    @param observe: Is told of all events besides.
    """
    found = Captured()

    def keep(event: LogEvent) -> None:
        if observe is not None:
            observe(event)
        if event["log_level"] >= lowest:
            found.events.append(event)

    observer = cast(ILogObserver, keep)
    globalLogPublisher.addObserver(observer)
    try:
        yield found
    finally:
        globalLogPublisher.removeObserver(observer)
