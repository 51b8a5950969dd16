"""
What the C library keeps of memory that was given back.

Left to itself, glibc learns from the first large block that it is given back to keep such
blocks, and twice as much again, for the next one; in an arena for each thread.  A single password's
hash, which fills 19 MiB for a moment, made a process larger for good so (mallopt(3)).
"""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
LARGE = 4 << 20
"""Octets from which on a block goes back to the system at once; and how many that are free are kept otherwise."""
_ARENAS = 2
"""Threads that hold Python's lock do not get in each other's way; those that hash or compress seldom do."""


def settle() -> None:
    """
    Have large blocks go back to the system when they are given back.

    For this process, and those that it forks; a C library other than glibc is left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in ((_MMAP_THRESHOLD, LARGE), (_TRIM_THRESHOLD, LARGE), (_ARENA_MAX, _ARENAS)):
            mallopt(option, value)


def give_back() -> None:
    """
    Have what is free between blocks in use go back to the system, too.

    After thousands of connections that held much at one time, that may be most of a process.
    """
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
