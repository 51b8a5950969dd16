"""Very many names, remembered without ever holding the reactor."""

from __future__ import annotations

_SHARES = 512
"""A set of a million grows by copying all of itself, for 10 ms; one of two thousand in some microseconds."""


class Seen:
    """A set of names."""

    def __init__(self) -> None:
        self._shares: list[set[str]] = [set() for _ in range(_SHARES)]

    def add(self, name: str) -> None:
        """Remember a name."""
        self._shares[hash(name) % _SHARES].add(name)

    def discard(self, name: str) -> None:
        """Forget a name."""
        self._shares[hash(name) % _SHARES].discard(name)

    def __contains__(self, name: str) -> bool:
        return name in self._shares[hash(name) % _SHARES]

    def forget_some(self) -> bool:
        """
        Forget some of all, as even that takes its time.

        @return: There are more.
        """
        del self._shares[-8:]
        return bool(self._shares)
