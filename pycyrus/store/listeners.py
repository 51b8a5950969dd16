"""Who wants to know that a mailbox may have changed."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from pycyrus.store.threads import StoreReactor


class Listeners:
    """
    The listeners of one mailbox, told once for any number of changes at a time.

    @param first: Called when there begins to be one.
    @param last: Called when there is none any more.
    """

    log = Logger()

    def __init__(self, reactor: StoreReactor, first: Callable[[], None], last: Callable[[], None]) -> None:
        self._reactor = reactor
        self._first = first
        self._last = last
        self._listeners: list[Callable[[], None]] = []
        self._telling: IDelayedCall | None = None

    def __len__(self) -> int:
        return len(self._listeners)

    def add(self, listener: Callable[[], None]) -> Callable[[], None]:
        """
        Tell another one.

        @return: Call it to stop.
        """
        self._listeners.append(listener)
        if len(self._listeners) == 1:
            self._first()

        def stop() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)
                if not self._listeners:
                    self._last()

        return stop

    def tell_soon(self) -> None:
        """Tell all, in the reactor's next turn."""
        if self._listeners and self._telling is None:
            self._telling = self._reactor.callLater(0, self._tell)

    def _tell(self) -> None:
        self._telling = None
        for listener in list(self._listeners):
            try:
                listener()
            except Exception:  # noqa: BLE001 - one session's fault is not another's
                self.log.failure("A listener crashed")
