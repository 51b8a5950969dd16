"""
A user who moves, and at every step a server is cut off from all others: twenty minutes, in a network of its own.

C{unshare -n trial pycyrus.test.whole.every_step_cut_off}
"""

from __future__ import annotations

from typing_extensions import override

from pycyrus.test.whole import every_step
from pycyrus.test.whole.network_case import NetworkCase


class CutOff(NetworkCase, every_step.StoppedLong):
    """What is said vanishes, for twenty seconds."""

    wires_at = "10.99.0.1"

    @override
    def pause(self, role: str) -> None:
        self.network.isolate(role)
        self.later(self.network.rejoin, role)
