"""
What this process waits for that is the disk's to do, and no client's.

Whoever measures how quick clients are (L{pycyrus.net.reactor}) leaves out the
time in which somebody waits for a sync.
"""

from __future__ import annotations


class DiskWaits:
    """
    Counts them; on the reactor thread only.

    @ivar count: Syncs under way whose end somebody waits for.
    """

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


DISK_WAITS = DiskWaits()
"""Of this process."""
