"""Ending with an exit code after the reactor ran, which twistd has no way to say."""

from __future__ import annotations

import atexit
import os
import sys


def fail_at_exit() -> None:
    """Have this process end with exit code 1, once it ends in an orderly way."""
    atexit.register(_end)


def _end() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
