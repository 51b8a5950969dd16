"""How often Python's cyclic garbage collector looks at what."""

from __future__ import annotations

import gc

_THRESHOLDS = (10_000, 20, 20)
"""
Few cycles are made here, and most of what lives long is a session's or a
mailbox's; a collection for each 700 objects, as is the default, is a twentieth
of the work of a busy server.
"""


def settle() -> None:
    """
    Leave out of all collections what exists now, which is there to stay.

    A full collection looks at everything at once: with all modules that is some
    50 milliseconds during which nobody is served.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
