"""
A user who moves, and whatever may happen at every step: C{trial pycyrus.test.whole.every_step}, ten minutes.

L{pycyrus.test.whole.test_moving} has some of it, for each run of the tests.
"""

from __future__ import annotations

from pycyrus.test.whole.test_moving import MovingCase

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

    def each(self, step: bytes) -> None:
        """All that can happen before and after a step."""
        for when in ("before", "after"):
            for who, how in HAPPENS:
                self.move(b"XTRANSFER " + step, when, who, how)

    def test_begin(self) -> None:
        self.each(b"BEGIN")

    def test_pieces(self) -> None:
        self.each(b"PIECES")

    def test_prepare(self) -> None:
        self.each(b"PREPARE")

    def test_activate(self) -> None:
        self.each(b"ACTIVATE")

    def test_forget(self) -> None:
        self.each(b"FORGET")
