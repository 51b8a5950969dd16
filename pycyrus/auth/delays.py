"""
How long the answer to a failed login waits.

The wait grows with the failures of an address and of an account, and only failures
wait: whoever knows the password is never kept.  Nothing here blocks; what waits is
one timer each, and their number is bounded.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twisted.internet.task import deferLater

from pycyrus.errors import AuthenticationUnavailable

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime


@dataclass(frozen=True, slots=True)
class DelaySettings:
    """
    Times in seconds.

    @ivar pause: The wait after a first failure (C{failedloginpause}); 0 for none,
        ever.
    @ivar longest: What it grows to.
    @ivar memory: How long a failure counts.
    @ivar per_account: Failures of one account from one address that may wait; what
        comes then is turned away unchecked, so that many connections do not make up
        for the wait.
    @ivar per_address: Failures of one address that may wait, likewise.  Many people
        may share an address (a webmail server), so it is not small.
    @ivar waiting: Failures that may wait in all; more are answered at once.
    @ivar entries: Addresses, and accounts, that are remembered.
    """

    pause: float = 3.0
    longest: float = 24.0
    memory: float = 900.0
    per_account: int = 5
    per_address: int = 200
    waiting: int = 2000
    entries: int = 10000


class _Failures:
    """Counts failures per key, forgetting the oldest."""

    def __init__(self, memory: float, entries: int) -> None:
        self._memory = memory
        self._entries = entries
        self._counts: dict[str, tuple[float, int]] = {}

    def add(self, key: str, now: float) -> int:
        """Count one more; @return: how many there were of late."""
        time, count = self._counts.pop(key, (now, 0))
        if now - time > self._memory:
            count = 0
        self._counts[key] = (now, count + 1)
        if len(self._counts) > self._entries:
            del self._counts[next(iter(self._counts))]
        return count + 1

    def forget(self, key: str) -> None:
        """It succeeded."""
        self._counts.pop(key, None)

    def __len__(self) -> int:
        return len(self._counts)


class FailureDelays:
    """Counts attempts, and holds failures back; one for all services of a process."""

    def __init__(self, clock: IReactorTime, settings: DelaySettings) -> None:
        self._clock = clock
        self.settings = settings
        self._addresses = _Failures(settings.memory, settings.entries)
        self._accounts = _Failures(settings.memory, settings.entries)
        self._waiting_at: Counter[tuple[str, str]] = Counter()
        self.waiting = 0

    def admit(self, address: str, account: str) -> None:
        """
        An attempt begins.

        @raise AuthenticationUnavailable: Too many failures wait; it must not be
            looked at.
        """
        settings = self.settings
        if not address or not self._waiting_at:
            return
        if (
            self._waiting_at[address, account] >= settings.per_account
            or self._waiting_at[address, ""] >= settings.per_address
        ):
            raise AuthenticationUnavailable("too many failed logins from this address wait for their answers")

    def succeeded(self, account: str) -> None:
        """Who knows the password is forgiven earlier mistakes; the address is not, for it may be shared."""
        self._accounts.forget(account)

    async def failed(self, address: str, account: str) -> None:
        """
        Wait before the answer.

        @param address: Of the client; empty for a local one.
        @param account: The user id that was tried; empty if there was none.
        """
        now = self._clock.seconds()
        count = max(
            self._addresses.add(address, now) if address else 1, self._accounts.add(account, now) if account else 1
        )
        settings = self.settings
        if settings.pause <= 0 or self.waiting >= settings.waiting:
            return
        # Doubled after three failures, and each three more.
        delay = min(settings.pause * 2.0 ** min((count - 1) // 3, 30), max(settings.longest, settings.pause))
        self.waiting += 1
        places = {(address, account), (address, "")}
        self._waiting_at.update(places)
        try:
            await deferLater(self._clock, delay)
        finally:
            self.waiting -= 1
            for place in places:
                self._waiting_at[place] -= 1
                if not self._waiting_at[place]:
                    del self._waiting_at[place]
