"""
A user who moves, and whatever may happen at every step: C{trial pycyrus.test.whole.every_step}, ten minutes.

L{pycyrus.test.whole.test_moving} has some of it, for each run of the tests, and
L{pycyrus.test.whole.every_step_cut_off} has servers that are cut off from all others.
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


class EachStepCase(MovingCase):
    """
    A test for each step.

    @ivar happens: Who, and how.
    """

    timeout = 3600
    client_timeout = 3
    happens: tuple[tuple[str, str], ...] = HAPPENS

    def each(self, step: bytes) -> None:
        """All that can happen before and after a step."""
        for when in ("before", "after"):
            for who, how in self.happens:
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


class EveryStep(EachStepCase):
    """The four seconds are longer than others wait."""


class StoppedLong(EachStepCase):
    """Longer than anybody waits for an answer."""

    stopped_for = 20.0
    happens = tuple(each for each in HAPPENS if each[1] == "stop")


# What has tests is not one itself.
del EachStepCase, MovingCase
