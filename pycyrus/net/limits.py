"""
How many connections there may be: in all, per address, per user.

The counts are those of one process.  With several workers, each lets in the
limit divided by their number: the kernel spreads connections evenly enough.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from pycyrus.errors import LimitExceeded
from pycyrus.net.telemetry import SessionLog, Telemetry


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """
    Connections of one service; 0 for no limit.

    @ivar total: All of them.
    @ivar before_login: Those that have not logged in.
    @ivar per_address: From one IPv4 address, or one IPv6 /64.
    @ivar per_user: Logged in as one user.
    """

    total: int = 0
    before_login: int = 0
    per_address: int = 0
    per_user: int = 0

    def shared_by(self, workers: int) -> LimitSettings:
        """What each of several processes may let in, rounded up."""
        if workers <= 1:
            return self
        return LimitSettings(
            *(-(-limit // workers) for limit in (self.total, self.before_login, self.per_address, self.per_user))
        )


Presence = Callable[[int, str, str | None], None]
"""
Is told of a connection's number in this process, the client's address and the user:
empty before the login, None when it has ended.
"""

_numbers = itertools.count(1)


class ConnectionLimits:
    """Counts connections, and refuses those above the limits."""

    def __init__(
        self, settings: LimitSettings, presence: Presence | None = None, telemetry: Telemetry | None = None
    ) -> None:
        """
        @param presence: Is told of each connection.
        @param telemetry: Copies the sessions of users who are watched.
        """
        self.settings = settings
        self.presence = presence
        self.telemetry = telemetry
        self.total = 0
        self.before_login = 0
        self._addresses: Counter[str] = Counter()
        self._users: Counter[str] = Counter()

    def connected(self, address: str, session_id: str = "") -> Admission:
        """
        Count a new connection.

        @param address: Of the client; empty on a Unix socket, which counts for
            no address.
        @param session_id: For its log.
        @return: To be closed when the connection ends.
        @raise LimitExceeded: It must be refused; it was not counted.
        """
        network = network_of(address)
        settings = self.settings
        if settings.total and self.total >= settings.total:
            raise LimitExceeded("Too many open connections")
        if settings.before_login and self.before_login >= settings.before_login:
            raise LimitExceeded("Too many connections that have not logged in")
        if network and settings.per_address and self._addresses[network] >= settings.per_address:
            raise LimitExceeded("Too many open connections from your address")
        return Admission(self, network, address, session_id)


class Admission:
    """
    One counted connection.

    @ivar log: What it says and is told is to be copied there; None for most users, and before the login.
    """

    __slots__ = ("_address", "_limits", "_network", "_number", "_open", "_session_id", "_user", "log")

    def __init__(self, limits: ConnectionLimits, network: str, address: str, session_id: str) -> None:
        self.log: SessionLog | None = None
        self._session_id = session_id
        self._limits = limits
        self._address = address
        self._number = next(_numbers)
        self._network = network
        self._user: str | None = None
        self._open = True
        limits.total += 1
        limits.before_login += 1
        if network:
            limits._addresses[network] += 1
        self._tell("")

    def _tell(self, user_id: str | None) -> None:
        if self._limits.presence is not None:
            self._limits.presence(self._number, self._address, user_id)

    def logged_in(self, user_id: str) -> None:
        """
        Count it for a user.

        @raise LimitExceeded: The user has too many; the connection still counts
            as not logged in.
        """
        self.logged_out()
        limits = self._limits
        if limits.settings.per_user and limits._users[user_id] >= limits.settings.per_user:
            raise LimitExceeded("Too many open connections of this user")
        self._user = user_id
        limits._users[user_id] += 1
        limits.before_login -= 1
        self._tell(user_id)
        if limits.telemetry is not None:
            self.log = limits.telemetry.begin(user_id, self._session_id)

    def logged_out(self) -> None:
        """It is nobody's again (RFC 8437)."""
        if self._user is not None:
            _decrease(self._limits._users, self._user)
            self._limits.before_login += 1
            self._user = None
            self._tell("")
        if self.log is not None:
            self.log.end()
            self.log = None

    def close(self) -> None:
        """It ended.  May be called more than once."""
        if not self._open:
            return
        self._open = False
        self.logged_out()
        self._limits.before_login -= 1
        self._limits.total -= 1
        self._tell(None)
        if self._network:
            _decrease(self._limits._addresses, self._network)


def _decrease(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]


@lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """What an address counts for: whoever has an IPv6 address has its whole /64."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return parsed.packed[:8].hex()
    return str(parsed)
