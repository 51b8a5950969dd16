"""
Which partition a new mailbox goes to where nothing else says so (C{partition_select_mode}).

Everything waits for the disk, and runs on a thread.
"""

from __future__ import annotations

import enum
import os
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from twisted.logger import Logger

from pycyrus.errors import StoreUnavailable

_DELTA_FLOOR = 0.5
"""Percent added to what a partition has more than the fullest, which must be chosen now and then too."""


class SelectMode(enum.Enum):
    """The option C{partition_select_mode}."""

    RANDOM = "random"
    FREESPACE_MOST = "freespace-most"
    FREESPACE_PERCENT_MOST = "freespace-percent-most"
    FREESPACE_PERCENT_WEIGHTED = "freespace-percent-weighted"
    FREESPACE_PERCENT_WEIGHTED_DELTA = "freespace-percent-weighted-delta"


@dataclass(frozen=True, slots=True)
class ChoiceSettings:
    """
    How a partition is chosen.

    @ivar excluded: Names of partitions that are never chosen
        (C{partition_select_exclude}).
    @ivar soft_limit: Percent of use from which a partition is passed over while
        there is another (C{partition_select_soft_usage_limit}); 0 for none.
    @ivar kept_for: Choices for which free space is remembered
        (C{partition_select_usage_reinit}); 0 looks each time.
    """

    mode: SelectMode = SelectMode.FREESPACE_MOST
    excluded: frozenset[str] = frozenset()
    soft_limit: int = 0
    kept_for: int = 0


@dataclass(frozen=True, slots=True)
class Space:
    """
    Room on a partition.

    @ivar available: Octets.
    @ivar percent: Of all its octets.
    """

    name: str
    available: int
    percent: float


Roots = Mapping[str, Path]


def look(roots: Roots) -> list[Space]:
    """
    See how much room there is.

    @return: Of partitions that can be reached, in order of name.
    """
    found: list[Space] = []
    for name, root in sorted(roots.items()):
        try:
            status = os.statvfs(root)
        except OSError as error:
            Logger().warn("Partition {partition} cannot be looked at: {error}", partition=name, error=error)
            continue
        available = status.f_bavail * status.f_frsize
        # As df counts: what is reserved for root is nobody's.
        usable = status.f_blocks - status.f_bfree + status.f_bavail
        found.append(Space(name, available, 100.0 * status.f_bavail / usable if usable else 0.0))
    return found


class PartitionChoice:
    """
    Chooses among the partitions; threads may share it.

    @param draw: Gives a number from 0 up to 1, for modes that leave it to chance.
    """

    def __init__(
        self,
        roots: Roots,
        settings: ChoiceSettings,
        look: Callable[[Roots], list[Space]] = look,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._roots = {name: root for name, root in roots.items() if name not in settings.excluded} or dict(roots)
        self._settings = settings
        self._look = look
        self._draw = draw
        self._lock = threading.Lock()
        self._known: list[Space] = []
        self._left = 0

    def choose(self) -> str:
        """
        The name of a partition.

        @raise StoreUnavailable: None can be used.
        """
        with self._lock:
            spaces = self._spaces()
        if not spaces:
            raise StoreUnavailable("no partition can be used")
        limit = self._settings.soft_limit
        if limit:
            spaces = [space for space in spaces if 100.0 - space.percent < limit] or spaces
        return _PICK[self._settings.mode](spaces, self._draw).name

    def _spaces(self) -> list[Space]:
        if self._left <= 0 or not self._known:
            self._known = self._look(self._roots)
            self._left = max(1, self._settings.kept_for)
        self._left -= 1
        return self._known


def _by_chance(spaces: Sequence[Space], weights: Sequence[float], draw: Callable[[], float]) -> Space:
    """One of them, as often as its weight says."""
    point = draw() * sum(weights)
    for space, weight in zip(spaces, weights, strict=True):
        point -= weight
        if point < 0:
            return space
    return spaces[-1]


def _random(spaces: Sequence[Space], draw: Callable[[], float]) -> Space:
    return _by_chance(spaces, [1.0] * len(spaces), draw)


def _most(spaces: Sequence[Space], draw: Callable[[], float]) -> Space:
    return max(spaces, key=lambda space: space.available)


def _most_percent(spaces: Sequence[Space], draw: Callable[[], float]) -> Space:
    return max(spaces, key=lambda space: space.percent)


def _weighted(spaces: Sequence[Space], draw: Callable[[], float]) -> Space:
    return _by_chance(spaces, [space.percent for space in spaces], draw)


def _weighted_by_delta(spaces: Sequence[Space], draw: Callable[[], float]) -> Space:
    least = min(space.percent for space in spaces)
    return _by_chance(spaces, [space.percent - least + _DELTA_FLOOR for space in spaces], draw)


_PICK: dict[SelectMode, Callable[[Sequence[Space], Callable[[], float]], Space]] = {
    SelectMode.RANDOM: _random,
    SelectMode.FREESPACE_MOST: _most,
    SelectMode.FREESPACE_PERCENT_MOST: _most_percent,
    SelectMode.FREESPACE_PERCENT_WEIGHTED: _weighted,
    SelectMode.FREESPACE_PERCENT_WEIGHTED_DELTA: _weighted_by_delta,
}
