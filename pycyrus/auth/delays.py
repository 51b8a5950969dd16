"""
How long the answer to a failed login waits, and when a login is not looked at.

The wait grows with the failures of an address and of an account, in whichever worker
they were, and only failures wait: whoever knows the password is never kept.  Nothing
here blocks; what waits is one timer each.

A failure holds a place for the time of its wait, even where the client does not wait
for the answer: else it would take a slow answer for a no, and try the next password on
another connection.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from twisted.internet.task import deferLater

from pycyrus.auth.counts import Counts, LocalCounts, SharedCounts
from pycyrus.auth.shared_answers import SharedMemory
from pycyrus.errors import AuthenticationUnavailable
from pycyrus.net.limits import network_of

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime


T = TypeVar("T")

_NOTED_FOR = 60.0
"""Seconds for which who logged in from where need not be noted again; of those who share the table, each notes it."""


@dataclass(frozen=True, slots=True)
class DelaySettings:
    """
    Times in seconds.  Addresses are IPv4 addresses, or networks of IPv6 (/64).

    @ivar pause: The wait after a first failure (C{failedloginpause}); 0 for none,
        ever.
    @ivar longest: What it grows to.
    @ivar memory: How long a failure counts.
    @ivar familiar: How long an address is known as one from where somebody logs in.
    @ivar per_account: Failures of one account from one address that may wait; what
        comes then is turned away unchecked, so that many connections do not make up
        for the wait.
    @ivar per_address: Failures of one address that may wait, likewise.  Many people
        may share an address (a webmail server), so it is not small.
    @ivar at_once: Different passwords of one account from one address that may be
        looked at at the same time.
    @ivar anywhere: Failures of one account from all addresses that may wait; what
        comes then from an address that is not known for the account is turned away.
        The user goes on to come in from where they did before.
    @ivar waiting: Failures that hold their place in all.
    @ivar entries: Addresses, and accounts, that are remembered.
    """

    pause: float = 3.0
    longest: float = 24.0
    memory: float = 900.0
    familiar: float = 30 * 86400.0
    per_account: int = 5
    per_address: int = 200
    at_once: int = 10
    anywhere: int = 40
    waiting: int = 20_000
    entries: int = 10_000

    def shared_by(self, workers: int) -> DelaySettings:
        """What each of several processes may let wait."""
        if workers <= 1:
            return self
        return replace(
            self,
            per_account=max(2, -(-self.per_account // workers)),
            per_address=max(2, -(-self.per_address // workers)),
            at_once=max(4, -(-self.at_once // workers)),
            anywhere=max(4, -(-self.anywhere // workers)),
        )


class FailureDelays:
    """
    Counts attempts, and holds failures back; one for all services of a process.

    @ivar waiting: Failures that hold a place.
    """

    def __init__(self, clock: IReactorTime, settings: DelaySettings, shared: SharedMemory | None = None) -> None:
        """@param shared: Where the counts of all processes are."""
        self._clock = clock
        self.settings = settings
        self._failures: Counts = LocalCounts(settings.memory, 2 * settings.entries)
        self._familiar: Counts = LocalCounts(settings.familiar, settings.entries)
        if shared is not None:
            self._failures = SharedCounts(shared.failures, shared.secret, settings.memory)
            self._familiar = SharedCounts(shared.successes, shared.secret, settings.familiar)
        self._held: Counter[tuple[str, str]] = Counter()
        self._checked: dict[tuple[str, str], dict[int, int]] = {}
        self._ends: list[tuple[float, str, str]] = []
        self._noted: dict[str, float] = {}

    @property
    def waiting(self) -> int:
        """Failures that hold a place."""
        self._release()
        return len(self._ends)

    def admit(self, address: str, account: str) -> None:
        """
        An attempt begins.

        @raise AuthenticationUnavailable: Too many failures wait; it must not be
            looked at.
        """
        settings = self.settings
        if not address or not self._ends:
            return
        self._release()
        network = network_of(address)
        if (account and self._held[network, account] >= settings.per_account) or (
            self._held[network, ""] >= settings.per_address
        ):
            raise AuthenticationUnavailable("too many failed logins from this address wait for their answers")
        if account and self._held["", account] >= settings.anywhere:
            self._must_be_familiar(network, account)

    def _must_be_familiar(self, network: str, account: str) -> None:
        if not self._familiar.count(_pair(network, account), self._clock.seconds()):
            raise AuthenticationUnavailable("too many failed logins of this account wait for their answers")

    @contextmanager
    def checking(self, address: str, account: str, password: bytes) -> Iterator[None]:
        """
        Count a password while it is looked at, so that guesses do not slip through together.

        The same one on many connections, as clients open them, is one.

        @raise AuthenticationUnavailable: Too many others are being looked at.
        """
        network = network_of(address)
        places = _places(network, account) - {(network, "")}
        guess = hash(password)
        here = self._checked.get((network, account), ())
        if places and guess not in here:
            anywhere = self._checked.get(("", account), ())
            if len(here) >= self.settings.at_once:
                raise AuthenticationUnavailable("too many passwords from this address are being checked")
            if len(anywhere) + self._held["", account] >= self.settings.anywhere:
                self._must_be_familiar(network, account)
        for place in places:
            guesses = self._checked.setdefault(place, {})
            guesses[guess] = guesses.get(guess, 0) + 1
        try:
            yield
        finally:
            for place in places:
                _decrease(self._checked[place], guess)
                if not self._checked[place]:
                    del self._checked[place]

    def succeeded(self, address: str, account: str) -> None:
        """Who knows the password is forgiven earlier mistakes; the address is not, for it may be shared."""
        self._failures.forget("u" + account)
        if address:
            self._note_familiar(_pair(network_of(address), account), self._clock.seconds())

    def _note_familiar(self, pair: str, now: float) -> None:
        """Once in a while is enough: what is noted is believed for days."""
        if now < self._noted.get(pair, 0.0):
            return
        if len(self._noted) >= self.settings.entries:
            self._noted.clear()
        self._noted[pair] = now + _NOTED_FOR
        self._familiar.add(pair, now)

    async def failed(self, address: str, account: str) -> None:
        """
        Wait before the answer.

        @param address: Of the client; empty for a local one.
        @param account: The user id that was tried; empty if there was none.
        """
        now = self._clock.seconds()
        network = network_of(address)
        count = max(
            self._failures.add("a" + network, now) if network else 1,
            self._failures.add("u" + account, now) if account else 1,
        )
        settings = self.settings
        if settings.pause <= 0:
            return
        # Doubled after three failures, and each three more.
        delay = min(settings.pause * 2.0 ** min((count - 1) // 3, 30), max(settings.longest, settings.pause))
        self._hold(now + delay, network, account)
        await deferLater(self._clock, delay)

    def _hold(self, until: float, network: str, account: str) -> None:
        self._release()
        if len(self._ends) < self.settings.waiting:
            heapq.heappush(self._ends, (until, network, account))
            self._held.update(_places(network, account))

    def _release(self) -> None:
        """Give back the places whose time has come."""
        now = self._clock.seconds()
        while self._ends and self._ends[0][0] <= now:
            _, network, account = heapq.heappop(self._ends)
            for place in _places(network, account):
                _decrease(self._held, place)


def _decrease(counter: dict[T, int], key: T) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]


def _places(network: str, account: str) -> set[tuple[str, str]]:
    """What a failure counts for; one of a local client for nothing but itself."""
    if not network:
        return set()
    return {(network, account), (network, ""), ("", account)}


def _pair(network: str, account: str) -> str:
    return f"{network}\0{account}"
