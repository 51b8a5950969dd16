"""
A user who moves, and the power goes at every moment: C{trial pycyrus.test.whole.every_moment_of_moving}, some minutes.

L{pycyrus.test.murder.test_moving_powercut} has some of it, for each run of the tests.
"""

from __future__ import annotations

import random

from pycyrus.test.murder import moving_powercut
from pycyrus.test.murder.test_moving_powercut import MovingCase

SEEDS = 8


class EveryMoment(MovingCase):
    timeout = 3600

    def test_power_cuts(self) -> None:
        for seed in range(SEEDS):
            moving_powercut.every_moment(self.fresh(), seed)

    def test_damage(self) -> None:
        for seed in range(SEEDS):
            draw = random.Random(seed)
            recording = moving_powercut.record(self.fresh(), draw)
            moving_powercut.some_damage(recording, self.fresh(), draw, 100)
