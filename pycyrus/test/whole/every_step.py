"""
A user who moves, and whatever may happen at every step: C{trial pycyrus.test.whole.every_step}, ten minutes.

L{pycyrus.test.whole.test_moving} has some of it, for each run of the tests.
"""

from __future__ import annotations

from pycyrus.test.whole.test_moving import MovingCase

STEPS = (b"BEGIN", b"PIECES", b"PREPARE", b"ACTIVATE", b"FORGET")
HAPPENS = (
    ("wire", "cut"),
    ("target", "kill"),
    ("source", "kill"),
    ("master", "kill"),
    ("target", "stop"),
    ("source", "stop"),
    ("master", "stop"),
)


class EveryStep(MovingCase):
    timeout = 3600

    def test_every_step(self) -> None:
        for step in STEPS:
            for when in ("before", "after"):
                for who, how in HAPPENS:
                    self.move(b"XTRANSFER " + step, when, who, how)
