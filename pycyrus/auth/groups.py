"""
Groups of users, asked once for a login and remembered for a while.

An identity is made in one step, so whoever makes one first has its groups fetched.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from pycyrus.auth.interfaces import IGroups
from pycyrus.errors import AuthenticationUnavailable

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

LIFETIME = 300.0
"""Seconds for which groups are believed; as long as a checked password."""
KEPT = 10_000
NONE: frozenset[str] = frozenset()


class KnownGroups:
    """
    The groups of those who log in.

    @param sources: Are asked one after another; a user has the groups of all.
    """

    def __init__(self, sources: Sequence[IGroups], clock: IReactorTime, lifetime: float = LIFETIME) -> None:
        self._sources = sources
        self._clock = clock
        self._lifetime = lifetime
        self._known: dict[str, tuple[float, frozenset[str]]] = {}
        self._asking: dict[str, list[Deferred[None]]] = {}

    def of(self, user_id: str) -> frozenset[str]:
        """What is known, after L{fetch}."""
        known = self._known.get(user_id)
        return NONE if known is None else known[1]

    def doubt(self) -> None:
        """Ask for all of them anew; those of before count where that cannot be done."""
        self._known = {user_id: (0.0, groups) for user_id, (_, groups) in self._known.items()}

    async def fetch(self, user_id: str) -> None:
        """
        Have the groups of a user ready.

        Where they cannot be told now, those of before count; nobody comes in without
        any having been told, as rights may be taken away by them.

        @raise AuthenticationUnavailable: They were never told.
        """
        known = self._known.get(user_id)
        if known is not None and known[0] > self._clock.seconds():
            return
        while (waiting := self._asking.get(user_id)) is not None:
            done: Deferred[None] = Deferred()
            waiting.append(done)
            await done
            if user_id in self._known:
                return
        self._asking[user_id] = []
        try:
            self._remember(user_id, [await source.groups_of(user_id) for source in self._sources])
        except AuthenticationUnavailable:
            if known is None:
                raise
        finally:
            for done in self._asking.pop(user_id):
                done.callback(None)

    def _remember(self, user_id: str, told: list[frozenset[str]]) -> None:
        if len(self._known) >= KEPT:
            del self._known[next(iter(self._known))]
        self._known.pop(user_id, None)
        self._known[user_id] = (self._clock.seconds() + self._lifetime, frozenset(chain.from_iterable(told)))
